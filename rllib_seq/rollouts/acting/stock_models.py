"""RLlib's own models in array rollouts of the old API stack.

- `StockMemory`: what they carry from step to step, see `memories.Memory`
- `refuse_model`: those that arrays cannot feed
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.policy.policy import Policy
from ray.rllib.policy.sample_batch import SampleBatch
from torch import Tensor

from rllib_seq.errors import UserError
from rllib_seq.models import LSTMTransformerModel
from rllib_seq.rollouts.acting.memories import COPY, VALUES, CarriedStates
from rllib_seq.rollouts.sampler import RolloutBatch

__all__ = ["StockMemory", "refuse_model"]

Array = NDArray[Any]
Ints = NDArray[np.int64]


def refuse_model(policy: Policy) -> None:
    """Refuse a model that reads more than observations and the state of the step before.

    Raises:
        UserError: naming the model and what it reads.
    """
    model = policy.model
    if isinstance(model, LSTMTransformerModel):
        return
    for name, view in model.view_requirements.items():
        what = None
        if name.startswith("state_in_") and len(view.shift_arr) > 1:
            what = "the states of several steps before"
        elif name in (SampleBatch.PREV_ACTIONS, SampleBatch.PREV_REWARDS):
            what = name.replace("_", "ious ", 1)
        if what is not None and view.used_for_compute_actions:
            raise UserError(
                f"ArrayRolloutWorker cannot play {type(model).__name__}, which reads {what}: RLlib "
                "looks them up in single episodes; use 'lstm_transformer' (encoder='causal' for "
                "attention), or remove env_runner_cls from the config"
            )


class StockMemory:
    """States of RLlib's models by row, maybe none; steps are plain observations `[n, ...]`.

    Args:
        model: of RLlib's old stack.
        rows: streams.
        longest: most steps of a sequence.
    """

    def __init__(self, model: Any, rows: int, longest: int) -> None:
        parts = model.get_initial_state()
        initial = {str(n): torch.as_tensor(np.asarray(part)) for n, part in enumerate(parts)}
        self._model = model
        self._carried = CarriedStates(initial, rows, longest)
        self._earlier = self._carried.of(torch.arange(rows))

    def begin(self, open_rows: Ints) -> dict[str, Array]:
        """See `Memory.begin`."""
        parts = {name: part[open_rows] for name, part in self._earlier.items()}
        self._carried.restart()
        return {COPY: self._carried.reopen(open_rows, parts)}

    def read(self, rows: Tensor, first: Tensor, inputs: Tensor) -> tuple[Tensor, dict[str, Array]]:
        """See `Memory.read`."""
        parts, numbers = self._carried.before(rows, first)
        for name, part in parts.items():
            self._earlier[name][rows] = part
        outputs, after, values = self._forward(parts, inputs)
        self._carried.set(rows, dict(zip(parts, after, strict=True)))
        return outputs, {COPY: numbers, VALUES: values}

    def values(self, journeys: RolloutBatch) -> tuple[Array, Array]:
        """See `Memory.values`; they came with the steps."""
        return journeys.columns[VALUES], journeys.next_values

    def value_after(self, rows: Tensor, inputs: Tensor) -> Array:
        """See `Memory.value_after`."""
        return self._forward(self._carried.of(rows), inputs)[2]

    def states(self, journeys: RolloutBatch, piece: Ints, begin: Ints) -> list[Array]:
        """See `Memory.states`."""
        offset = np.cumsum(journeys.lengths) - journeys.lengths
        copies = self._carried.copies(journeys.columns[COPY][offset[piece] + begin])
        return list(copies.values())

    def _forward(
        self, parts: dict[str, Tensor], inputs: Tensor
    ) -> tuple[Tensor, list[Tensor], Array]:
        """Outputs `[n, K]`, state afterwards and values `[n]`."""
        step = {SampleBatch.OBS: inputs, "is_training": False}
        lengths = torch.ones(len(inputs), dtype=torch.int32)
        outputs, after = self._model(step, list(parts.values()), lengths)
        return outputs, after if parts else [], self._model.value_function().numpy()

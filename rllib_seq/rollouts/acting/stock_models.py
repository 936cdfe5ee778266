"""RLlib's own models in array rollouts of the old API stack.

- `StockMemory`: what they carry from step to step, see `memories.Memory`
- `refuse_model`: those that arrays cannot feed
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.policy.policy import Policy
from ray.rllib.policy.sample_batch import SampleBatch
from torch import Tensor

from rllib_seq.errors import UserError
from rllib_seq.models import LSTMTransformerModel
from rllib_seq.rollouts.acting.memories import VALUES, Memory

__all__ = ["StockMemory", "refuse_model"]

Array = NDArray[Any]


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


class StockMemory(Memory):
    """States of RLlib's models by row, maybe none; steps are plain observations `[n, ...]`.

    Args:
        model: of RLlib's old stack.
        rows: streams.
        longest: most steps of a sequence.
    """

    def __init__(self, model: Any, rows: int, longest: int) -> None:
        parts = model.get_initial_state()
        initial = {str(n): torch.as_tensor(np.asarray(part)) for n, part in enumerate(parts)}
        super().__init__(initial, rows, longest)
        self._model = model

    def step(
        self, parts: Mapping[str, Tensor], inputs: Tensor
    ) -> tuple[Tensor, Mapping[str, Tensor], dict[str, Array]]:
        """See `Memory.step`."""
        step = {SampleBatch.OBS: inputs, "is_training": False}
        lengths = torch.ones(len(inputs), dtype=torch.int32)
        outputs, after = self._model(step, list(parts.values()), lengths)
        after = dict(zip(parts, after, strict=True)) if parts else {}
        return outputs, after, {VALUES: self._model.value_function().numpy()}

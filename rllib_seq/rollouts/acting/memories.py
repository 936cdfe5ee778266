"""What the array rollouts of the old API stack keep of every user, to act and to value.

- `Memory`: the interface, and what all have in common
- `NetworkMemory`: of this package's networks, whatever their encoders; `stock_models` has RLlib's
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rllib_seq.models import LSTMTransformerModel
from rllib_seq.rollouts.acting.carried_states import COPY, CarriedStates
from rllib_seq.rollouts.acting.value_states import ValueReader, ValueReading
from rllib_seq.rollouts.pieces import RolloutBatch

Array = NDArray[Any]
Ints = NDArray[np.int64]

INPUTS, VALUES = "inputs", "values"
OF_MEMORY = (INPUTS, VALUES, COPY)
"""Columns of steps that memories alone read."""


class Memory:
    """States of a user in every row, and copies of them where sequences begin: a base class.

    Args:
        initial: parts of a new user's state, by name.
        rows: users.
        longest: most steps of a sequence.
    """

    def __init__(self, initial: Mapping[str, Tensor], rows: int, longest: int) -> None:
        self._carried = CarriedStates(initial, rows, longest)
        # A batch opens with the last step of the one before it, whose reward was not yet known.
        self._earlier = self._carried.of(torch.arange(rows))

    def begin(self, open_rows: Ints) -> dict[str, Array]:
        """A batch begins.

        Args:
            open_rows: those that have acted in a step which the batch completes, `[n]`.

        Returns:
            columns of those steps, `[n, ...]`, that replace what `read` said.
        """
        parts = {name: part[open_rows] for name, part in self._earlier.items()}
        self._carried.restart()
        return {COPY: self._carried.reopen(open_rows, parts)}

    def read(self, rows: Tensor, first: Tensor, inputs: Tensor) -> tuple[Tensor, dict[str, Array]]:
        """Read a step of some users.

        Args:
            rows: which, `[n]`.
            first: whether it is the first of a stream, `[n]`.
            inputs: raw step inputs, `[n, width]`.

        Returns:
            inputs of the action distribution `[n, num_outputs]`, and columns `[n, ...]` to be
            stored with the steps.
        """
        parts, numbers = self._carried.before(rows, first)
        if self._carried.has_all(rows):
            self._earlier = parts
        else:
            for name, part in parts.items():
                self._earlier[name][rows] = part
        outputs, after, columns = self.step(parts, inputs)
        self._carried.set(rows, after)
        return outputs, {COPY: numbers, **columns}

    def step(
        self, parts: Mapping[str, Tensor], inputs: Tensor
    ) -> tuple[Tensor, Mapping[str, Tensor], dict[str, Array]]:
        """Read a step from states.

        Args:
            parts: of the states before it, `[n, ...]`.
            inputs: raw step inputs, `[n, width]`.

        Returns:
            inputs of the action distribution `[n, num_outputs]`, the states after it, and columns
            of the steps `[n, ...]`; `VALUES` among them, if they are known by now.
        """
        raise NotImplementedError

    def value_after(self, rows: Tensor, inputs: Tensor) -> Array:
        """Value the last observations of streams that a time limit cut off.

        Args:
            rows: which, `[n]`; their next step begins a stream.
            inputs: raw step inputs, `[n, width]`.

        Returns:
            `[n]`.
        """
        return self.step(self._carried.of(rows), inputs)[2][VALUES]

    def values(self, journeys: RolloutBatch) -> tuple[Array, Array]:
        """Value what was played since `begin`.

        Args:
            journeys: N steps of P pieces.

        Returns:
            values of the steps `[N]`, and of the step after each piece `[P]`, 0 where the journey
            ended.
        """
        return journeys.columns[VALUES], journeys.next_values

    def states(self, journeys: RolloutBatch, piece: Ints, begin: Ints) -> list[Array]:
        """States in which sequences begin, as RLlib's old stack numbers them.

        Args:
            journeys: what was played since `begin`.
            piece: of each sequence, `[S]`.
            begin: steps of the piece before it, `[S]`, multiples of the longest sequence.

        Returns:
            parts `[S, ...]`.
        """
        return list(self.copies(journeys, piece, begin).values())

    def copies(self, journeys: RolloutBatch, piece: Ints, begin: Ints) -> dict[str, Array]:
        """The same by name, without what the values have of their own."""
        return self._carried.copies(journeys.columns[COPY][journeys.first[piece] + begin])


class NetworkMemory(Memory):
    """The state of the policy's encoder, see `Memory`.

    If the values have an encoder of their own, it reads whole pieces once they were played, because
    no one needs values in order to act.
    """

    def __init__(self, model: LSTMTransformerModel, rows: int, longest: int) -> None:
        self._networks, self._longest = model.networks, longest
        shapes = self._networks.policy.encoder.state_shapes
        initial = {name: torch.zeros(shape) for name, shape in shapes.items()}
        super().__init__(initial, rows, longest)
        self._newest = torch.zeros(rows, model.input_dim)  # inputs of the last step
        encoder = self._networks.value_encoder
        self._reader = None if encoder is None else ValueReader(encoder, rows, longest)
        self._reading: ValueReading | None = None

    def read(self, rows: Tensor, first: Tensor, inputs: Tensor) -> tuple[Tensor, dict[str, Array]]:
        """See `Memory.read`."""
        if self._reader is not None:
            self._newest[rows] = inputs
        return super().read(rows, first, inputs)

    def step(
        self, parts: Mapping[str, Tensor], inputs: Tensor
    ) -> tuple[Tensor, Mapping[str, Tensor], dict[str, Array]]:
        """See `Memory.step`."""
        networks = self._networks
        features, after = networks.policy.encoder.sequence(parts, inputs[:, None])
        outputs = networks.policy.head(features[:, 0])
        if self._reader is not None:
            return outputs, after, {INPUTS: inputs.numpy()}
        return outputs, after, {VALUES: networks.value_head(features[:, 0])[:, 0].numpy()}

    def value_after(self, rows: Tensor, inputs: Tensor) -> Array:
        """See `Memory.value_after`; valued by `values`, if those have an encoder of their own."""
        if self._reader is None:
            return super().value_after(rows, inputs)
        self._reader.follow(rows.numpy(), inputs)
        return np.zeros(len(rows))

    def values(self, journeys: RolloutBatch) -> tuple[Array, Array]:
        """See `Memory.values`."""
        if self._reader is None:
            return super().values(journeys)
        self._reading = reading = self._reader.read(journeys, journeys.columns[INPUTS])
        head, encoder = self._networks.value_head, self._reader.encoder
        next_values = np.zeros(len(journeys.rows), np.float32)
        goes_on = np.flatnonzero(~journeys.terminated)
        if len(goes_on):
            rows = journeys.rows[goes_on].tolist()
            kept = map(self._reader.following, rows)
            # A stream that goes on without a kept step has acted once more.
            pairs = zip(kept, rows, strict=True)
            inputs = [self._newest[row] if step is None else step for step, row in pairs]
            after = {name: part[goes_on] for name, part in reading.after.items()}
            with torch.inference_mode():
                features, _ = encoder.sequence(after, torch.stack(inputs)[:, None])
                next_values[goes_on] = head(features[:, 0])[:, 0].numpy()
        assert reading.features is not None
        with torch.inference_mode():
            return head(reading.features)[:, 0].numpy(), next_values

    def states(self, journeys: RolloutBatch, piece: Ints, begin: Ints) -> list[Array]:
        """See `Memory.states`."""
        copies, value = self.copies(journeys, piece, begin), None
        if self._networks.own_value_encoder is not None:
            assert self._reading is not None
            number = begin // self._longest
            value = {
                name: torch.stack([part[name] for part in self._reading.begins])[number, piece]
                for name in self._reading.after
            }
        policy = {name: torch.from_numpy(part) for name, part in copies.items()}
        return [part.numpy() for part in self._networks.join_states(policy, value).values()]

"""What the array rollouts keep of every user, and the states in which sequences begin.

- `WindowMemory`: his last step inputs
- `CausalMemory`: what the causal encoder carries

Both read the next step of some users at once, and give the states that a batch of sequences needs.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rllib_seq.models import LSTMTransformerModel
from rllib_seq.models.causal_state import CARRIED, initial_parts, read_on
from rllib_seq.rollouts.journeys import Journeys

Array = NDArray[Any]
Ints = NDArray[np.int64]

_INPUTS = "inputs"
_SNAPSHOT = "snapshot"


class Memory(Protocol):
    """Of a user in every row."""

    def begin(self, open_rows: Ints) -> dict[str, Array]:
        """A batch begins.

        Args:
            open_rows: those that have acted in a step which the batch completes, `[n]`.

        Returns:
            columns of those steps, `[n, ...]`, that replace what `read` said.
        """

    def read(
        self, rows: Tensor, first: Tensor, inputs: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, Array]]:
        """Read a step of some users.

        Args:
            rows: which, `[n]`.
            first: whether it is the first of a stream, `[n]`.
            inputs: raw step inputs, `[n, width]`.

        Returns:
            inputs of the action distribution `[n, num_outputs]`, values `[n]`, and columns
            `[n, ...]` to be stored with the steps.
        """

    def states(self, journeys: Journeys, piece: Ints, begin: Ints) -> list[Array]:
        """States in which sequences begin, as RLlib's old stack numbers them.

        Args:
            journeys: what was played since `begin`.
            piece: of each sequence, `[S]`.
            begin: steps of the piece before it, `[S]`, multiples of the longest sequence.

        Returns:
            parts `[S, ...]`.
        """


def memory_of(model: LSTMTransformerModel, rows: int, longest: int) -> Memory:
    """Return the memory that a model needs.

    Args:
        model: of RLlib's old stack.
        rows: users.
        longest: most steps of a sequence.
    """
    if model.config.encoder == "causal":
        return CausalMemory(model, rows, longest)
    return WindowMemory(model, rows)


class WindowMemory:
    """The window of every user, see `Memory`."""

    def __init__(self, model: LSTMTransformerModel, rows: int) -> None:
        self._model = model
        self._windows = torch.zeros(rows, model.config.window_length, model.input_dim)
        self._filled = torch.zeros(rows, dtype=torch.long)

    def begin(self, open_rows: Ints) -> dict[str, Array]:
        """See `Memory.begin`."""
        self._past = self._windows[:, :-1].numpy().copy()
        return {}

    def read(
        self, rows: Tensor, first: Tensor, inputs: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, Array]]:
        """See `Memory.read`."""
        slots = self._windows.shape[1]
        windows = torch.cat([self._windows[rows, 1:], inputs[:, None]], dim=1)  # (n, L, W)
        filled = (self._filled[rows].masked_fill(first, 0) + 1).clamp(max=slots)
        valid = torch.arange(slots) >= slots - filled[:, None]  # (n, L)
        self._windows[rows], self._filled[rows] = windows, filled
        outputs = self._model.policy(windows, valid)
        values = self._model.value(windows, valid).squeeze(1)
        return outputs, values, {_INPUTS: inputs.numpy()}

    def states(self, journeys: Journeys, piece: Ints, begin: Ints) -> list[Array]:
        """See `Memory.states`."""
        inputs, past = journeys.columns[_INPUTS], self._past
        steps_before = journeys.starts[piece] + begin
        slots = past.shape[1]
        state = np.zeros((len(piece), self._model.state_rows, inputs.shape[1]), np.float32)
        if slots:
            place = begin[:, None] + np.arange(-slots, 0)  # in the piece; negative: before it
            offset = (np.cumsum(journeys.lengths) - journeys.lengths)[piece]
            played = inputs[np.maximum(offset[:, None] + place, 0)]
            earlier = past[journeys.rows[piece][:, None], place % slots]
            real = np.arange(-slots, 0) >= -steps_before[:, None]
            state[real] = np.where((place < 0)[..., None], earlier, played)[real]
        filled = np.minimum(steps_before, state.shape[1]).astype(np.float32)
        return [state, filled[:, None]]


class CarriedStates:
    """Parts of every row, and copies of them where sequences begin.

    Args:
        initial: parts of a new stream, by name.
        rows: how many streams.
        longest: most steps of a sequence: after so many in a row, the next one begins.
    """

    def __init__(self, initial: dict[str, Tensor], rows: int, longest: int) -> None:
        self._parts = {name: part.repeat(rows, *[1] * part.dim()) for name, part in initial.items()}
        self._count = np.zeros(rows, np.int64)
        self._longest = longest
        self.forget_copies()

    def forget_copies(self) -> None:
        """Starts numbering copies anew."""
        self._copies: list[dict[str, Tensor]] = []
        self._copied = 0

    def of(self, rows: Tensor, first: Tensor) -> tuple[dict[str, Tensor], Ints]:
        """Return the parts `[n, ...]` of rows `[n]` before their next step.

        Args:
            rows: which.
            first: which of them begin a stream, `[n]`; whatever was there is forgotten.

        Returns:
            the parts, and numbers `[n]`: of the copy that was made of them, or -1.
        """
        parts = {name: part[rows] for name, part in self._parts.items()}
        parts["length"].masked_fill_(first[:, None], 0.0)  # nothing else is read of a new stream
        who = rows.numpy()
        self._count[who[first.numpy()]] = 0
        due = self._count[who] % self._longest == 0
        self._count[who] += 1
        numbers = np.full(len(who), -1)
        numbers[due] = self.copy(
            {name: part[torch.from_numpy(due)] for name, part in parts.items()}
        )
        return parts, numbers

    def set(self, rows: Tensor, parts: dict[str, Tensor]) -> None:
        """Keep the parts `[n, ...]` of rows `[n]`."""
        for name, part in parts.items():
            self._parts[name][rows] = part

    def copy(self, parts: dict[str, Tensor]) -> Ints:
        """Keep copies `[n, ...]` and return their numbers `[n]`."""
        numbers = self._copied + np.arange(len(parts["length"]))
        self._copies.append(parts)
        self._copied += len(numbers)
        return numbers

    def copies(self, numbers: Ints) -> dict[str, Tensor]:
        """Return the copies `[S, ...]` with these numbers `[S]`."""
        chosen = torch.from_numpy(numbers)
        return {
            name: torch.cat([parts[name] for parts in self._copies])[chosen] for name in self._parts
        }

    def recount(self, rows: Ints) -> None:
        """Let sequences of rows `[n]` begin at the step before the next one, of all others anew."""
        self._count[:] = 0
        self._count[rows] = 1


class CausalMemory:
    """What the causal encoder carries for every user, see `Memory`.

    It holds two states of every user, and copies where sequences begin.
    """

    def __init__(self, model: LSTMTransformerModel, rows: int, longest: int) -> None:
        initial = initial_parts(model.policy, model.value)
        self._model = model
        self._carried = CarriedStates(initial, rows, longest)
        # A batch begins with the last step of the batch before it, whose reward was not yet known.
        self._before_last = CarriedStates(initial, rows, longest)

    def begin(self, open_rows: Ints) -> dict[str, Array]:
        """See `Memory.begin`."""
        rows = torch.from_numpy(open_rows)
        parts = {name: part[rows] for name, part in self._before_last._parts.items()}
        self._carried.forget_copies()
        self._carried.recount(open_rows)
        return {_SNAPSHOT: self._carried.copy(parts)}

    def read(
        self, rows: Tensor, first: Tensor, inputs: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, Array]]:
        """See `Memory.read`."""
        parts, numbers = self._carried.of(rows, first)
        self._before_last.set(rows, parts)
        features, values, after = read_on(
            self._model.policy, self._model.value, parts, inputs[:, None]
        )
        self._carried.set(rows, after)
        outputs = self._model.policy.head(features[:, 0])
        return outputs, values[:, 0], {_SNAPSHOT: numbers}

    def states(self, journeys: Journeys, piece: Ints, begin: Ints) -> list[Array]:
        """See `Memory.states`."""
        offset = np.cumsum(journeys.lengths) - journeys.lengths
        numbers = journeys.columns[_SNAPSHOT][offset[piece] + begin]
        copies = self._carried.copies(numbers)
        return [copies[name].numpy() for name in CARRIED]

"""What the array rollouts keep of every user, and the states in which sequences begin.

- `WindowMemory`: their last step inputs, for encoders whose state is data
- `CarriedMemory`: their states, for all other encoders
- `CarriedStates`: what streams carry, whatever it is

Both read the next step of some users at once, and give the states that a batch of sequences needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rllib_seq.models import LSTMTransformerModel
from rllib_seq.rollouts.acting.value_states import ValueReader, ValueReading
from rllib_seq.rollouts.sampler import RolloutBatch

Array = NDArray[Any]
Ints = NDArray[np.int64]

INPUTS, VALUES = "inputs", "values"
_VALUED_AT_ONCE = 4096
"""Steps: their windows are as many bytes as L times their inputs."""
COPY = "number_of_copy"
"""Column of steps: number of the copy that `CarriedStates` made before it, or -1."""
OF_MEMORY = (INPUTS, VALUES, COPY)
"""Columns of steps that memories alone read."""


class Memory(Protocol):
    """Of a user in every row."""

    def begin(self, open_rows: Ints) -> dict[str, Array]:
        """A batch begins.

        Args:
            open_rows: those that have acted in a step which the batch completes, `[n]`.

        Returns:
            columns of those steps, `[n, ...]`, that replace what `read` said.
        """

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

    def value_after(self, rows: Tensor, inputs: Tensor) -> Array:
        """Value the last observations of streams that a time limit cut off.

        Args:
            rows: which, `[n]`; their next step begins a stream.
            inputs: raw step inputs, `[n, width]`.

        Returns:
            `[n]`.
        """

    def values(self, journeys: RolloutBatch) -> tuple[Array, Array]:
        """Value what was played since `begin`.

        Args:
            journeys: N steps of P pieces.

        Returns:
            values of the steps `[N]`, and of the step after each piece `[P]`, 0 where the journey
            ended.
        """

    def states(self, journeys: RolloutBatch, piece: Ints, begin: Ints) -> list[Array]:
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
    if model.networks.reach is None:
        return CarriedMemory(model, rows, longest)
    return WindowMemory(model, rows, model.networks.reach)


class WindowMemory:
    """The window of every user, see `Memory`; as many steps as the encoder reaches."""

    def __init__(self, model: LSTMTransformerModel, rows: int, reach: int) -> None:
        self._model = model
        self._windows = torch.zeros(rows, reach, model.input_dim)
        self._filled = torch.zeros(rows, dtype=torch.long)

    def begin(self, open_rows: Ints) -> dict[str, Array]:
        """See `Memory.begin`."""
        self._past = self._windows[:, :-1].numpy().copy()
        return {}

    def read(self, rows: Tensor, first: Tensor, inputs: Tensor) -> tuple[Tensor, dict[str, Array]]:
        """See `Memory.read`."""
        slots = self._windows.shape[1]
        windows = torch.cat([self._windows[rows, 1:], inputs[:, None]], dim=1)  # (n, L, W)
        filled = (self._filled[rows].masked_fill(first, 0) + 1).clamp(max=slots)
        self._windows[rows], self._filled[rows] = windows, filled
        outputs = self._model.policy(windows, _last(filled, slots))
        return outputs, {INPUTS: inputs.numpy()}

    def values(self, journeys: RolloutBatch) -> tuple[Array, Array]:
        """See `Memory.values`; all at once, because no one needs them in order to act."""
        inputs, slots = journeys.columns[INPUTS], self._windows.shape[1]
        piece = np.repeat(np.arange(len(journeys.lengths)), journeys.lengths)
        place = np.arange(len(piece)) - (np.cumsum(journeys.lengths) - journeys.lengths)[piece]
        values = np.zeros(len(piece), np.float32)
        for begin in range(0, len(piece), _VALUED_AT_ONCE):
            some = slice(begin, begin + _VALUED_AT_ONCE)
            state, before = self.states(journeys, piece[some], place[some])
            windows = np.concatenate([state, inputs[some, None]], axis=1)[:, -slots:]
            filled = torch.from_numpy(before[:, 0]).long() + 1
            values[some] = self._value(torch.from_numpy(windows), filled.clamp(max=slots))
        next_values = journeys.next_values.astype(np.float32)
        if not journeys.valued:
            # A stream that goes on has acted once more: that step is in its window already.
            goes_on = ~(journeys.terminated | journeys.truncated)
            on = torch.from_numpy(journeys.rows[goes_on])
            if len(on):
                next_values[goes_on] = self._value(self._windows[on], self._filled[on])
        return values, next_values

    def value_after(self, rows: Tensor, inputs: Tensor) -> Array:
        """See `Memory.value_after`."""
        windows = torch.cat([self._windows[rows, 1:], inputs[:, None]], dim=1)
        return self._value(windows, (self._filled[rows] + 1).clamp(max=windows.shape[1]))

    def _value(self, windows: Tensor, filled: Tensor) -> Array:
        with torch.inference_mode():
            networks, valid = self._model.networks, _last(filled, windows.shape[1])
            features = networks.window_value_features(windows, valid)
            return networks.value_head(features).squeeze(1).numpy()

    def states(self, journeys: RolloutBatch, piece: Ints, begin: Ints) -> list[Array]:
        """See `Memory.states`."""
        inputs, past = journeys.columns[INPUTS], self._past
        steps_before = journeys.starts[piece] + begin
        slots = past.shape[1]
        rows, width = self._model.networks.state_shapes["inputs"]
        state = np.zeros((len(piece), rows, width), np.float32)
        if slots:
            place = begin[:, None] + np.arange(-slots, 0)  # in the piece; negative: before it
            offset = (np.cumsum(journeys.lengths) - journeys.lengths)[piece]
            played = inputs[np.maximum(offset[:, None] + place, 0)]
            earlier = past[journeys.rows[piece][:, None], place % slots]
            real = np.arange(-slots, 0) >= -steps_before[:, None]
            state[real] = np.where((place < 0)[..., None], earlier, played)[real]
        filled = np.minimum(steps_before, state.shape[1]).astype(np.float32)
        return [state, filled[:, None]]


def _last(filled: Tensor, slots: int) -> Tensor:
    """The last `filled` slots, as a mask `[n, slots]`."""
    return torch.arange(slots) >= slots - filled[:, None]


class CarriedStates:
    """Parts of every row, and copies of them where sequences begin.

    Args:
        initial: parts of a new stream, by name.
        rows: how many streams.
        longest: most steps of a sequence: after so many in a row, the next one begins.
    """

    def __init__(self, initial: Mapping[str, Tensor], rows: int, longest: int) -> None:
        self._initial = initial
        self._parts = {name: part.repeat(rows, *[1] * part.dim()) for name, part in initial.items()}
        self._in_sequence = np.zeros(rows, np.int64)  # steps since it began
        self._longest = longest
        self._copies: list[dict[str, Tensor]] = []
        self._copied = 0

    def before(self, rows: Tensor, first: Tensor) -> tuple[dict[str, Tensor], Ints]:
        """Return the parts `[n, ...]` of rows `[n]` before their next step.

        Args:
            rows: which.
            first: which of them begin a stream, `[n]`; whatever was there is forgotten.

        Returns:
            the parts, and numbers `[n]`: of the copy if a sequence begins here, else -1.
        """
        parts = self.of(rows)
        who, begun = rows.numpy(), first.numpy()
        if begun.any():
            which = torch.from_numpy(np.flatnonzero(begun))
            for name, part in parts.items():
                part[which] = self._initial[name]
            self._in_sequence[who[begun]] = 0
        begins = self._in_sequence[who] % self._longest == 0
        self._in_sequence[who] += 1
        numbers = np.full(len(who), -1)
        numbers[begins] = self._copy(parts, torch.from_numpy(begins))
        return parts, numbers

    def of(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the parts `[n, ...]` of rows `[n]` as they are."""
        return {name: part.index_select(0, rows) for name, part in self._parts.items()}

    def set(self, rows: Tensor, parts: Mapping[str, Tensor]) -> None:
        """Keep the parts `[n, ...]` of rows `[n]`."""
        for name, part in parts.items():
            self._parts[name].index_copy_(0, rows, part)

    def copies(self, numbers: Ints) -> dict[str, Array]:
        """Return the copies `[S, ...]` with these numbers `[S]`."""
        if len(self._copies) > 1:  # one for all, once, however often it is asked for
            joined = {
                name: torch.cat([part[name] for part in self._copies]) for name in self._parts
            }
            self._copies = [joined]
        return {name: part.numpy()[numbers] for name, part in self._copies[0].items()}

    def all_copies(self) -> list[dict[str, Array]]:
        """Return all copies, by number: parts `[...]` by name."""
        parts = self.copies(np.arange(self._copied))
        names, columns = list(parts), list(parts.values())
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def restart(self) -> None:
        """Forget all copies; sequences begin with the next step of every row."""
        self._in_sequence[:] = 0
        self._copies, self._copied = [], 0

    def reopen(self, rows: Ints, parts: Mapping[str, Tensor]) -> Ints:
        """Let sequences of some rows begin one step ago.

        Args:
            rows: which, `[n]`.
            parts: before that step, `[n, ...]`.

        Returns:
            the numbers of their copies, `[n]`.
        """
        self._in_sequence[rows] = 1
        return self._copy(parts, torch.ones(len(rows), dtype=torch.bool))

    def _copy(self, parts: Mapping[str, Tensor], chosen: Tensor) -> Ints:
        self._copies.append({name: part[chosen] for name, part in parts.items()})
        numbers = self._copied + np.arange(int(chosen.sum()))
        self._copied += len(numbers)
        return numbers


class CarriedMemory:
    """The state of every user, see `Memory`.

    Acting carries the state of the policy's encoder: two of every user, and copies where sequences
    begin. If the values have an encoder of their own, it reads whole pieces once they were played.
    """

    def __init__(self, model: LSTMTransformerModel, rows: int, longest: int) -> None:
        networks = model.networks
        shapes = networks.policy.encoder.state_shapes
        initial = {name: torch.zeros(shape) for name, shape in shapes.items()}
        self._model, self._longest = model, longest
        self._carried = CarriedStates(initial, rows, longest)
        # A batch opens with the last step of the one before it, whose reward was not yet known.
        self._earlier = {
            name: part.repeat(rows, *[1] * part.dim()) for name, part in initial.items()
        }
        self._newest = torch.zeros(rows, model.input_dim)  # inputs of the last step
        self._reader: ValueReader | None = None
        if networks.own_value_encoder is not None:
            self._reader = ValueReader(networks.own_value_encoder, rows, longest)
        self._reading: ValueReading | None = None

    def begin(self, open_rows: Ints) -> dict[str, Array]:
        """See `Memory.begin`."""
        parts = {name: part[open_rows] for name, part in self._earlier.items()}
        self._carried.restart()
        return {COPY: self._carried.reopen(open_rows, parts)}

    def read(self, rows: Tensor, first: Tensor, inputs: Tensor) -> tuple[Tensor, dict[str, Array]]:
        """See `Memory.read`."""
        networks = self._model.networks
        parts, numbers = self._carried.before(rows, first)
        for name, part in parts.items():
            self._earlier[name][rows] = part
        features, after = networks.policy.encoder.sequence(parts, inputs[:, None])
        self._carried.set(rows, after)
        columns = {COPY: numbers}
        if self._reader is None:
            columns[VALUES] = networks.value_head(features[:, 0])[:, 0].numpy()
        else:
            self._newest[rows] = inputs
            columns[INPUTS] = inputs.numpy()
        return networks.policy.head(features[:, 0]), columns

    def values(self, journeys: RolloutBatch) -> tuple[Array, Array]:
        """See `Memory.values`."""
        if self._reader is None:  # they came with the states
            return journeys.columns[VALUES], journeys.next_values
        self._reading = reading = self._reader.read(journeys, journeys.columns[INPUTS])
        head, encoder = self._model.networks.value_head, self._reader.encoder
        next_values = np.zeros(len(journeys.rows), np.float32)
        goes_on = np.flatnonzero(~journeys.terminated)
        if len(goes_on):
            kept = map(self._reader.following, journeys.rows[goes_on].tolist())
            rows = journeys.rows[goes_on].tolist()
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

    def value_after(self, rows: Tensor, inputs: Tensor) -> Array:
        """See `Memory.value_after`; valued by `values`, if those have an encoder of their own."""
        if self._reader is not None:
            self._reader.follow(rows.numpy(), inputs)
            return np.zeros(len(rows))
        networks = self._model.networks
        features, _ = networks.policy.encoder.sequence(self._carried.of(rows), inputs[:, None])
        return networks.value_head(features[:, 0])[:, 0].numpy()

    def states(self, journeys: RolloutBatch, piece: Ints, begin: Ints) -> list[Array]:
        """See `Memory.states`."""
        offset = np.cumsum(journeys.lengths) - journeys.lengths
        copies = self._carried.copies(journeys.columns[COPY][offset[piece] + begin])
        value = None
        if self._reading is not None:
            number = begin // self._longest
            value = {
                name: torch.stack([part[name] for part in self._reading.begins])[number, piece]
                for name in self._reading.after
            }
        policy = {name: torch.from_numpy(part) for name, part in copies.items()}
        parts = self._model.networks.join_states(policy, value)
        return [part.numpy() for part in parts.values()]

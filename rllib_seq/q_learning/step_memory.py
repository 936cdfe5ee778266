"""Steps of many streams in one ring of arrays, each stored once, windows rebuilt on demand.

- `StepMemory`: append what was played, draw steps, ask for their windows and n-step returns

Every row that is written has a number, counted without end; it stands at that number modulo the
capacity, and is forgotten as soon as `capacity` rows came after it. A row holds an observation,
what was done there, and the numbers of the rows before and after it in its stream, because streams
arrive in pieces and interleaved. With L = 4 the window of f needs the rows c..f, and row b for the
action before c:

    number    0  1  2  3  4  5  6  7         before
    row       a  b  x  c  d  y  e  f         f (7) -> e (6) -> d (4) -> c (3) -> b (1)

When b is forgotten, so is the window of f: a step whose window is no longer whole is never drawn,
and training sees exactly what acting saw.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns

from rllib_seq.errors import UserError
from rllib_seq.models.rl_module.windows import (
    PREVIOUS_ACTIONS,
    PREVIOUS_REWARDS,
    STEPS_BEFORE,
    WindowLayout,
)
from rllib_seq.q_learning.sum_tree import SumTree

Array = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_NONE = -1


class Returns(NamedTuple):
    """What `n` steps led to."""

    rewards: Floats
    """`[n]`: discounted sum of the rewards of the next `steps` steps."""
    steps: Ints
    """`[n]`: as many as were asked for, fewer where the stream ended or has not gone on yet."""
    last: Ints
    """`[n]`: row of the step after them."""
    terminated: NDArray[np.bool_]
    """`[n]`: whether the stream ended there, so that nothing follows."""


class StepMemory:
    """Ring of steps with links along the streams, and a priority for each.

    Args:
        capacity: rows; a stream takes one per step and one for its final observation.
        layout: what is in a window.
    """

    def __init__(self, capacity: int, layout: WindowLayout) -> None:
        self.capacity, self.layout = capacity, layout
        self._priorities = SumTree(capacity)
        self._observation: Array | None = None  # made when the first stream tells its shape
        self._action: Array | None = None
        self._reward = np.zeros(capacity, np.float32)
        self._terminated = np.zeros(capacity, np.bool_)
        self._step = np.zeros(capacity, np.int64)
        self._before = np.full(capacity, _NONE)  # numbers
        self._after = np.full(capacity, _NONE)
        self._added = 0  # the next number
        self._tails: dict[Hashable, int] = {}  # number of the last row of streams that go on

    def __len__(self) -> int:
        """Rows in use."""
        return min(self._added, self.capacity)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, whether filled or not."""
        arrays = [value for value in vars(self).values() if isinstance(value, np.ndarray)]
        return sum(array.nbytes for array in arrays) + self._priorities.nbytes

    def append(
        self,
        stream: Hashable,
        start: int,
        observations: Array,
        actions: Array,
        rewards: Array,
        *,
        terminated: bool,
        truncated: bool,
        priority: float,
    ) -> None:
        """Store the next piece of a stream.

        Args:
            stream: its name.
            start: steps of the stream before this piece.
            observations: `[n + 1, ...]`, the one after the last action included.
            actions: `[n, ...]`.
            rewards: `[n]`.
            terminated: the stream ends after this piece, and so does what can be earned.
            truncated: the stream ends after this piece, but more could have been earned.
            priority: of the new steps.

        Raises:
            UserError: the piece has more steps than the memory.
        """
        steps = len(actions)
        if steps + 1 > self.capacity:
            raise UserError(
                f"a replay capacity of {self.capacity} steps is less than one piece of an episode "
                f"({steps + 1}); raise replay_buffer_config['capacity']"
            )
        if self._observation is None or self._action is None:
            self._observation, self._action = self._empty(observations), self._empty(actions)
        tail = self._tails.pop(stream, _NONE)
        kept = bool(tail >= self._oldest(steps) and self._step[tail % self.capacity] == start)
        numbers = self._next_numbers(steps if kept else steps + 1)
        if kept:
            numbers = np.append(tail, numbers)
        rows = numbers % self.capacity
        self._observation[rows[kept:]] = observations[kept:]
        self._step[rows] = start + np.arange(steps + 1)
        self._after[rows[:-1]] = numbers[1:]
        self._before[rows[1:]] = numbers[:-1]
        self._action[rows[:-1]] = actions
        self._reward[rows[:-1]] = rewards
        self._terminated[rows] = False
        self._terminated[rows[-1]] = terminated
        self._priorities.set(rows[:-1], np.where(self._whole(rows[:-1]), priority, 0.0))
        if not (terminated or truncated):
            self._tails[stream] = int(numbers[-1])
            if len(self._tails) > self.capacity:  # of streams that did not go on for long
                oldest = self._oldest()
                self._tails = {s: number for s, number in self._tails.items() if number >= oldest}

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
        """Draw steps with whole windows in proportion to their priorities.

        Returns:
            rows `[count]`, and the probability `[count]` of each.

        Raises:
            UserError: there is none.
        """
        if not self._priorities.total > 0:
            raise UserError(
                "replay holds no step whose window is whole; raise "
                f"replay_buffer_config['capacity'] (it is {self.capacity})"
            )
        rows = self._priorities.sample(count, rng)
        return rows, self._priorities.get(rows) / self._priorities.total

    def set_priorities(self, rows: Ints, priorities: Floats) -> None:
        """Give rows `[n]` that were drawn new priorities `[n]`, above 0."""
        self._priorities.set(rows, priorities)

    def actions(self, rows: Ints) -> Array:
        """Actions `[n, ...]` that were taken at rows `[n]`."""
        assert self._action is not None
        return self._action[rows]

    def windows(self, rows: Ints) -> dict[str, Array]:
        """The windows that end at rows `[n]`, as `rl_module.windows.windows_of` has them."""
        assert self._observation is not None and self._action is not None
        length = self.layout.window_length
        previous = self._linked(self._before, rows, length)[:, ::-1]  # oldest first
        slots = np.concatenate([previous[:, 1:], rows[:, None]], axis=1)
        columns: dict[str, Array] = {
            Columns.OBS: _taken(self._observation, slots),
            STEPS_BEFORE: np.minimum(self._step[rows], length),
        }
        if self.layout.prev_action:
            columns[PREVIOUS_ACTIONS] = _taken(self._action, previous)
        if self.layout.prev_reward:
            columns[PREVIOUS_REWARDS] = _taken(self._reward, previous)
        return columns

    def outcomes(self, rows: Ints) -> tuple[Array, Array, NDArray[np.bool_]]:
        """What rows `[n]` that were drawn led to, one step later.

        Returns:
            observations `[n, ...]`, rewards `[n]`, and whether the stream ended `[n]`.
        """
        assert self._observation is not None
        after = self._after[rows] % self.capacity
        return self._observation[after], self._reward[rows], self._terminated[after]

    def returns(self, rows: Ints, steps: Ints, gamma: float) -> Returns:
        """N-step returns of rows `[n]` that were drawn.

        Args:
            rows: where to start.
            steps: how far to go, at least 1, `[n]`.
            gamma: discount per step.
        """
        last, taken, total = rows.copy(), np.zeros(len(rows), np.int64), np.zeros(len(rows))
        for step in range(int(steps.max())):
            go = (step < steps) & (self._after[last] != _NONE)
            total += np.where(go, gamma**step * self._reward[last], 0.0)
            last = np.where(go, self._after[last] % self.capacity, last)
            taken += go
        return Returns(total, taken, last, self._terminated[last])

    def get_state(self) -> dict[str, Any]:
        """All that `set_state` needs, without the empty rows."""
        rows = np.arange(len(self))
        arrays = {
            name: value[: len(rows)]
            for name, value in vars(self).items()
            if isinstance(value, np.ndarray)
        }
        return {
            "arrays": arrays,
            "priorities": self._priorities.get(rows),
            "tails": dict(self._tails),
            "capacity": self.capacity,
            "added": self._added,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Become the memory that `get_state` described.

        Raises:
            UserError: it has another capacity.
        """
        if state["capacity"] != self.capacity:
            raise UserError(
                f"the checkpoint's replay has a capacity of {state['capacity']} steps, this one "
                f"{self.capacity}; set replay_buffer_config['capacity'] to {state['capacity']}"
            )
        for name, filled in state["arrays"].items():
            array = self._empty(filled)
            array[: len(filled)] = filled
            setattr(self, name, array)
        self._priorities = SumTree(self.capacity)
        self._priorities.set(np.arange(len(state["priorities"])), state["priorities"])
        self._added, self._tails = state["added"], dict(state["tails"])

    def _empty(self, like: Array) -> Array:
        """An array with room for `capacity` rows like those of `like`."""
        return np.zeros((self.capacity, *like.shape[1:]), like.dtype)

    def _oldest(self, more: int = 0) -> int:
        """The least number that is not forgotten, after so many more rows."""
        return max(0, self._added + more - self.capacity)

    def _linked(self, links: Ints, rows: Ints, count: int) -> Ints:
        """The rows that 1..count links lead to from rows `[n]`, `[n, count]`, or `_NONE`."""
        linked, oldest = np.empty((len(rows), count), np.int64), self._oldest()
        for step in range(count):
            numbers = np.where(rows == _NONE, _NONE, links[rows])
            rows = np.where(numbers >= oldest, numbers % self.capacity, _NONE)
            linked[:, step] = rows
        return linked

    def _whole(self, rows: Ints) -> NDArray[np.bool_]:
        """Whether all rows that the windows need are there."""
        known = (self._linked(self._before, rows, self.layout.window_length) != _NONE).sum(axis=1)
        return known >= np.minimum(self._step[rows], self.layout.window_length)

    def _next_numbers(self, count: int) -> Ints:
        """Numbers of `count` new rows; what was in their places is forgotten."""
        numbers = self._added + np.arange(count)
        rows = numbers % self.capacity
        later = self._linked(self._after, rows[numbers >= self.capacity], self.layout.window_length)
        later = np.unique(later[later != _NONE])  # in whose windows they were
        self._added += count
        broken = later[~self._whole(later)]
        self._priorities.set(broken, np.zeros(len(broken)))
        self._before[rows] = self._after[rows] = _NONE
        self._priorities.set(rows, np.zeros(count))
        return numbers


def _taken(values: Array, rows: Ints) -> Array:
    """The values `[n, L, ...]` of rows `[n, L]`, zeros where there is none."""
    taken = values[rows]
    taken[rows == _NONE] = 0
    return taken

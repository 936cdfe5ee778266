"""What streams did in a batch, piece by piece.

- `RolloutBatch`: pieces of journeys, one after the other, as columns
- `Pieces`: collects one, step by step
- `generalized_advantages`: advantages and value targets of pieces of any length at once

A piece is what one stream did in one batch. Steps come in the order of time, many streams side by
side, and a stream's place may be taken by the next one:

    row 0    a a a | b b        pieces in the order of their first steps: a, c, b
    row 1      c c c c c        batch: a a a c c c c c b b
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

INFO = "info "
"""In front of the names of infos, among the columns of steps."""


class RolloutBatch(NamedTuple):
    """Pieces of journeys, each in order and all in one row: `N` steps of `P` pieces."""

    columns: dict[str, Array]
    """`[N, ...]`: `obs`, `actions`, `rewards` and the bidder's own."""
    lengths: Ints
    """`[P]`, steps of each piece; their sum is N."""
    rows: Ints
    """`[P]`, of the simulator: whose journey it is."""
    starts: Ints
    """`[P]`, steps of the journey before the piece."""
    terminated: Bools
    """`[P]`: the journey ended with the piece."""
    truncated: Bools
    """`[P]`: a time limit cut the journey off after the piece."""
    next_values: Floats
    """`[P]`: value of the step after the piece; 0 if the journey ended or nothing is valued."""
    valued: bool
    """Whether `next_values` holds those of pieces that go on, whatever the bidder stored."""
    next_observations: Array
    """`[P, D]`: what is seen after the piece."""
    ticks: int
    """Steps of all campaigns; in a step, all their users with a request act."""
    infos: dict[str, Array]
    """`[N]` by name, if they are asked for: what the steps brought, see `simulator.infos`,
    and how much of the journey was there before (`present`) and after (`survival`)."""

    @property
    def first(self) -> Ints:
        """`[P]`: number of the first step of each piece."""
        return np.cumsum(self.lengths) - self.lengths

    @property
    def piece(self) -> Ints:
        """`[N]`: of each step."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @property
    def place(self) -> Ints:
        """`[N]`: of each step in its piece, from 0."""
        return np.arange(self.lengths.sum()) - np.repeat(self.first, self.lengths)


class _End(NamedTuple):
    """Pieces that ended, what was seen after them, how their streams ended, and its value."""

    pieces: Ints
    observations: Array
    terminated: Bools
    truncated: Bools
    values: Floats


class Pieces:
    """Collects the steps of a batch in the order of time.

    Args:
        rows: streams side by side.
    """

    def __init__(self, rows: int) -> None:
        self.steps = 0
        """How many were added."""
        self._piece = np.full(rows, -1)  # number of the one that goes on in each row
        self._rows: list[Ints] = []  # of pieces, in their order
        self._starts: list[Ints] = []
        self._count = 0
        self._added: list[tuple[Ints, dict[str, Array]]] = []
        self._ends: list[_End] = []

    @property
    def open_rows(self) -> Ints:
        """Rows in which a piece goes on."""
        return np.flatnonzero(self._piece >= 0)

    def add(self, rows: Ints, before: Ints, columns: dict[str, Array]) -> None:
        """Add a step of some streams.

        Args:
            rows: of the streams, `[n]`, n at least 1, each at most once.
            before: steps that each stream has behind it, `[n]`.
            columns: of the steps, `[n, ...]`.
        """
        fresh = self._piece[rows] < 0
        begin = rows[fresh]
        self._piece[begin] = self._count + np.arange(len(begin))
        self._count += len(begin)
        self._rows.append(begin)
        self._starts.append(before[fresh])
        self._added.append((self._piece[rows], columns))
        self.steps += len(rows)

    def end(
        self, rows: Ints, observations: Array, terminated: Bools, truncated: Bools, values: Floats
    ) -> None:
        """End the pieces of rows `[n]`, see `RolloutBatch` for what follows them, `[n, ...]`."""
        self._ends.append(_End(self._piece[rows], observations, terminated, truncated, values))
        self._piece[rows] = -1

    def batch(self, last: Mapping[str, Array] | None, ticks: int) -> RolloutBatch:
        """Return all steps.

        Args:
            last: columns of the newest step of every row, if not all pieces were ended: the stream
                of one that goes on has acted again, or its last step would not be complete.
            ticks: see `RolloutBatch`.
        """
        piece = np.concatenate([pieces for pieces, _ in self._added])
        order = np.argsort(piece, kind="stable")
        names = self._added[0][1]
        columns = {
            name: np.concatenate([part[name] for _, part in self._added])[order] for name in names
        }
        infos = {
            name.removeprefix(INFO): columns.pop(name) for name in names if name.startswith(INFO)
        }
        rows = np.concatenate(self._rows)
        observations = np.zeros((len(rows), *columns["obs"].shape[1:]), columns["obs"].dtype)
        terminated, truncated = np.zeros((2, len(rows)), np.bool_)
        values = np.zeros(len(rows))
        if last is not None:
            observations[:] = last["obs"][rows]
            if "values" in last:
                values[:] = last["values"][rows]
        for end in self._ends:
            observations[end.pieces], values[end.pieces] = end.observations, end.values
            terminated[end.pieces], truncated[end.pieces] = end.terminated, end.truncated
        return RolloutBatch(
            columns,
            lengths=np.bincount(piece, minlength=self._count),
            rows=rows,
            starts=np.concatenate(self._starts),
            terminated=terminated,
            truncated=truncated,
            next_values=values,
            valued=last is None,
            next_observations=observations,
            ticks=ticks,
            infos=infos,
        )


def generalized_advantages(
    rewards: Floats,
    values: Floats,
    next_values: Floats,
    lengths: Ints,
    gamma: float,
    lambda_: float,
) -> tuple[Floats, Floats]:
    """Return advantages and value targets of pieces of trajectories (Schulman et al. 2016).

    `A_t = sum_k (gamma lambda)^k delta_{t+k}` with `delta_t = r_t + gamma v_{t+1} - v_t`.

    Args:
        rewards: `[N]`, pieces one after the other.
        values: `[N]`.
        next_values: of the step after each piece, 0 where nothing follows, `[P]`.
        lengths: of the pieces, at least 1, `[P]`; their sum is N.
        gamma: discount.
        lambda_: of the exponential average.

    Returns:
        advantages `[N]`, and targets `[N]` (advantages plus values).
    """
    ends = np.cumsum(lengths)
    following = np.append(values[1:], 0.0)
    following[ends - 1] = next_values
    deltas = rewards + gamma * following - values
    advantages = np.zeros(len(rewards))
    carried = np.zeros(len(lengths))
    # From the end of all pieces at once; the shorter ones are through earlier.
    for back in range(1, int(lengths.max()) + 1):
        going = lengths >= back
        steps = ends[going] - back
        carried[going] = deltas[steps] + gamma * lambda_ * carried[going]
        advantages[steps] = carried[going]
    return advantages, advantages + values

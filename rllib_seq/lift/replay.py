"""The journeys that the critic learns from, whole, newest first to stay.

- `JourneyReplay`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLUMNS", "JourneyReplay"]

Array = NDArray[Any]
Ints = NDArray[np.int64]

COLUMNS = ("obs", "actions", "rewards", "won", "payment", "context")
"""What is kept of every step: what the bidder saw, bid and got. `payment` is what the reward holds
of the request's price, `context` the number of the price model that the request belongs to. An
informed critic also has "stage", the hidden one."""


class JourneyReplay:
    """Keeps the last journeys, padded behind their ends.

    Args:
        capacity: journeys that are kept.
        seed: of the draws.
    """

    def __init__(self, capacity: int, seed: int | None) -> None:
        self._capacity = capacity
        self._rng = np.random.default_rng(seed)
        self._columns: dict[str, Array] = {}
        self._lengths = np.zeros(0, np.int64)
        self._next = 0  # where the next journey goes, once it is full

    def __len__(self) -> int:
        """Return how many journeys there are."""
        return len(self._lengths)

    def add(self, columns: Mapping[str, Array], lengths: Ints) -> None:
        """Add P journeys; the oldest make room.

        Args:
            columns: `COLUMNS`, and whatever else is to be kept, the same every time, journeys one
                after the other, `[N, ...]`.
            lengths: of each, `[P]`; their sum is N.
        """
        if len(lengths) > self._capacity:
            cut = int(lengths[: -self._capacity].sum())
            columns = {name: column[cut:] for name, column in columns.items()}
            lengths = lengths[-self._capacity :]
        journey = np.repeat(np.arange(len(lengths)), lengths)
        step = np.arange(len(journey)) - (np.cumsum(lengths) - lengths)[journey]
        place = self._places(len(lengths), int(lengths.max(initial=1)), columns)
        for name, column in columns.items():
            self._columns[name][place[journey], step] = column
        self._lengths[place] = lengths

    def sample(self, count: int) -> tuple[dict[str, Array], Ints]:
        """Draw journeys with replacement.

        Returns:
            the columns, `[count, T, ...]` with T the longest of them, and lengths `[count]`. What
            stands behind the end of a journey means nothing.
        """
        rows = self._rng.integers(len(self._lengths), size=count)
        lengths = self._lengths[rows]
        longest = int(lengths.max())
        return {name: column[rows, :longest] for name, column in self._columns.items()}, lengths

    def steps(self, names: Sequence[str]) -> list[Array]:
        """Return these columns of all steps that are kept, `[N, ...]` each."""
        longest = self._columns["won"].shape[1]
        real = np.arange(longest) < self._lengths[:, None]
        return [self._columns[name][: len(real)][real] for name in names]

    def get_state(self) -> dict[str, Any]:
        """Return what `set_state` takes."""
        return {
            "columns": {name: col[: len(self._lengths)] for name, col in self._columns.items()},
            "lengths": self._lengths,
            "next": self._next,
            "random": self._rng.bit_generator.state,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on where `get_state` was called."""
        self._columns = {name: np.array(column) for name, column in state["columns"].items()}
        self._lengths, self._next = np.array(state["lengths"]), state["next"]
        self._rng.bit_generator.state = state["random"]

    def _places(self, count: int, longest: int, columns: Mapping[str, Array]) -> Ints:
        """Make room for journeys; returns their rows."""
        before = len(self._lengths)
        fresh = min(count, self._capacity - before)
        self._lengths = np.append(self._lengths, np.zeros(fresh, np.int64))
        for name, column in columns.items():
            old = self._columns.get(name)
            shape = (len(self._lengths), longest, *column.shape[1:])
            if old is not None:
                rows = len(old) if len(old) >= shape[0] else max(shape[0], 2 * len(old))
                shape = (min(rows, self._capacity), max(longest, old.shape[1]), *shape[2:])
            if old is None or old.shape != shape:
                new = np.zeros(shape, column.dtype)
                if old is not None:
                    new[: len(old), : old.shape[1]] = old
                self._columns[name] = new
        again = (self._next + np.arange(count - fresh)) % self._capacity
        self._next = (self._next + count - fresh) % self._capacity
        return np.concatenate([np.arange(before, before + fresh), again]).astype(np.int64)

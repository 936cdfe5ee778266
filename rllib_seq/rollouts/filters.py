"""RLlib's running mean/std filters, for many streams at once.

- `filter_rows`: what a `MeanStdFilter` makes of rows, one after the other
- `FilteredArrays`: an `ArrayEnv` whose observations are filtered, each once
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.rllib.utils.filter import MeanStdFilter, RunningStat
from ray.rllib.utils.numpy import SMALL_NUMBER

from rllib_seq.envs.array_env import ArrayEnv

Array = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def filter_rows(running: MeanStdFilter, rows: Array) -> Array:
    """Push rows into a filter and return them filtered, as if each had been filtered in its turn.

    Args:
        running: of observations of this shape; is changed.
        rows: `[n, ...]`.

    Examples:
        >>> one, many = MeanStdFilter((2,)), MeanStdFilter((2,))
        >>> rows = np.arange(6.0).reshape(3, 2)
        >>> bool(np.allclose([one(row) for row in rows], filter_rows(many, rows)))
        True
    """
    values = rows.astype(np.float64)
    counts, means, squares = _push(running.running_stats, values)
    _push(running.buffer, values)
    if running.demean:
        values = values - means
    if running.destd:
        counts = counts.reshape(-1, *[1] * (values.ndim - 1))
        variance = np.where(counts > 1, squares / np.maximum(counts - 1, 1), 0.0)
        values = values / (np.sqrt(np.maximum(variance, 0.0)) + SMALL_NUMBER)
    if running.clip:
        values = np.clip(values, -running.clip, running.clip)
    return values.astype(rows.dtype)


def _push(stat: RunningStat, values: Floats) -> tuple[Floats, Floats, Floats]:
    """Push rows; return count, mean and sum of squared differences after each (Chan et al. 1979).

    With shifted values d = x - mean: after n rows in all, of which k are new, the mean has moved by
    sum(d) / n, and the sum of squares has grown by sum(d^2) - sum(d)^2 / n.
    """
    before = stat.num_pushes
    shift = stat.mean_array if before else values[0]
    shifted = values - shift
    counts = before + np.arange(1.0, len(values) + 1)
    column = counts.reshape(-1, *[1] * (values.ndim - 1))
    total = shifted.cumsum(0)
    means = shift + total / column
    squares = stat.sum_sq_diff_array + (shifted**2).cumsum(0) - total**2 / column
    stat.mean_delta_array += means[-1] - (stat.mean_array if before else 0.0)
    stat.sum_sq_diff_delta_array += squares[-1] - stat.sum_sq_diff_array
    stat.mean_array, stat.sum_sq_diff_array = means[-1].copy(), squares[-1].copy()
    stat.num_pushes += len(values)
    stat.num_pushes_delta += len(values)
    return counts, means, squares


class FilteredArrays:
    """An `ArrayEnv` whose observations pass a running filter, each once, in the order of rows.

    Args:
        env: what is played.
        filters: the filter of each stream of an episode, `slots` of them, asked for again before
            every step, because RLlib replaces filters when it restores a worker.
    """

    def __init__(self, env: ArrayEnv, filters: Callable[[], list[MeanStdFilter]]) -> None:
        self._env, self._filters = env, filters
        self.num_episodes, self.slots = env.num_episodes, env.slots
        self.rewards_at_once = env.rewards_at_once
        self._fresh = np.zeros(env.num_episodes * env.slots, np.bool_)
        self._seen: Array | None = None

    @property
    def pending(self) -> Ints:
        """See `ArrayEnv`."""
        return self._env.pending

    @property
    def ended(self) -> Bools:
        """See `ArrayEnv`."""
        return self._env.ended

    @property
    def truncated(self) -> Bools:
        """See `ArrayEnv`."""
        return self._env.truncated

    @property
    def over(self) -> Bools:
        """See `ArrayEnv`."""
        return self._env.over

    def observe(self, rows: Ints) -> Array:
        """See `ArrayEnv`; filtered."""
        there = self._env.ended.copy()
        there[self._env.pending] = True
        fresh = np.flatnonzero(self._fresh & there)
        if len(fresh):
            self._fresh[fresh] = False
            self._filter(fresh)
        assert self._seen is not None
        return self._seen[rows]

    def take_rewards(self, rows: Ints) -> Floats:
        """See `ArrayEnv`."""
        return self._env.take_rewards(rows)

    def serve(self, rows: Ints, actions: Array) -> dict[str, Array]:
        """See `ArrayEnv`."""
        self._fresh[rows] = True
        return self._env.serve(rows, actions)

    def begin(self, episodes: Ints) -> None:
        """See `ArrayEnv`."""
        self._env.begin(episodes)
        self._fresh.reshape(-1, self.slots)[episodes] = True

    def _filter(self, rows: Ints) -> None:
        observations = self._env.observe(rows)
        if observations.dtype.kind != "f":
            observations = observations.astype(np.float32)
        if self._seen is None:
            self._seen = np.zeros((len(self._fresh), *observations.shape[1:]), observations.dtype)
        filters = self._filters()
        if len(set(map(id, filters))) == 1:
            self._seen[rows] = filter_rows(filters[0], observations)
            return
        for row, observation in zip(rows.tolist(), observations, strict=True):
            self._seen[row] = filters[row % self.slots](observation)

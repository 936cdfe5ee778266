"""Intervals and distances, as pure functions; all intervals are 95 %.

- `wilson`: of a proportion.
- `slope_interval`: of the slope of a least-squares line.
- `stability_index`: how far two histograms are apart.
- `share_variance`: of weighted shares of events, which come in clusters.
- `kaplan_meier`: how many events have happened by a time, where some are yet to come.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]
_Z = 1.959964
_CELLS = 1 << 22  # of a table of clusters by categories


def wilson(successes: float, trials: float) -> tuple[float, float]:
    """Interval of a proportion (Wilson 1927), sound for small counts too.

    >>> low, high = wilson(1, 10)
    >>> round(low, 4), round(high, 4)
    (0.0179, 0.4042)
    """
    if trials == 0:
        return 0.0, 1.0
    share, square = successes / trials, _Z**2 / trials
    middle = share + square / 2
    half = _Z * math.sqrt(share * (1 - share) / trials + square / (4 * trials))
    return max((middle - half) / (1 + square), 0.0), min((middle + half) / (1 + square), 1.0)


def slope_interval(x: Floats, y: Floats) -> tuple[float, float, float]:
    """Slope of the least-squares line through `[n]` points, and its interval; n at least 3."""
    dx, dy = x - x.mean(), y - y.mean()
    slope = (dx @ dy) / (dx @ dx)
    rest = dy - slope * dx
    half = stats.t.ppf(0.975, len(x) - 2) * math.sqrt((rest @ rest) / (dx @ dx) / (len(x) - 2))
    return float(slope), float(slope - half), float(slope + half)


def stability_index(before: ArrayLike, after: ArrayLike) -> float:
    """Population stability index of two histograms: `sum((q - p) * ln(q / p))`.

    Below .1 nothing changed, above .25 much did (Siddiqi, Credit Risk Scorecards, 2006). Half a
    count is added to every bin, so that empty ones stay finite.

    >>> stability_index([50, 50], [50, 50])
    0.0
    """
    p = np.asarray(before, np.float64) + 0.5
    q = np.asarray(after, np.float64) + 0.5
    p, q = p / p.sum(), q / q.sum()
    return float(((q - p) * np.log(q / p)).sum())


def share_variance(
    codes: NDArray[np.integer],
    weights: Floats,
    share: Floats,
    user: NDArray[np.integer],
    day: NDArray[np.integer],
) -> Floats:
    """`[K]` variances of `sum(weights where codes == k)`, whose mean is `share * sum(weights)`.

    Events of one user may come together, and those of one day; other events are independent. So the
    variances over users and over days add, less what both count (Cameron, Gelbach and Miller 2011);
    the sum is not below either.

    Args:
        codes: `[n]` category of each event, below K.
        weights: `[n]`; negative ones are subtracted.
        share: `[K]` expected share of each category, sums to 1.
        user: `[n]`, the events of a user in order of the days.
        day: `[n]`, from 0 on.
    """
    visit = np.zeros(len(codes), np.int64)
    visit[1:] = np.cumsum((user[1:] != user[:-1]) | (day[1:] != day[:-1]))
    by_user, by_day, both = (
        _clustered(codes, weights, share, cluster) for cluster in (user, day, visit)
    )
    return np.maximum.reduce([by_user + by_day - both, by_user, by_day])


def _clustered(
    codes: NDArray[np.integer], weights: Floats, share: Floats, cluster: NDArray[np.integer]
) -> Floats:
    groups, size = int(cluster.max()) + 1, len(share)
    scale = 1.0
    if groups * size > _CELLS:  # a sample of the clusters is enough
        every = -(-groups * size // _CELLS)
        kept = cluster % every == 0
        codes, weights, cluster = codes[kept], weights[kept], cluster[kept] // every
        scale, groups = every, -(-groups // every)
    cells = np.bincount(cluster.astype(np.int64) * size + codes, weights, groups * size)
    cells = cells.reshape(groups, size)
    total = cells.sum(axis=1)
    # (cells - share * total)^2 summed, without a second array of that size
    squares = np.einsum("gk,gk->k", cells, cells) - 2 * share * (total @ cells)
    squares += share**2 * (total @ total)
    return np.maximum(squares, 0) * scale * groups / max(groups - 1, 1)


class Survival(NamedTuple):
    """What has happened by a time, of events that happen at most once."""

    time: Floats
    """`[K]` at which events happened, ascending."""
    happened: Floats
    """`[K]` share that has happened by then, were nothing cut off."""
    error: Floats
    """`[K]` standard error (Greenwood 1926)."""

    def by(self, time: ArrayLike) -> Floats:
        """Shares that have happened by other times, in the shape of `time`."""
        steps = np.concatenate([[0.0], self.happened])
        return steps[np.searchsorted(self.time, np.asarray(time), side="right")]


def kaplan_meier(time: Floats, happened: NDArray[np.bool_]) -> Survival:
    """The product-limit estimate (Kaplan and Meier 1958).

    Args:
        time: `[n]`, from the beginning until the event, or until no one watched any more.
        happened: `[n]`, whether the event ended it.

    >>> kaplan_meier(np.array([1.0, 2.0, 3.0]), np.array([True, False, True])).happened.round(3)
    array([0.333, 1.   ])
    """
    moments, place = np.unique(time[happened], return_inverse=True)
    events = np.bincount(place, minlength=len(moments))
    at_risk = len(time) - np.searchsorted(np.sort(time), moments, side="left")
    survives: Floats = np.cumprod(1 - events / at_risk, dtype=np.float64)
    rate = events / (at_risk * np.maximum(at_risk - events, 1))
    return Survival(moments, 1 - survives, survives * np.sqrt(np.cumsum(rate)))

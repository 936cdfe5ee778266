"""Intervals and distances, as pure functions; all intervals are 95 %.

- `wilson`: of a proportion.
- `mean_interval`: of a mean, by Student's t.
- `quantile_interval`: of a quantile, by order statistics.
- `slope_interval`: of the slope of a least-squares line.
- `stability_index`: how far two histograms are apart.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

__all__ = ["mean_interval", "quantile_interval", "slope_interval", "stability_index", "wilson"]

Floats = NDArray[np.float64]
_Z = 1.959964


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


def mean_interval(samples: ArrayLike) -> tuple[Floats, Floats]:
    """Interval of the mean along the first axis; NaN for fewer than two samples.

    Args:
        samples: `[n, ...]`, independent along n.

    Returns:
        Lower and upper ends, `[...]`.
    """
    x = np.asarray(samples, np.float64)
    n = len(x)
    if n < 2:
        return np.full(x.shape[1:], np.nan), np.full(x.shape[1:], np.nan)
    half = stats.t.ppf(0.975, n - 1) * x.std(axis=0, ddof=1) / math.sqrt(n)
    middle = x.mean(axis=0)
    return middle - half, middle + half


def quantile_interval(ordered: Floats, probability: float) -> tuple[float, float, float]:
    """A quantile and its distribution-free interval between two order statistics.

    Args:
        ordered: `[n]` samples, ascending, n at least 1.
        probability: between 0 and 1.

    Returns:
        The quantile (an actual sample), lower and upper end.
    """
    n = len(ordered)
    spread = _Z * math.sqrt(n * probability * (1 - probability))
    rank = n * probability
    ranks = np.clip(np.ceil([rank, rank - spread, rank + spread + 1]) - 1, 0, n - 1)
    value, low, high = ordered[ranks.astype(np.int64)]
    return float(value), float(low), float(high)


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

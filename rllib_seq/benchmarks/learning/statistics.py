"""What a handful of training runs says: robust means, their intervals, who is better.

Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (NeurIPS
2021), as in their library rliable, which would bring a dozen packages for these lines.

- `iqm`: interquartile mean
- `interval`: its stratified bootstrap interval
- `probability_of_improvement`: that a run of one is better than a run of another
- `median_to_goal`: what a run takes to a goal
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Scores = Sequence[Sequence[float] | Floats]
"""By task, the scores of its runs."""

DRAWS = 2000


def iqm(scores: Scores) -> float:
    """Mean of the middle half of all runs of all tasks."""
    return float(stats.trim_mean(np.concatenate([np.asarray(task) for task in scores]), 0.25))


def probability_of_improvement(ours: Scores, theirs: Scores) -> float:
    """Mean over tasks of P(X > Y) + P(X = Y) / 2 for runs X of ours and Y of theirs."""
    wins = [
        (np.greater.outer(x, y) + 0.5 * np.equal.outer(x, y)).mean()
        for x, y in zip(ours, theirs, strict=True)
    ]
    return float(np.mean(wins))


def interval(scores: Scores, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the IQM; runs are drawn again within each task."""
    rng = np.random.default_rng(seed)
    return _percentiles(lambda: iqm(_again(scores, rng)))


def improvement_interval(ours: Scores, theirs: Scores, seed: int = 0) -> tuple[float, float]:
    """The same of the probability of improvement."""
    rng = np.random.default_rng(seed)
    return _percentiles(lambda: probability_of_improvement(_again(ours, rng), _again(theirs, rng)))


def _again(scores: Scores, rng: np.random.Generator) -> list[Floats]:
    return [rng.choice(np.asarray(task, float), len(task)) for task in scores]


def _percentiles(draw: Callable[[], float]) -> tuple[float, float]:
    low, high = np.percentile([draw() for _ in range(DRAWS)], [2.5, 97.5])
    return float(low), float(high)


def median_to_goal(points: Sequence[Mapping[str, float] | None]) -> str:
    """Median `steps` (and `cpu_seconds`) to a goal, or how many runs reached it; None: not yet."""
    there = [point for point in points if point is not None]
    if not there:
        return "not reached"
    if 2 * len(there) <= len(points):
        return f"{len(there)} of {len(points)}"
    steps, seconds = (
        np.median([point[name] for point in there]) for name in ("steps", "cpu_seconds")
    )
    return f"{steps:,.0f} ({seconds:,.0f} s)"

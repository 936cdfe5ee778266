"""How good forecasts of probabilities are, as pure functions.

- `brier_score`, `reliability`, `expected_calibration_error`: against what happened
- `Truth`, `against_truth`, `TruthScores`: against true probabilities, exact or estimated without
  bias
- `scorecard`, `Scorecard`: all of it for one forecast

Against outcomes even the true probability p scores p (1 - p) in the mean; against the truth it
scores 0. The difference is luck, which no forecast can know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_BINS = 10

Floats = NDArray[np.float64]


def brier_score(forecast: Floats, outcome: Floats) -> float:
    """Mean of `(forecast - outcome)^2` (Brier, 1950), in [0, 1], lower is better.

    Args:
        forecast: `[N]` probabilities.
        outcome: `[N]`, 1 where it happened, else 0; or true probabilities.
    """
    return float(np.mean((forecast - outcome) ** 2))


def reliability(forecast: Floats, outcome: Floats, bins: int = _BINS) -> list[dict[str, float]]:
    """The reliability curve: how often it happened where it was forecast to be so likely.

    Bins hold equally many forecasts, because those of rare events crowd near 0.

    Args:
        forecast: `[N]` probabilities.
        outcome: `[N]`, 1 where it happened, else 0; or true probabilities.
        bins: at most so many; never more than N.

    Returns:
        by rising forecast, the `count` of a bin and the means of `forecast` and `outcome` in it.
    """
    order = np.argsort(forecast, kind="stable")
    return [
        {
            "count": len(rows),
            "forecast": float(forecast[rows].mean()),
            "outcome": float(outcome[rows].mean()),
        }
        for rows in np.array_split(order, min(bins, len(order)))
    ]


def expected_calibration_error(curve: list[dict[str, float]]) -> float:
    """Mean over forecasts of `|forecast - outcome|` of their bin, for a curve of `reliability`."""
    count, forecast, outcome = (
        np.array([row[key] for row in curve]) for key in ("count", "forecast", "outcome")
    )
    return float(count @ np.abs(forecast - outcome) / count.sum())


class Truth(NamedTuple):
    """True probabilities of N events."""

    probability: Floats
    """`[N]`: exact, or an estimate without bias."""
    variance: Floats
    """`[N]`: of the estimate, without bias too; 0 where exact."""


@dataclass(frozen=True, kw_only=True)
class TruthScores:
    """Scores of forecasts q against true probabilities p."""

    base_rate: float
    """E[p]."""
    mse: float
    """E[(q - p)^2]."""
    mse_base_rate: float
    """The same of a forecast of the base rate."""
    brier_of_truth: float
    """E[p (1 - p)]."""
    ece: float
    """Expected calibration error against p."""
    bins: list[dict[str, float]]
    """See `reliability`."""


@dataclass(frozen=True, kw_only=True)
class Scorecard:
    """Scores of forecasts against outcomes."""

    requests: int
    base_rate: float
    brier: float
    brier_base_rate: float
    """Of a forecast of the base rate."""
    skill: float | None
    """The share of the latter that the forecast saves; None if there is nothing to save."""
    ece: float
    """Expected calibration error."""
    bins: list[dict[str, float]]
    """See `reliability`."""


def against_truth(forecast: Floats, truth: Truth) -> TruthScores:
    """Scores of forecasts against true probabilities p; errors of the estimates are taken out.

    `E[(q - p)^2] = E[(q - t)^2] - Var[t]` for an estimate t of p, and also for `E[p^2]`.

    Args:
        forecast: `[N]` probabilities q.
        truth: of the same events.
    """
    noise = truth.variance.mean()
    base_rate = float(truth.probability.mean())
    second_moment = float((truth.probability**2).mean() - noise)
    curve = reliability(forecast, truth.probability)
    return TruthScores(
        base_rate=base_rate,
        mse=brier_score(forecast, truth.probability) - float(noise),
        mse_base_rate=second_moment - base_rate**2,
        brier_of_truth=base_rate - second_moment,
        ece=expected_calibration_error(curve),
        bins=curve,
    )


def scorecard(forecast: Floats, outcome: Floats) -> Scorecard:
    """Scores of forecasts against outcomes.

    Args:
        forecast: `[N]` probabilities.
        outcome: `[N]`, 1 where it happened, else 0.
    """
    base_rate = float(outcome.mean())
    brier, naive = brier_score(forecast, outcome), base_rate * (1.0 - base_rate)
    curve = reliability(forecast, outcome)
    return Scorecard(
        requests=len(forecast),
        base_rate=base_rate,
        brier=brier,
        brier_base_rate=naive,
        skill=1.0 - brier / naive if naive > 0 else None,
        ece=expected_calibration_error(curve),
        bins=curve,
    )

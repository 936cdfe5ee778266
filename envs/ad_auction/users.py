"""The users: when they come, what hides in them, and what they do.

- `JourneyModel`: the numbers of a hidden Markov journey.
- `advance`: one request of many users at once: click, conversion, churn, move of the stage, visit.
- `ConversionDelay`: how long after its cause a conversion happens.

A user's journey stage is never observed. A won impression may move it up, may annoy (churn) and
raises the conversion hazard; without impressions the stage decays. Clicks and site visits are
noisy signs of it. The order within a request: click and conversion by the stage before, churn if
not converted, then the move, then the visit by the stage after.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["ConversionDelay", "Draws", "JourneyModel", "Reaction", "advance"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class ConversionDelay:
    """Delay between a conversion's cause and the conversion, log-linear between quantiles."""

    probabilities: tuple[float, ...]
    """Increasing, from 0 to 1."""
    hours: tuple[float, ...]
    """The delay at each probability, increasing and positive."""

    def ppf(self, probability: ArrayLike) -> Floats:
        """Uniforms in `[0, 1)` to delays in hours, same shape."""
        return np.exp(np.interp(np.asarray(probability), self.probabilities, np.log(self.hours)))

    def cdf(self, hours: ArrayLike) -> Floats:
        """Probability that a delay is at most `hours`."""
        log_hours = np.log(np.maximum(hours, 1e-12))
        return np.interp(log_hours, np.log(self.hours), self.probabilities, left=0.0, right=1.0)


@dataclass(frozen=True, eq=False)
class JourneyModel:
    """The numbers of the hidden journey; S stages, C channels, all probabilities per request."""

    stages: tuple[str, ...]
    channels: tuple[str, ...]
    initial_share: Floats
    """`[S]`: the stage at the first request."""
    channel_share: Floats
    """`[C]`: the channel of each request, independent of all else."""
    move_up: Floats
    """`[S, C]`: one stage up on a won impression (the last stage stays)."""
    move_down: Floats
    """`[S]`: one stage down without an impression (the first stage stays)."""
    hazard_won: Floats
    """`[S]`: conversion on a won impression."""
    hazard_lost: Floats
    """`[S]`: conversion without an impression."""
    churn: Floats
    """`[S]`: the user leaves for good on an impression."""
    click: Floats
    """`[S, C]`: click on an impression."""
    visit: Floats
    """`[S]`: site visit after the request, by the new stage."""
    requests_per_user: int
    """Bid requests of a user who neither converts nor churns."""
    mean_gap_hours: float
    """Mean of the geometric time between two requests of a user, at least 1 (the tick)."""
    arrival_hours: float
    """First requests are uniform over these first hours of the campaign."""
    delay: ConversionDelay | None = None
    """None: a conversion happens at once."""

    def request_hours(self, arrivals: Floats, gaps: Floats) -> Ints:
        """Times of all requests in whole hours.

        Args:
            arrivals: `[U]` uniforms.
            gaps: `[U, R - 1]` uniforms.

        Returns:
            `[U, R]`, strictly increasing along R.
        """
        first = np.floor(arrivals * self.arrival_hours)
        if self.mean_gap_hours > 1:
            wait = np.log1p(-gaps) / np.log1p(-1 / self.mean_gap_hours)
            steps = np.floor(wait) + 1
        else:
            steps = np.ones_like(gaps)
        hours = np.concatenate([first[:, None], steps], axis=1)
        return np.cumsum(hours, axis=1).astype(np.int64)


class Draws(NamedTuple):
    """One uniform in `[0, 1)` per user and purpose, each `[n]`."""

    click: Floats
    conversion: Floats
    churn: Floats
    move: Floats
    visit: Floats


class Reaction(NamedTuple):
    """What the users did, each `[n]`."""

    clicked: Bools
    converted: Bools
    churned: Bools
    visited: Bools
    stage: Ints
    """The stage after the request; unchanged where converted or churned."""
    conversion_probability: Floats
    """Probability of `converted` given the stage before and the outcome of the auction."""
    departure_probability: Floats
    """Likewise that the journey ends, by conversion or churn."""


def advance(model: JourneyModel, stage: Ints, channel: Ints, won: Bools, draws: Draws) -> Reaction:
    """Plays one request of `n` different users.

    Args:
        model: the numbers.
        stage: `[n]`, hidden stage before the request.
        channel: `[n]`, channel of the request.
        won: `[n]`, whether our impression was shown.
        draws: the users' uniforms for this request.
    """
    hazard = np.where(won, model.hazard_won[stage], model.hazard_lost[stage])
    churn = np.where(won, model.churn[stage], 0.0)
    clicked = won & (draws.click < model.click[stage, channel])
    converted = draws.conversion < hazard
    churned = ~converted & (draws.churn < churn)
    stays = converted | churned
    up = won & ~stays & (draws.move < model.move_up[stage, channel])
    down = ~won & ~stays & (draws.move < model.move_down[stage])
    new_stage = np.clip(stage + up - down, 0, len(model.stages) - 1)
    visited = ~stays & (draws.visit < model.visit[new_stage])
    departure = 1 - (1 - hazard) * (1 - churn)
    return Reaction(clicked, converted, churned, visited, new_stage, hazard, departure)

"""The users: when they come, what hides in them, and what they do.

- `JourneyModel`: the numbers of a hidden Markov journey, and of who the users are.
- `Audience`, `Creatives`: segments and devices; what we show, and how it wears out.
- `advance`: one request of many users at once: click, conversion, churn, move of the stage, visit.
- `ConversionDelay`: how long after its cause a conversion happens.

A user's journey stage is never observed. A won impression may move it up, may annoy (churn) and
raises the conversion hazard; without impressions the stage decays. Clicks and site visits are
noisy signs of it. The order within a request: click and conversion by the stage before, churn if
not converted, then the move, then the visit by the stage after.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rllib_seq.envs.ad_auction.journey.traffic import Traffic

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
class Audience:
    """Who the users are: K segments, D devices. A bidder sees both."""

    segments: tuple[str, ...] = ("all",)
    segment_share: Floats = field(default_factory=lambda: np.ones(1))
    """`[K]`."""
    value_factor: Floats = field(default_factory=lambda: np.ones(1))
    """`[K]`: a conversion's value in units of the preset's."""
    devices: tuple[str, ...] = ("any",)
    device_share: Floats = field(default_factory=lambda: np.ones((1, 1)))
    """`[K, D]`: devices within each segment."""
    click_factor: Floats = field(default_factory=lambda: np.ones(1))
    """`[D]`: multiplies the probability of a click."""


@dataclass(frozen=True, eq=False)
class Creatives:
    """What we show: A creatives, and how their effect wears out.

    An impression's effect, that is its probabilities of a click and of a move up, is multiplied by
    `appeal * exp(-frequency_fatigue * exposure - creative_fatigue * repeats)`. Exposure is the
    number of impressions shown to the user before, each halved every `half_life_hours`; repeats is
    how many of the last impressions in a row were of this creative.
    """

    names: tuple[str, ...] = ("only",)
    appeal: Floats = field(default_factory=lambda: np.ones((1, 1)))
    """`[K, A]`: by segment."""
    frequency_fatigue: float = 0.0
    creative_fatigue: float = 0.0
    half_life_hours: float = 24.0


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
    """Most bid requests (R) of a user who neither converts nor churns."""
    traffic: Traffic
    """When the requests come."""
    return_probability: Floats | None = None
    """`[R]`: the user has another request, whatever we do; the last is 0. None: 1 but for it."""
    delay: ConversionDelay | None = None
    """None: a conversion happens at once."""
    audience: Audience = Audience()
    creatives: Creatives = Creatives()

    def __post_init__(self) -> None:
        """Raises ValueError with one line that names the table and what is wrong with it."""
        of_stage, of_both = len(self.stages), (len(self.stages), len(self.channels))
        audience, requests = self.audience, (self.requests_per_user,)
        segments, devices = len(audience.segments), len(audience.devices)
        _check("initial_share", self.initial_share, (of_stage,), sums_to_one=True)
        _check("channel_share", self.channel_share, of_both[1:], sums_to_one=True)
        _check("segment_share", audience.segment_share, (segments,), sums_to_one=True)
        _check("device_share", audience.device_share, (segments, devices), sums_to_one=True)
        for name in ("move_up", "click"):
            _check(name, getattr(self, name), of_both)
        for name in ("move_down", "hazard_won", "hazard_lost", "churn", "visit"):
            _check(name, getattr(self, name), (of_stage,))
        if self.return_probability is not None:
            _check("return_probability", self.return_probability, requests)
        _check("value_factor", audience.value_factor, (segments,), most=np.inf)
        _check("click_factor", audience.click_factor, (devices,), most=np.inf)
        appeal = (segments, len(self.creatives.names))
        _check("appeal", self.creatives.appeal, appeal, most=np.inf)

    @property
    def effects_vary(self) -> bool:
        """Whether an impression's effect depends on more than stage and channel."""
        factors = (self.audience.click_factor, self.creatives.appeal)
        tired = self.creatives.frequency_fatigue or self.creatives.creative_fatigue
        return bool(tired) or any((factor != 1).any() for factor in factors)

    def response(
        self, segment: Ints, device: Ints, creative: Ints, exposure: Floats, repeats: Ints
    ) -> Response:
        """What multiplies the effects of impressions, see `Creatives`; all arguments `[n]`."""
        creatives = self.creatives
        tired = creatives.frequency_fatigue * exposure + creatives.creative_fatigue * repeats
        move = creatives.appeal[segment, creative] * np.exp(-tired)
        return Response(move * self.audience.click_factor[device], move)


def _check(
    name: str,
    table: Floats,
    shape: tuple[int, ...],
    most: float = 1.0,
    sums_to_one: bool = False,
) -> None:
    if table.shape != shape:
        raise ValueError(f"{name} has shape {table.shape}; give {shape}")
    if not ((table >= 0) & (table <= most)).all():
        raise ValueError(f"{name} is {table.tolist()}; give numbers from 0 to {most:g}")
    if sums_to_one and not np.allclose(table.sum(axis=-1), 1.0):
        raise ValueError(f"{name} is {table.tolist()}; give shares that sum to 1")


class Response(NamedTuple):
    """Factors of an impression's effect, each `[n]`; a probability stops at 1."""

    click: Floats
    move: Floats


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
    """Also that the journey ends, by conversion or churn."""


def advance(
    model: JourneyModel,
    stage: Ints,
    channel: Ints,
    won: Bools,
    draws: Draws,
    response: Response | None = None,
) -> Reaction:
    """Plays one request of `n` different users.

    Args:
        model: the numbers.
        stage: `[n]`, hidden stage before the request.
        channel: `[n]`, channel of the request.
        won: `[n]`, whether our impression was shown.
        draws: the users' uniforms for this request.
        response: what multiplies the impressions' effects; None: nothing.
    """
    hazard = np.where(won, model.hazard_won[stage], model.hazard_lost[stage])
    churn = np.where(won, model.churn[stage], 0.0)
    click, move_up = model.click[stage, channel], model.move_up[stage, channel]
    if response is not None:
        click, move_up = click * response.click, move_up * response.move
    clicked = won & (draws.click < click)
    converted = draws.conversion < hazard
    churned = ~converted & (draws.churn < churn)
    stays = ~(converted | churned)
    up = won & stays & (draws.move < move_up)
    down = ~won & stays & (draws.move < model.move_down[stage])
    new_stage = np.minimum(np.maximum(stage + up - down, 0), len(model.stages) - 1)
    visited = stays & (draws.visit < model.visit[new_stage])
    departure = 1 - (1 - hazard) * (1 - churn)
    return Reaction(clicked, converted, churned, visited, new_stage, hazard, departure)

"""The worlds of tick mode: every number, and what a user may change.

- `TickWorld`: one market with its traffic, competitors, auctions and our campaign's money.
- `steady`: second price, one slot, competitors without memory: lambda theory holds exactly.
- `mixed`: first price on display, a soft floor on video, increments on search.
- `slots`: three slots by GSP and a target CPA, after AuctionNet.
- `rivalry`: competitors pace budgets and learn, and the market jumps; hindsight is a reference.
- `TickConfig`: a world plus the choices of an experiment, validated.

The levels (values, shares, spreads) are made up for a market in which eight competitors are our
equals; the traffic of the week is that of a real market, see `traffic.load_week`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.checks import check_above_zero, check_choice, check_keys, check_whole
from rllib_seq.envs.ad_auction.journey.traffic import load_week
from rllib_seq.envs.ad_auction.market.auctions import FIRST_PRICE, SECOND_PRICE, ChannelAuctions
from rllib_seq.envs.ad_auction.market.bidders import Bidder
from rllib_seq.envs.ad_auction.market.objective import Goal
from rllib_seq.envs.ad_auction.market.pacing import (
    PID,
    Constant,
    Hedge,
    OnlineDual,
    Pacing,
    Proportional,
)
from rllib_seq.envs.ad_auction.market.valuations import LognormalValues, Regimes

__all__ = ["TICKS_PER_DAY", "TICK_WORLDS", "TickConfig", "TickWorld"]

TICKS_PER_DAY = 48


@dataclass(frozen=True, eq=False)
class TickWorld:
    """One market; money in currency units per impression."""

    rivals: tuple[Bidder, ...]
    auctions: ChannelAuctions
    budget: float
    """Of our campaign, per expected request."""
    goal: Goal = field(default_factory=Goal)
    regimes: Regimes | None = None
    exposure: tuple[float, ...] = (1.0,)
    """Probability that an ad in each slot is seen."""
    channels: tuple[str, ...] = ("display", "video", "search")
    channel_share: tuple[float, ...] = (0.5, 0.2, 0.3)
    probability: tuple[float, ...] = (0.001, 0.002, 0.006)
    """Median conversion probability of an impression that is seen, by channel."""
    conversion_value: tuple[float, ...] = (50.0, 50.0, 80.0)
    """By channel, currency units."""
    spread: float = 1.0
    """Standard deviation of the logarithm of probabilities and of the competitors' values."""
    correlation: float = 0.5
    """Of these logarithms between any two bidders, us included."""
    traffic_noise: float = 0.2
    """Standard deviation of the logarithm of a tick's expected requests."""
    highest_multiplier: float = 8.0
    """See `multiplier`."""
    pacing: Pacing = Constant()
    """What actions around pacing are relative to."""

    def plan(self, days: int) -> NDArray[np.float64]:
        """`[48 * days]`: expected share of a flight's requests in each tick, from a Monday on."""
        by_hour = np.resize(load_week(), days * 24)
        by_tick = np.repeat(by_hour, TICKS_PER_DAY // 24)
        return by_tick / by_tick.sum()

    def multiplier(self, action: NDArray[np.floating]) -> NDArray[np.float64]:
        """Multipliers of actions in [-1, 1]: 1 / highest, 1 at action 0, up to the highest."""
        return self.highest_multiplier ** np.asarray(action, np.float64)

    @property
    def own_values(self) -> LognormalValues:
        """Our conversion probabilities."""
        return LognormalValues(self.probability, self.spread, self.correlation)

    @property
    def rival_values(self) -> LognormalValues:
        """The competitors' values: as ours, see `Bidder.value`."""
        return LognormalValues(tuple(self._median_value), self.spread, self.correlation)

    @property
    def typical_worth(self) -> NDArray[np.float64]:
        """`[C]`, median worth of an impression, see `tick_simulator.Requests`."""
        if self.goal.target_cpa is not None:
            return np.multiply(self.probability, self.goal.target_cpa)
        return self._median_value * self.goal.unit

    @property
    def _median_value(self) -> NDArray[np.float64]:
        return np.multiply(self.probability, self.conversion_value)


_SCALES = (1.1, 1.0, 0.9, 0.8, 0.8, 0.7, 0.6, 0.5)
_TRUTHFUL = tuple(Bidder(value=scale) for scale in _SCALES)
_SECOND_PRICE = ChannelAuctions(np.zeros(3), np.full(3, SECOND_PRICE))

# Budgets are about a quarter of what a bidder of their value would spend without one. Pacing starts
# at what scores most on the flights 1 to 3, see `tick.baselines.best_constant`.
TICK_WORLDS: dict[str, TickWorld] = {
    "steady": TickWorld(_TRUTHFUL, _SECOND_PRICE, budget=0.017, pacing=OnlineDual(0.56, 8.0)),
    "mixed": TickWorld(
        # In first price no one bids the truth; half of them shade everywhere.
        tuple(
            Bidder(Constant(1.0 if i % 2 else 0.7), value=scale) for i, scale in enumerate(_SCALES)
        ),
        ChannelAuctions(
            floor=np.array([0.02, 0.04, 0.2]),
            soft_floor=np.array([FIRST_PRICE, 0.3, SECOND_PRICE]),
            increment=0.01,
        ),
        budget=0.022,
        pacing=OnlineDual(0.535, 8.0),
    ),
    "slots": TickWorld(
        _TRUTHFUL,
        ChannelAuctions(np.array([0.01, 0.02, 0.1]), np.zeros(3)),
        budget=0.025,  # the target CPA binds before it
        goal=Goal(target_cpa=20.0),
        exposure=(1.0, 0.8, 0.6),
        pacing=Constant(1.3),
    ),
    "rivalry": TickWorld(
        (
            Bidder(value=0.8),
            Bidder(Constant(0.8), value=1.0),
            Bidder(Hedge(), value=1.0),
            Bidder(Hedge(), value=0.7),
            Bidder(Constant(), value=1.0, budget=0.017),  # until broke
            Bidder(Proportional(highest=2.0), value=0.8, budget=0.011),
            Bidder(PID(), value=1.1, budget=0.021),
            Bidder(OnlineDual(), value=0.9, budget=0.013),
        ),
        _SECOND_PRICE,
        budget=0.015,
        regimes=Regimes(changes=3, spread=0.4),
        pacing=OnlineDual(0.426, 8.0),
    ),
}

CONVERSIONS = ("sampled", "expected")
TICK_ACTIONS = ("multipliers", "around_pacing")
TICK_REWARDS = ("score", "over_pacing")


@dataclass(frozen=True)
class TickConfig:
    """One experiment's campaign: the keys of an `AdCampaign-v0`.

    >>> TickConfig.from_dict({"world": "slots"}).build_world().goal.target_cpa
    20.0
    """

    world: str = "steady"
    """A key of `TICK_WORLDS`."""
    days: int = 1
    """The flight: 48 ticks a day."""
    requests_per_tick: int = 2000
    """On average over the day."""
    budget: float | None = None
    """Hard limit on the spend of the flight, currency units; None: as the world says."""
    target_cpa: float | None = None
    """See `Goal`; None for both targets: as the world says."""
    target_roas: float | None = None
    """See `Goal`."""
    conversions: str = "sampled"
    """"sampled": they happen or not. "expected": their probabilities are counted."""
    actions: str = "multipliers"
    """Of an `AdCampaign-v0`: "multipliers" of the worth, or "around_pacing": of what the world's
    pacing rule (`TickWorld.pacing`) bids."""
    reward: str = "score"
    """"score": its growth. "over_pacing": what it grows more than that of the pacing rule in a
    campaign of its own on the same requests, in % of the budget. What is luck of both is not
    in it: for training. Both campaigns see outcomes alone; outside a simulator the prices of the
    second come from the minimum to win of the first, as far as rivals do not answer."""

    def __post_init__(self) -> None:
        """Raises ValueError with one line that names the value and the fix."""
        check_choice("world", self.world, TICK_WORLDS)
        check_choice("conversions", self.conversions, CONVERSIONS)
        check_choice("actions", self.actions, TICK_ACTIONS)
        check_choice("reward", self.reward, TICK_REWARDS)
        check_whole("days", self.days, 1)
        check_whole("requests_per_tick", self.requests_per_tick, 1)
        if self.budget is not None:
            check_above_zero("budget", self.budget)
        Goal(self.target_cpa, self.target_roas)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> TickConfig:
        """Builds the config from an env config.

        Raises:
            ValueError: on an unknown key or a bad value.
        """
        check_keys(config, [field.name for field in dataclasses.fields(cls)])
        return cls(**config)

    @property
    def requests(self) -> int:
        """Expected requests of the flight."""
        return self.days * TICKS_PER_DAY * self.requests_per_tick

    def build_world(self) -> TickWorld:
        """The world with this experiment's choices in it."""
        world = TICK_WORLDS[self.world]
        changes: dict[str, Any] = {}
        if self.budget is not None:
            changes["budget"] = self.budget / self.requests
        if self.target_cpa is not None or self.target_roas is not None:
            changes["goal"] = Goal(self.target_cpa, self.target_roas)
        return dataclasses.replace(world, **changes)

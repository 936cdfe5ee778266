"""The worlds: every number of every preset, with its source, and what a user may change.

- `journey`: the hidden stage makes memory pay; exact references exist (see `oracles`).
- `display`: the market, hours, click rate and journey lengths of real campaigns; segments, devices,
  creatives that wear out, a budget, a flight that ends and conversions that come late.
- `uniform`: one auction against a rival who bids U[0, 1]; everything has a closed form.
- `COMPETITORS`: who may bid against us instead of the prices of a preset.
- `AuctionConfig`: a preset plus the choices of an experiment, validated.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rllib_seq.envs.ad_auction.checks import check_choice, check_keys, check_whole
from rllib_seq.envs.ad_auction.journey.features import KINDS
from rllib_seq.envs.ad_auction.journey.signals import Layout
from rllib_seq.envs.ad_auction.journey.traffic import Traffic, load_week
from rllib_seq.envs.ad_auction.journey.users import (
    Audience,
    ConversionDelay,
    Creatives,
    JourneyModel,
)
from rllib_seq.envs.ad_auction.market.auctions import AUCTIONS
from rllib_seq.envs.ad_auction.market.bidders import Bidder
from rllib_seq.envs.ad_auction.market.competitors import GammaPrices, QuantilePrices, load_landscape
from rllib_seq.envs.ad_auction.market.pacing import PID, Constant, Hedge, OnlineDual, Proportional
from rllib_seq.envs.ad_auction.market.rivals import Rivals, rehearse
from rllib_seq.envs.ad_auction.market.valuations import LognormalValues, Regimes
from rllib_seq.envs.ad_auction.worlds.actions import ACTIONS, BID_UNITS, Actions
from rllib_seq.envs.ad_auction.worlds.observed import Observed
from rllib_seq.envs.ad_auction.worlds.world import Preset

__all__ = ["COMPETITORS", "PRESETS", "AuctionConfig", "Preset"]


# A hidden Markov journey in which the value of memory is known exactly.
_JOURNEY = JourneyModel(
    stages=("unaware", "aware", "considering", "intent"),
    channels=("display", "video", "search"),
    initial_share=np.array([0.60, 0.30, 0.08, 0.02]),
    channel_share=np.array([0.5, 0.2, 0.3]),
    move_up=np.array([[0.02, 0.06, 0.03], [0.15, 0.35, 0.10], [0.15, 0.10, 0.40], [0, 0, 0]]),
    move_down=np.array([0, 0.03, 0.05, 0.05]),
    hazard_won=np.array([0, 0, 0.03, 0.25]),
    hazard_lost=np.array([0, 0, 0.005, 0.03]),
    churn=np.array([0.06, 0.01, 0.01, 0.01]),
    click=np.array(
        [[0.01, 0.02, 0.02], [0.05, 0.10, 0.10], [0.10, 0.15, 0.30], [0.15, 0.15, 0.50]]
    ),
    visit=np.array([0.01, 0.10, 0.30, 0.60]),
    requests_per_user=24,
    traffic=Traffic(arrival_hours=48.0, mean_gap_hours=3.0),  # 24 requests in three days
)

_JOURNEY_PRESET = Preset(
    users=_JOURNEY,
    prices=GammaPrices(shape=1.4, scale=0.04),
    auction="second_price",
    floor=0.0,
    value=1.0,
    budget_per_user=math.inf,
    shadow_price=0.0,
    flight_hours=math.inf,
    # The oracle's bids lie between these; 16 log-spaced levels cost it .6 % of its profit.
    lowest_bid=0.004,
    highest_bid=0.3,
    num_bid_levels=16,
)

_DISPLAY = dataclasses.replace(
    _JOURNEY,
    # Users who know us already make short journeys to a conversion as common as they are: a user
    # who sees all our impressions converts after 3 of them in the median, after 6 at the third
    # quartile, as in the journeys of the PyPI package mta (MIT; 3, 6).
    initial_share=np.array([0.53, 0.27, 0.13, 0.07]),
    # One by one from the lengths of the 68,602 journeys in mta that end without a conversion.
    comes_back=np.array(
        [0.854, 0.880, 0.606, 0.853, 0.859, 0.553, 0.820, 0.821, 0.851, 0.879, 0.878, 0.861]
        + [0.889, 0.882, 0.894, 0.903, 0.910, 0.914, 0.910, 0.896, 0.927, 0.942, 0.920, 0.0]
    ),
    # A click rate of .0335 % on all impressions: iPinYou campaign 2259, 280 on 835,556.
    click=_JOURNEY.click * 0.005,
    # Made up but for the curve: arrivals in the first week, sessions of two requests a
    # quarter of an hour apart, and a day between two sessions.
    traffic=Traffic(
        arrival_hours=168.0,
        mean_gap_hours=24.0,
        tick_hours=0.25,
        session_continues=0.5,
        session_gap_hours=0.25,
        week=load_week(),
    ),
    # After a click about 35 % of the conversions come within an hour, 50 % within a day, the
    # last after 30 days.
    delay=ConversionDelay((0.0, 0.35, 0.5, 1.0), (0.02, 1.0, 24.0, 720.0)),
    # Made up: a few users are worth twice the others; no public log tells.
    audience=Audience(
        segments=("mass", "premium"),
        segment_share=np.array([0.8, 0.2]),
        value_factor=np.array([0.8, 1.8]),
        devices=("phone", "desktop", "tablet"),
        device_share=np.array([[0.62, 0.33, 0.05], [0.45, 0.48, 0.07]]),
        click_factor=np.array([1.1, 0.85, 1.0]),
    ),
    # Made up: one creative for everybody, one for each segment; half of an effect is lost after
    # 14 impressions within a day, or 7 of the same creative in a row.
    creatives=Creatives(
        names=("brand", "offer", "service"),
        appeal=np.array([[1.0, 1.2, 0.7], [1.0, 0.6, 1.4]]),
        frequency_fatigue=0.05,
        creative_fatigue=0.1,
    ),
)

_DISPLAY_PRESET = dataclasses.replace(
    _JOURNEY_PRESET,
    users=_DISPLAY,
    # Prices of iPinYou campaign 2259, per impression (its table is per mille).
    prices=load_landscape("2259", unit=1e-3),
    floor=0.005,
    # The mean price is the same share of a conversion's value as in `journey` (.0931 / 1.66).
    value=1.66,
    # What the Bayes policy spends per user at this shadow price, about half of what it would
    # spend at none: the two describe the same scarcity.
    budget_per_user=0.021,
    shadow_price=0.5,
    flight_hours=14 * 24.0,
    observation="full",
)

_UNIFORM_PRESET = Preset(
    # One request per user, who converts if and only if we win it. What that is worth is his
    # segment, which the bidder sees: our value is uniform, too, on a grid of ten.
    users=JourneyModel(
        stages=("ready",),
        channels=("auction",),
        initial_share=np.ones(1),
        channel_share=np.ones(1),
        move_up=np.zeros((1, 1)),
        move_down=np.zeros(1),
        hazard_won=np.ones(1),
        hazard_lost=np.zeros(1),
        churn=np.zeros(1),
        click=np.zeros((1, 1)),
        visit=np.zeros(1),
        requests_per_user=1,
        traffic=Traffic(arrival_hours=24.0, mean_gap_hours=1.0),
        audience=Audience(
            segments=tuple(f"value_{percent}" for percent in range(5, 100, 10)),
            segment_share=np.full(10, 0.1),
            value_factor=np.arange(5, 100, 10) / 100,
            device_share=np.ones((10, 1)),
        ),
        creatives=Creatives(appeal=np.ones((10, 1))),
    ),
    prices=QuantilePrices({}, {}, cap=1.0),
    auction="second_price",
    floor=0.0,
    value=1.0,
    budget_per_user=math.inf,
    shadow_price=0.0,
    flight_hours=math.inf,
    lowest_bid=0.01,
    highest_bid=1.0,
    num_bid_levels=24,
    observation="full",
)

# Made up, but for the mean price, which is that of `journey` and `display`: 5.6 % of a conversion's
# value. Eight rivals who differ in scale; what one likes, the others tend to like.
COMPETITORS: dict[str, Rivals] = {
    "truthful": Rivals(
        tuple(Bidder(value=scale) for scale in (1.1, 1.0, 0.9, 0.8, 0.8, 0.7, 0.6, 0.5)),
        LognormalValues((0.017,), spread=1.0, correlation=0.5),
    ),
    # Budgets are half of what each would spend without one.
    "rivalry": Rivals(
        (
            Bidder(value=0.9),
            Bidder(Constant(0.8), value=1.1),
            Bidder(Hedge(), value=1.0),
            Bidder(Hedge(), value=0.8),
            Bidder(Constant(), value=1.1, budget=0.0034),  # until broke
            Bidder(Proportional(), value=0.9, budget=0.0021),
            Bidder(PID(), value=1.2, budget=0.0041),
            Bidder(OnlineDual(), value=1.0, budget=0.0027),
        ),
        LognormalValues((0.016,), spread=1.0, correlation=0.5),
        Regimes(changes=4, spread=0.4),
    ),
}
REWARDS = ("sampled", "expected", "regret", "attributed")
EVENTFUL = ("sampled", "attributed")
"""Rewards with which journeys end by events, and not by probabilities."""
PRESETS: dict[str, Preset] = {
    "journey": _JOURNEY_PRESET,
    "display": _DISPLAY_PRESET,
    "uniform": _UNIFORM_PRESET,
}


@dataclass(frozen=True)
class AuctionConfig:
    """One experiment's world: the keys of an env config.

    >>> AuctionConfig.from_dict({"preset": "journey", "num_users": 8}).num_users
    8
    """

    preset: str = "journey"
    """A key of `PRESETS`."""
    num_users: int = 64
    """Users of one campaign."""
    observation: str | None = None
    """"raw": the signals of one request, so that memory is needed. "full": the counts that a bidder
    could keep as well; see `features`. None: as the preset says."""
    actions: str = "levels"
    """What an agent chooses, see `actions.Actions`."""
    bid_unit: str = "campaign"
    """"campaign": bid levels are bids. "user": multipliers of the worth of a user's conversion."""
    slots: int | None = None
    """Users of one campaign that are in memory at the same time: a journey's end makes room for the
    user who comes next. For long runs with very many users; None: room for all."""
    reward: str = "sampled"
    """"sampled": value when a conversion happens, minus (1 + shadow_price) * spend. "expected":
    the same with every end of a journey replaced by its probability given the hidden stage: a
    conversion pays its probability times its value, nobody leaves, and all that follows counts
    only as much as the user would still be there. The same mean (exactly, unless a budget binds)
    with less variance. "regret": what a bid earns less than that of the full-information policy
    would at the same request, see `values.Regret`. These two know the hidden stage: for training
    only. "attributed": "sampled", redistributed by `credits`: every impression is paid the credit
    of its channel in advance, and the journey's end is paid what the conversion brings (if any)
    less what was advanced. Every journey's total stays the same, and so does the best policy
    (potential-based shaping; Ng, Harada and Russell 1999). For training."""
    budget: float | None = None
    """Hard limit on a campaign's spend in currency units; None: as the preset says."""
    shadow_price: float | None = None
    """None: as the preset says."""
    auction: str | None = None
    """A key of `market.AUCTIONS`; None: as the preset says."""
    competitors: str | None = None
    """A key of `COMPETITORS`: bidders with values, budgets and pacing of their own make the market
    price, see `rivals`. None: it is drawn from the preset's distribution."""
    credits: tuple[float, ...] | None = None
    """`[C]`: what an impression on each channel is credited, in units of a conversion's value, by
    `reward="attributed"`. `train --patterns` finds it in a log."""
    observed: Mapping[str, Any] | None = None
    """What a log tells about the users, laid over the preset: see `observed.Observed`. `train
    --patterns` sets it."""
    arrival_hours: float | None = None
    """First requests are spread over these first hours; None: as the preset says."""
    reward_scale: float = 1.0
    """Rewards are paid times this, for learners that want them to be about 1 (regrets per request
    are about .003). What campaigns earn is not changed."""
    overspend: bool = False
    """True: a spent budget stops no bid, for training. Exploring spends it within days, and what is
    bid in the rest of the flight would then make no difference; the shadow price stands for the
    budget. Whoever is judged keeps it, see `judged`."""

    def __post_init__(self) -> None:
        """Raises ValueError with one line that names the value and the mend."""
        if self.preset == "log":
            raise ValueError(
                "preset 'log' replays a file in an environment of its own, AuctionLog-v0; see "
                "docs/environments/replay.md"
            )
        check_choice("preset", self.preset, [*PRESETS, "log"])
        check_choice("reward", self.reward, REWARDS)
        if self.auction is not None:
            check_choice("auction", self.auction, AUCTIONS)
        if self.competitors is not None:
            check_choice("competitors", self.competitors, COMPETITORS)
            if self.reward == "regret":
                raise ValueError(
                    "reward 'regret' knows the distribution of prices and not the hour's "
                    f"competitors, {self.competitors!r}; give reward='expected' or 'sampled'"
                )
        check_choice("actions", self.actions, ACTIONS)
        check_choice("bid_unit", self.bid_unit, BID_UNITS)
        if self.observed is not None:
            Observed.from_dict(self.observed)
        if self.observation is not None:
            check_choice("observation", self.observation, KINDS)
        check_whole("num_users", self.num_users, 1)
        if self.slots is not None and not (
            type(self.slots) is int and 1 <= self.slots <= self.num_users
        ):
            raise ValueError(
                f"slots is {self.slots!r}; give a whole number from 1 to num_users, "
                f"{self.num_users}"
            )
        if not isinstance(self.reward_scale, int | float) or not 0 < self.reward_scale < math.inf:
            raise ValueError(f"reward_scale is {self.reward_scale!r}; give a number above 0")
        if not isinstance(self.overspend, bool):
            raise ValueError(f"overspend is {self.overspend!r}; give true or false")
        for name in ("budget", "shadow_price", "arrival_hours"):
            value = getattr(self, name)
            if value is None:
                continue
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value!r}; give a number of at least 0")
        self._check_credits()

    def _check_credits(self) -> None:
        if self.credits is None:
            if self.reward == "attributed":
                raise ValueError(
                    "reward 'attributed' needs credits, and there are none; give credits (a number "
                    "of at least 0 per channel), or --patterns of a log with conversions"
                )
            return
        channels = self.build_preset().users.channels
        if len(self.credits) != len(channels) or not all(
            isinstance(credit, int | float) and 0 <= credit < math.inf for credit in self.credits
        ):
            raise ValueError(
                f"credits is {self.credits}; give a number of at least 0 for each of the channels "
                f"{', '.join(channels)}"
            )

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> AuctionConfig:
        """Builds the config from an env config.

        Raises:
            ValueError: on an unknown key or a bad value.
        """
        check_keys(config, [field.name for field in dataclasses.fields(cls)])
        return cls(**config)

    @property
    def num_slots(self) -> int:
        """Users of one campaign that are in memory at the same time."""
        return self.num_users if self.slots is None else self.slots

    @property
    def signal(self) -> str:
        """What training learns from: "outcomes", which every bidder sees, or "privileged"."""
        return "outcomes" if self.reward in EVENTFUL else "privileged"

    def build_actions(self, preset: Preset) -> Actions:
        """The action space in the preset that `build_preset` has built."""
        return Actions(preset, self.actions, self.bid_unit)

    def build_layout(self, preset: Preset) -> Layout:
        """What is observed of the preset that `build_preset` has built."""
        model = preset.users
        return Layout(
            kind=self.observation or preset.observation,
            channels=model.channels,
            segments=model.audience.segments,
            devices=model.audience.devices,
            creatives=model.creatives.names,
            floor=preset.floor,
            highest_bid=preset.value * preset.highest_bid,
            value=preset.value,
            shadow_price=preset.shadow_price,
        )

    def with_users(self, num_users: int) -> AuctionConfig:
        """The same world with another number of users; a budget of its own grows with them."""
        budget = None if self.budget is None else self.budget * num_users / self.num_users
        return dataclasses.replace(self, num_users=num_users, budget=budget)

    def judged(self) -> AuctionConfig:
        """The same world where policies are judged: paid what happens, within the budget."""
        return dataclasses.replace(self, reward="sampled", overspend=False)

    def build_preset(self) -> Preset:
        """The preset with this experiment's choices in it."""
        preset = PRESETS[self.preset]
        if self.observed is not None:
            preset = Observed.from_dict(self.observed).lay_over(preset)
        changes: dict[str, Any] = {}
        if self.budget is not None:
            changes["budget_per_user"] = self.budget / self.num_users
        if self.shadow_price is not None:
            changes["shadow_price"] = self.shadow_price
        if self.auction is not None:
            changes["auction"] = self.auction
        if self.arrival_hours is not None:
            traffic = dataclasses.replace(preset.users.traffic, arrival_hours=self.arrival_hours)
            changes["users"] = dataclasses.replace(preset.users, traffic=traffic)
        preset = dataclasses.replace(preset, **changes)
        if self.competitors is None:
            return preset
        share = tuple(preset.users.channel_share.tolist())
        rivals = rehearse(
            COMPETITORS[self.competitors], preset.auction, preset.floor, preset.value, share
        )
        return dataclasses.replace(preset, rivals=rivals, prices=rivals.prices)

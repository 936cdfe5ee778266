"""Which world an experiment plays: a preset, and what a user may change in it.

- `AuctionConfig`: a preset plus the choices of an experiment, validated.
- `PRESETS`, `COMPETITORS`: see `shipped`; the worlds of preset `drawn` are in `drawn`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rllib_seq.envs.ad_auction.checks import check_choice, check_keys, check_whole
from rllib_seq.envs.ad_auction.journey.features import KINDS
from rllib_seq.envs.ad_auction.journey.signals import Layout
from rllib_seq.envs.ad_auction.market.auctions import AUCTIONS
from rllib_seq.envs.ad_auction.market.rivals import simulate_competitors
from rllib_seq.envs.ad_auction.worlds.actions import ACTIONS, BID_UNITS, Actions
from rllib_seq.envs.ad_auction.worlds.drawn import drawn_preset
from rllib_seq.envs.ad_auction.worlds.observed import Observed
from rllib_seq.envs.ad_auction.worlds.shipped import COMPETITORS, PRESETS
from rllib_seq.envs.ad_auction.worlds.world import Preset

__all__ = ["COMPETITORS", "DRAWN", "PRESETS", "AuctionConfig", "Preset"]

DRAWN = "drawn"
REWARDS = ("sampled", "expected", "regret", "attributed")
EVENT_REWARDS = ("sampled", "attributed")
"""Rewards with which journeys end by events, and not by probabilities."""


@dataclass(frozen=True)
class AuctionConfig:
    """One experiment's world: the keys of an env config.

    >>> AuctionConfig.from_dict({"preset": "journey", "num_users": 8}).num_users
    8
    """

    preset: str = "journey"
    """A key of `PRESETS`, or "drawn" with a `world_seed`."""
    num_users: int = 64
    """Users of one campaign."""
    observation: str | None = None
    """"raw": the signals of one request, so that memory is needed. "full": the counts that a bidder
    could keep as well. "user": of these, what the campaign's bids for other users do not change;
    see `features`. None: as the preset says."""
    actions: str = "levels"
    """What an agent chooses, see `actions.Actions`."""
    bid_unit: str = "campaign"
    """"campaign": bid levels are bids. "user": multipliers of the worth of a user's conversion."""
    num_bid_levels: int | None = None
    """Positive bid levels to choose from, log-spaced from the preset's lowest to its highest bid;
    None: as the preset says."""
    slots: int | None = None
    """Users of one campaign that are in memory at the same time: a journey's end makes room for the
    user who comes next. For long runs with very many users; None: room for all."""
    reward: str = "sampled"
    """"sampled": value when a conversion happens, minus (1 + shadow_price) * spend. "expected":
    the same with every end of a journey replaced by its probability given the hidden stage: a
    conversion pays its probability times its value, no one leaves, and all that follows counts
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
    enforce_budget: bool = True
    """False: a spent budget stops no bid, for training. Exploring spends it within days, and bids
    in the rest of the flight would then make no difference; the shadow price stands for the budget.
    Evaluations enforce it, see `for_evaluation`."""

    world_seed: int | None = None
    """Of preset "drawn": the seed that its numbers are drawn from, see `drawn`. It stays the same
    in all campaigns, whatever seed they have."""

    def __post_init__(self) -> None:
        """Raises ValueError with one line that names the value and the fix."""
        if self.preset == "log":
            raise ValueError(
                "preset 'log' replays a file in an environment of its own, AuctionLog-v0; see "
                "docs/environments/replay.md"
            )
        check_choice("preset", self.preset, [*PRESETS, DRAWN, "log"])
        self._check_world_seed()
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
        if self.num_bid_levels is not None:
            check_whole("num_bid_levels", self.num_bid_levels, 1)
        if self.slots is not None and not (
            type(self.slots) is int and 1 <= self.slots <= self.num_users
        ):
            raise ValueError(
                f"slots is {self.slots!r}; give a whole number from 1 to num_users, "
                f"{self.num_users}"
            )
        if not isinstance(self.reward_scale, int | float) or not 0 < self.reward_scale < math.inf:
            raise ValueError(f"reward_scale is {self.reward_scale!r}; give a number above 0")
        if not isinstance(self.enforce_budget, bool):
            raise ValueError(f"enforce_budget is {self.enforce_budget!r}; give true or false")
        for name in ("budget", "shadow_price", "arrival_hours"):
            value = getattr(self, name)
            if value is None:
                continue
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value!r}; give a number of at least 0")
        self._check_credits()

    def _check_world_seed(self) -> None:
        drawn, seed = self.preset == DRAWN, self.world_seed
        if drawn and not (type(seed) is int and 0 <= seed < 2**31):
            raise ValueError(
                f"world_seed of preset 'drawn' is {seed!r}; give a whole number from 0 to "
                "2147483647 that its world is drawn from"
            )
        if not drawn and seed is not None:
            raise ValueError(
                f"world_seed is {seed!r}, and preset {self.preset!r} is not drawn; leave it out, "
                "or give preset 'drawn'"
            )

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
    def world(self) -> str:
        """Its name in titles and of folders: the preset, of "drawn" with its seed."""
        return self.preset if self.world_seed is None else f"{self.preset}-{self.world_seed}"

    @property
    def num_slots(self) -> int:
        """Users of one campaign that are in memory at the same time."""
        return self.num_users if self.slots is None else self.slots

    @property
    def signal(self) -> str:
        """What training learns from: "outcomes", which every bidder sees, or "privileged"."""
        return "outcomes" if self.reward in EVENT_REWARDS else "privileged"

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

    def for_evaluation(self) -> AuctionConfig:
        """The same world where policies are judged: paid what happens, within the budget."""
        return dataclasses.replace(self, reward="sampled", enforce_budget=True)

    def build_preset(self) -> Preset:
        """The preset with this experiment's choices in it."""
        seed = self.world_seed
        preset = PRESETS[self.preset] if seed is None else drawn_preset(seed)
        if self.observed is not None:
            preset = Observed.from_dict(self.observed).apply_to(preset)
        changes: dict[str, Any] = {}
        if self.budget is not None:
            changes["budget_per_user"] = self.budget / self.num_users
        if self.num_bid_levels is not None:
            changes["num_bid_levels"] = self.num_bid_levels
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
        rivals = simulate_competitors(
            COMPETITORS[self.competitors], preset.auction, preset.floor, preset.value, share
        )
        return dataclasses.replace(preset, rivals=rivals, prices=rivals.prices)

"""The worlds: every number of every preset, with its source, and what a user may change.

- `Preset`: one world, declared in one place.
- `journey`: the hidden stage makes memory pay; exact references exist (see `oracles`).
- `display`: the same users in the market of a real display campaign, with a budget, a flight that
  ends and conversions that come late.
- `AuctionConfig`: a preset plus the choices of an experiment, validated.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.ad_auction.competitors import GammaPrices, MarketPrices, load_landscape
from envs.ad_auction.market import AUCTIONS
from envs.ad_auction.users import ConversionDelay, JourneyModel

__all__ = ["PRESETS", "AuctionConfig", "Preset"]


@dataclass(frozen=True, eq=False)
class Preset:
    """One world; money in currency units, time in hours (one tick is one hour)."""

    users: JourneyModel
    prices: MarketPrices
    auction: str
    """A key of `market.AUCTIONS`."""
    floor: float
    value: float
    """Value of one conversion."""
    budget_per_user: float
    """Budget of the campaign per user in it; infinity for none."""
    shadow_price: float
    """Price of one unit of budget (lambda): profit is value - (1 + lambda) * spend."""
    flight_hours: float
    """The campaign ends then; infinity: with the last request."""
    lowest_bid: float
    """Lowest positive bid level, in units of the conversion value."""
    highest_bid: float
    num_bid_levels: int
    """Log-spaced positive bid levels; no bid comes on top."""

    @property
    def bid_levels(self) -> NDArray[np.float64]:
        """`[num_bid_levels + 1]` bids in currency units; level 0 is no bid."""
        levels = np.geomspace(self.lowest_bid, self.highest_bid, self.num_bid_levels)
        return self.value * np.concatenate([[0.0], levels])


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
    mean_gap_hours=3.0,  # 24 requests in three days
    arrival_hours=48.0,
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
    # The oracle's bids lie between these; 16 log-spaced levels cost it nothing measurable.
    lowest_bid=0.004,
    highest_bid=0.3,
    num_bid_levels=16,
)

_DISPLAY_PRESET = dataclasses.replace(
    _JOURNEY_PRESET,
    # After a click about 35 % of the conversions come within an hour, 50 % within a day, the
    # last after 30 days.
    users=dataclasses.replace(
        _JOURNEY,
        arrival_hours=72.0,
        delay=ConversionDelay((0.0, 0.35, 0.5, 1.0), (0.02, 1.0, 24.0, 720.0)),
    ),
    # Prices of iPinYou campaign 2259, per impression (its table is per mille).
    prices=load_landscape("2259", unit=1e-3),
    floor=0.005,
    # The mean price is the same share of a conversion's value as in `journey` (.0931 / 1.66).
    value=1.66,
    # What the Bayes policy spends per user at this shadow price, about half of what it would
    # spend at none: the two describe the same scarcity.
    budget_per_user=0.105,
    shadow_price=0.5,
    flight_hours=14 * 24.0,
)

REWARDS = ("sampled", "expected", "regret")
PRESETS: dict[str, Preset] = {"journey": _JOURNEY_PRESET, "display": _DISPLAY_PRESET}


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
    reward: str = "sampled"
    """"sampled": value when a conversion happens, minus (1 + shadow_price) * spend. "expected":
    the same with every end of a journey replaced by its probability given the hidden stage: a
    conversion pays its probability times its value, nobody leaves, and all that follows counts
    only as much as the user would still be there. The same mean (exactly, unless a budget binds)
    with less variance. "regret": "expected" minus the profit of the full-information policy, with
    the luck of prices, channels and stages taken out as well, see `values.Regret`. The last two
    know the hidden stage: for training only."""
    budget: float | None = None
    """Hard limit on a campaign's spend in currency units; None: as the preset says."""
    shadow_price: float | None = None
    """None: as the preset says."""
    auction: str | None = None
    """A key of `market.AUCTIONS`; None: as the preset says."""

    def __post_init__(self) -> None:
        """Raises ValueError with one line that names the value and the mend."""
        _choice("preset", self.preset, PRESETS)
        _choice("reward", self.reward, REWARDS)
        if self.auction is not None:
            _choice("auction", self.auction, AUCTIONS)
        if type(self.num_users) is not int or self.num_users < 1:
            raise ValueError(f"num_users is {self.num_users!r}; give a whole number of at least 1")
        for name in ("budget", "shadow_price"):
            value = getattr(self, name)
            if value is None:
                continue
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value!r}; give a number of at least 0")

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> AuctionConfig:
        """Builds the config from an env config.

        Raises:
            ValueError: on an unknown key or a bad value.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for key in config:
            if key not in known:
                raise ValueError(f"unknown env config key {key!r}; {_suggest(key, known)}")
        return cls(**config)

    def with_users(self, num_users: int) -> AuctionConfig:
        """The same world with another number of users; a budget of its own grows with them."""
        budget = None if self.budget is None else self.budget * num_users / self.num_users
        return dataclasses.replace(self, num_users=num_users, budget=budget)

    def build_preset(self) -> Preset:
        """The preset with this experiment's choices in it."""
        preset = PRESETS[self.preset]
        changes: dict[str, Any] = {}
        if self.budget is not None:
            changes["budget_per_user"] = self.budget / self.num_users
        if self.shadow_price is not None:
            changes["shadow_price"] = self.shadow_price
        if self.auction is not None:
            changes["auction"] = self.auction
        return dataclasses.replace(preset, **changes)


def _choice(name: str, value: object, known: Mapping[str, Any] | tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}; {_suggest(str(value), list(known))}")


def _suggest(value: str, known: list[str]) -> str:
    close = difflib.get_close_matches(value, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}choose one of: {', '.join(known)}"

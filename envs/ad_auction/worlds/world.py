"""What a world is made of.

- `Preset`: one world, declared in one place; the worlds that ship are in `presets`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.checks import check_above_zero, check_choice, check_whole
from rllib_seq.envs.ad_auction.journey.features import KINDS
from rllib_seq.envs.ad_auction.journey.users import JourneyModel
from rllib_seq.envs.ad_auction.market.auctions import AUCTIONS
from rllib_seq.envs.ad_auction.market.competitors import MarketPrices
from rllib_seq.envs.ad_auction.market.rivals import RivalMarket


@dataclass(frozen=True, eq=False)
class Preset:
    """One world; money in currency units, time in hours (one tick is one hour)."""

    users: JourneyModel
    prices: MarketPrices
    """Distribution of the market price; where there are `rivals`, over all hours of theirs."""
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

    observation: str = "raw"
    """What a bidder sees unless set otherwise, see `features`."""
    rivals: RivalMarket | None = None
    """Who makes the market price; None: it is drawn from `prices`."""

    def __post_init__(self) -> None:
        """Raises ValueError with one line that names the value and the fix."""
        check_choice("auction", self.auction, AUCTIONS)
        check_choice("observation", self.observation, KINDS)
        check_above_zero("value", self.value)
        check_whole("num_bid_levels", self.num_bid_levels, 1)
        for name in ("floor", "budget_per_user", "shadow_price", "flight_hours"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; give a number of at least 0")
        if not 0 < self.lowest_bid <= self.highest_bid < np.inf:
            raise ValueError(
                f"lowest_bid is {self.lowest_bid!r} and highest_bid {self.highest_bid!r}; give "
                "numbers above 0, the lowest first"
            )

    @property
    def length_hours(self) -> float:
        """How long a campaign takes; without an end of the flight, until most users are through."""
        if np.isfinite(self.flight_hours):
            return self.flight_hours
        traffic = self.users.traffic
        return traffic.arrival_hours + self.users.requests_per_user * traffic.mean_gap_hours

    @property
    def mean_value(self) -> float:
        """Mean value of a conversion over the segments."""
        audience = self.users.audience
        return self.value * float(audience.segment_share @ audience.value_factor)

    @property
    def bid_levels(self) -> NDArray[np.float64]:
        """`[num_bid_levels + 1]` bids in currency units; level 0 is no bid."""
        levels = np.geomspace(self.lowest_bid, self.highest_bid, self.num_bid_levels)
        return self.value * np.concatenate([[0.0], levels])

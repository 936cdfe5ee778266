"""Auctions that were really held, as arrays.

- `AuctionLog`: logged auctions in the order of time; split by days.

Lost auctions count where our bid or their price is known; unknown prices come from `price_model`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.checks import check_whole
from rllib_seq.envs.ad_auction.log_replay.price_model import PriceModel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_DAY = 86_400_000_000  # microseconds
_HOUR = _DAY // 24


@dataclass(frozen=True, eq=False)
class AuctionLog:
    """n auctions, in the order of time."""

    time: Ints
    """`[n]` microseconds since 1970 on the wall clock by which days and hours count."""
    user: Ints
    """`[n]` any number that tells users apart."""
    price: Floats
    """`[n]` what had to be reached to win, and what the winner paid: the market price, or the floor
    where that is higher; NaN where it is not known. Any unit."""
    clicked: Bools
    """`[n]` the impression that was won in the log brought a click, or another gain."""
    codes: dict[str, Ints]
    """Name of a feature (channel, segment, ...) to `[n]` indices into its words."""
    words: dict[str, tuple[str, ...]]
    """Name of a feature to its words."""
    won: Bools | None = None
    """`[n]` won in the log; whether the others would be clicked is not known. None: all."""
    bid: Floats | None = None
    """`[n]` our bid in the log; needed where the price is not known."""
    warnings: tuple[str, ...] = ()
    """What went wrong when the log was read."""
    gain: Floats | None = None
    """`[n]` what the impression that was won in the log brought: a click, conversions or their
    value. None: 1 for a click."""
    gain_time: Ints | None = None
    """`[n]` when that was known, on the clock of `time`; None: at once."""
    past: Floats | None = None
    """`[n, 3]` what the log knows of the user, see `user_past`; None: it is not observed."""
    worth: Floats | None = None
    """`[n]` expected gain of an impression given its user's past, by a model of the training days.
    None: the click model of the request's own fields."""

    def __len__(self) -> int:
        return len(self.time)

    def take(self, rows: Ints | slice | Bools) -> AuctionLog:
        """Some of the auctions."""
        of_rows: dict[str, Any] = {
            name: None if (values := getattr(self, name)) is None else values[rows]
            for name in (
                *("time", "user", "price", "clicked"),
                *("won", "bid", "gain", "gain_time", "past", "worth"),
            )
        }
        codes = {name: code[rows] for name, code in self.codes.items()}
        return dataclasses.replace(self, codes=codes, **of_rows)

    @property
    def shown(self) -> Bools:
        """`[n]`: whether it is known if the impression was clicked."""
        return np.ones(len(self), np.bool_) if self.won is None else self.won

    @property
    def censored(self) -> Bools:
        """`[n]`: the price is not known, only on which side of our bid it was."""
        return np.isnan(self.price)

    def with_prices(self, model: PriceModel) -> AuctionLog:
        """The log with unknown prices from a model."""
        bid = np.full(len(self), np.nan) if self.bid is None else self.bid
        return dataclasses.replace(self, price=model.fill(self.price, bid, self.shown))

    @property
    def gains(self) -> Floats:
        """`[n]` what the impressions brought."""
        return self.clicked.astype(np.float64) if self.gain is None else self.gain

    @property
    def hour(self) -> Ints:
        """`[n]` hour of the day."""
        return self.time // _HOUR % 24

    @property
    def days(self) -> Ints:
        """The days on which there are auctions; days since 1970, in order."""
        return np.unique(self.time // _DAY)

    def split(self, held_out_days: int | None = None) -> tuple[AuctionLog, AuctionLog]:
        """The training days, and the last days, which are held out.

        A last day with less than half of a usual day's requests, because the log ends within it, is
        held out besides and not counted. Of a log of one day the last quarter of the auctions is
        held out.

        Args:
            held_out_days: how many; None: a quarter of the days, at least one.

        Raises:
            ValueError: nothing would be left to train on.
        """
        days = self.days
        if len(self) < 2:
            raise ValueError(
                f"the log has {len(self)} auction; give one to train on and one to hold out"
            )
        if len(days) == 1 and held_out_days is None:
            early = np.arange(len(self)) < len(self) - max(1, len(self) // 4)
            return self.take(early), self.take(~early)
        held = max(1, len(days) // 4) if held_out_days is None else held_out_days
        check_whole("held_out_days", held, 1)
        if held >= len(days):
            raise ValueError(
                f"held_out_days is {held} of {len(days)} days in the log; leave at least one to "
                "train on"
            )
        counts = np.unique(self.time // _DAY, return_counts=True)[1]
        if counts[-1] < 0.5 * np.median(counts) and held + 1 < len(days):
            held += 1
        early = self.time // _DAY < days[-held]
        return self.take(early), self.take(~early)

    @property
    def features(self) -> dict[str, Ints]:
        """What a click is predicted from: the codes and the hour."""
        return {**self.codes, "hour": self.hour}

"""What the simulator remembers of each user: a struct of arrays.

- `UserState`: one row per slot; a slot holds one user, and after their journey perhaps another.
- `Served`: the requests of one step and how their auctions went.
- `Outcome`: what became of them, as policies learn it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.simulator.campaign import Groups

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NEVER = np.iinfo(np.int64).max


class UserState:
    """The arrays, each `[rows]`; all campaigns of a simulator lie one after the other.

    Args:
        rows: campaigns times slots.
    """

    def __init__(self, rows: int) -> None:
        self.number = np.zeros(rows, np.int64)
        """Number of the user within their campaign, in order of arrival."""
        self.segment = np.zeros(rows, np.int64)
        self.device = np.zeros(rows, np.int64)
        self.stage = np.zeros(rows, np.int64)
        """Hidden: for oracles and analysis, never for a policy that is to be judged."""
        self.request = np.zeros(rows, np.int64)
        """Index of the user's next request."""
        self.next_tick = np.full(rows, NEVER)
        """When it comes; NEVER: not at all."""
        self.channel = np.zeros(rows, np.int64)
        """On which channel."""
        self.ended = np.ones(rows, np.bool_)
        """The journey is over and everything it brought has been paid out."""
        self.conversion_hour = np.full(rows, np.inf)
        """When a conversion that has been caused will happen."""
        self.survival = np.ones(rows)
        """Probability that the user is still there, if the reward lets no one leave; else 1."""
        self.reward = np.zeros(rows)
        """What they brought since it was last asked."""
        self.advanced = np.zeros(rows)
        """What their impressions were paid in advance, see `AuctionConfig.reward`."""
        # What the bidder saw of the last request.
        self.clicked = np.zeros(rows, np.bool_)
        self.visited = np.zeros(rows, np.bool_)
        self.last_profit = np.zeros(rows)
        # How the impressions before wear out the next, see `users.Creatives`.
        self.exposure = np.zeros(rows)
        """At the hour of the last impression."""
        self.shown_hour = np.zeros(rows)
        """Of the last impression."""
        self.shown_creative = np.full(rows, -1)
        """Of the last impression; -1: none yet."""
        self.repeats = np.zeros(rows, np.int64)
        """Impressions of that creative in a row."""

    @property
    def bytes_per_user(self) -> int:
        """Memory of one row."""
        return sum(array.itemsize for array in vars(self).values())

    def clear(self, rows: np.ndarray | slice) -> None:
        """Forgets the users of these rows before others take their place."""
        self.survival[rows] = 1.0
        for name in (
            "request",
            "reward",
            "advanced",
            "last_profit",
            "exposure",
            "shown_hour",
            "repeats",
        ):
            getattr(self, name)[rows] = 0
        for name in ("ended", "clicked", "visited"):
            getattr(self, name)[rows] = False
        self.conversion_hour[rows] = np.inf
        self.shown_creative[rows] = -1


class Served(NamedTuple):
    """Requests that have been auctioned, each `[n]`, those of a campaign next to each other."""

    rows: Ints
    campaign: Ints
    groups: Groups
    hour: Floats
    request: Ints
    stage: Ints
    channel: Ints
    creative: Ints
    bid: Floats
    market_price: Floats
    won: Bools
    paid: Floats


class Outcome(NamedTuple):
    """What became of `n` requests, each `[n]`."""

    won: Bools
    paid: Floats
    clicked: Bools
    visited: Bools
    converted: Bools
    """Includes conversions that will happen later; the ledger counts them when they do."""
    churned: Bools
    conversion_probability: Floats
    """Given the hidden stage; for rewards and calibration, never for an observation."""
    departure_probability: Floats
    """Also that the journey ends with the request, by conversion or churn."""
    survival: Floats
    """How much the request counts: the probability that its user is still there, if no one leaves
    (see `AuctionConfig.reward`); else 1."""

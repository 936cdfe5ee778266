"""Bidders without memory and without secrets.

- `RandomBids`: any bid level, each as likely.
- `SignalBids`: a bid for what one observation tells, or a part of it.

The best bids for `SignalBids` come from `oracles`, which knows the world.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.simulator.state import Outcome
from rllib_seq.envs.ad_auction.simulator.step import AuctionSimulator

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class RandomBids:
    """Uniform over the bid levels of the preset, no bid included."""

    name = "random"

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)

    def start(self, simulator: AuctionSimulator) -> None:
        """See `BidPolicy.start`."""
        self._levels = simulator.preset.bid_levels

    def bids(self, users: Ints) -> Floats:
        """See `BidPolicy.bids`."""
        return self._rng.choice(self._levels, len(users))

    def update(self, users: Ints, outcome: Outcome) -> None:
        """Learns nothing."""


class SignalBids:
    """Bids by what one observation tells: channel, click, visit, and whether the last was won.

    Args:
        name: in tables.
        table: `[2, 2, 2, C]` bids by won, clicked, visited, channel, in currency units.
    """

    def __init__(self, name: str, table: Floats) -> None:
        self.name = name
        self.table = table

    def start(self, simulator: AuctionSimulator) -> None:
        """See `BidPolicy.start`."""
        self._simulator = simulator

    def bids(self, users: Ints) -> Floats:
        """See `BidPolicy.bids`."""
        observation = self._simulator.observe(users)
        num_channels = self.table.shape[3]
        channel = observation[:, :num_channels].argmax(axis=1)
        clicked, visited = observation[:, num_channels : num_channels + 2].T.astype(np.int64)
        won = (observation[:, num_channels + 2] < 0).astype(np.int64)
        return self.table[won, clicked, visited, channel]

    def update(self, users: Ints, outcome: Outcome) -> None:
        """Learns nothing."""

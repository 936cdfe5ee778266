"""Bidders without memory and without secrets.

- `RandomBids`: any bid level, each as likely.
- `FixedBids`: one bid per channel, whatever the user did.
- `SignalBids`: a bid per channel, click and visit: all that one observation tells.

The best bids for `FixedBids` and `SignalBids` come from `oracles`, which knows the world.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from envs.ad_auction.simulator import AuctionSimulator, Outcome

__all__ = ["FixedBids", "RandomBids", "SignalBids"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class RandomBids:
    """Uniform over the bid levels of the preset, no bid included."""

    name = "random"

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def start(self, simulator: AuctionSimulator) -> None:
        """See `BidPolicy.start`."""
        self._levels = simulator.preset.bid_levels
        self._rng = np.random.default_rng(self._seed)

    def bids(self, users: Ints) -> Floats:
        """See `BidPolicy.bids`."""
        return self._rng.choice(self._levels, len(users))

    def update(self, users: Ints, outcome: Outcome) -> None:
        """Learns nothing."""


class SignalBids:
    """Bids by the current channel and the last click and visit of the user.

    Args:
        table: `[2, 2, C]` bids by clicked, visited, channel, in currency units.
    """

    name = "memoryless"

    def __init__(self, table: Floats) -> None:
        self.table = table

    def start(self, simulator: AuctionSimulator) -> None:
        """See `BidPolicy.start`."""
        self._simulator = simulator

    def bids(self, users: Ints) -> Floats:
        """See `BidPolicy.bids`."""
        observation = self._simulator.observe(users)
        num_channels = self.table.shape[2]
        channel = observation[:, :num_channels].argmax(axis=1)
        clicked, visited = observation[:, num_channels : num_channels + 2].T.astype(np.int64)
        return self.table[clicked, visited, channel]

    def update(self, users: Ints, outcome: Outcome) -> None:
        """Learns nothing."""


class FixedBids(SignalBids):
    """One bid per channel.

    Args:
        bids: `[C]`, in currency units.
    """

    name = "fixed"

    def __init__(self, bids: Floats) -> None:
        super().__init__(np.broadcast_to(bids, (2, 2, len(bids))))

"""A campaign under a bidding policy.

- `BidPolicy`: the policy
- `play`: plays one campaign
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.draws import Seed
from rllib_seq.envs.ad_auction.simulator.campaign import Ledger
from rllib_seq.envs.ad_auction.simulator.state import Outcome
from rllib_seq.envs.ad_auction.simulator.step import AuctionSimulator

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class BidPolicy(Protocol):
    """A bidding policy as `play` asks it."""

    name: str

    def start(self, simulator: AuctionSimulator) -> None:
        """A new campaign begins."""

    def bids(self, users: Ints) -> Floats:
        """`[n]` bids in currency units for the first n of these users, whose requests are due."""

    def update(self, users: Ints, outcome: Outcome) -> None:
        """What became of them."""


def play(simulator: AuctionSimulator, policy: BidPolicy, seed: Seed) -> Ledger:
    """Plays one campaign to its end and returns its ledger."""
    simulator.reset(seed)
    policy.start(simulator)
    while not simulator.done:
        bids = policy.bids(who := simulator.pending)
        policy.update(who[: len(bids)], simulator.step(bids))
    return simulator.ledger

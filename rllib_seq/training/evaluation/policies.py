"""The policies of checkpoints as bidders in the simulator.

- `TrainedBids`: bids greedily, exactly as RLlib's workers do without exploration
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rllib_seq.config import AuxiliaryHead
from rllib_seq.envs.ad_auction.simulator.state import Outcome
from rllib_seq.envs.ad_auction.simulator.step import AuctionSimulator
from rllib_seq.errors import UserError
from rllib_seq.training.acting.actor import Actor, PolicyActor
from rllib_seq.training.acting.loading import load_policy

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class TrainedBids:
    """A trained policy as a bidder, see `BidPolicy`.

    Args:
        actor: for the observations and bid levels of the ad auction.
        one_stream: the whole campaign is one stream, and requests are served one by one, as in
            `AdAuction-v0`; else every user is a stream of their own.
    """

    name = "trained"

    def __init__(self, actor: Actor, one_stream: bool = False) -> None:
        self._actor = actor
        self.one_stream = one_stream

    @classmethod
    def from_checkpoint(cls, checkpoint: Path, one_stream: bool = False) -> TrainedBids:
        """Loads the only policy of a checkpoint.

        Args:
            checkpoint: a checkpoint folder, of either API stack.
            one_stream: see the class.

        Raises:
            UserError: it cannot be read, or it holds several policies.
        """
        return cls(PolicyActor(load_policy(checkpoint)), one_stream)

    def start(self, simulator: AuctionSimulator) -> None:
        """See `BidPolicy.start`.

        Raises:
            UserError: the policy was trained on other spaces.
        """
        levels, space = simulator.preset.bid_levels, simulator.observation_space
        trained_on = (self._actor.observation_space.shape, self._actor.action_space)
        wanted: tuple[Any, Any] = (space.shape, gym.spaces.Discrete(len(levels)))
        if trained_on != wanted:
            raise UserError(
                f"the checkpoint was trained on observations {trained_on[0]} and actions "
                f"{trained_on[1]}; this preset has {wanted[0]} and {wanted[1]}"
            )
        self._simulator, self._levels = simulator, levels
        self._actor.start(1 if self.one_stream else simulator.num_users)

    def bids(self, users: Ints) -> Floats:
        """See `BidPolicy.bids`; if the campaign is one stream, for the first user alone."""
        simulator, streams = self._simulator, users
        if self.one_stream:
            users, streams = users[:1], np.zeros(1, np.int64)
            rewards = simulator.take_rewards(np.arange(simulator.num_users)).sum(keepdims=True)
        else:
            rewards = simulator.take_rewards(users)
        return self._levels[self._actor.act(streams, simulator.observe(users), rewards)]

    def update(self, users: Ints, outcome: Outcome) -> None:
        """The next observation tells."""

    @property
    def heads(self) -> Mapping[str, AuxiliaryHead]:
        """The auxiliary heads of the policy, by name of the event."""
        return self._actor.heads

    def forecasts(self) -> dict[str, Floats]:
        """What the heads say of the last `bids`: probabilities, `[n]`, by name of the event."""
        return self._actor.forecasts()

    def fork(self, simulator: AuctionSimulator) -> TrainedBids:
        """A copy that remembers the same of every user, to go on in a copy of the simulator."""
        other = copy.copy(self)
        other._simulator, other._actor = simulator, self._actor.fork()
        return other

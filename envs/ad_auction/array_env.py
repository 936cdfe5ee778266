"""The ad auction as arrays: all users of E campaigns, see `envs.array_env.ArrayEnv`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.gym_env import campaign_seed
from rllib_seq.envs.ad_auction.simulator.infos import journey_infos
from rllib_seq.envs.ad_auction.simulator.state import Outcome
from rllib_seq.envs.ad_auction.simulator.step import AuctionSimulator
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig

Array = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class AuctionArrays:
    """E campaigns side by side; every user of a campaign is a stream.

    Args:
        config: world of every campaign.
        num_episodes: E.
        seed: of the campaigns.

    Raises:
        ValueError: users share rows (`slots`).
    """

    rewards_at_once = False

    def __init__(self, config: AuctionConfig, num_episodes: int, seed: int | None) -> None:
        if config.slots is not None:
            raise ValueError(
                f"slots is {config.slots}, but array rollouts give every user a row; remove slots "
                "from the env config"
            )
        self.simulator = AuctionSimulator(config, num_episodes)
        self.num_episodes, self.slots = num_episodes, self.simulator.slots
        self.truncated = np.zeros(num_episodes * self.slots, np.bool_)
        self._actions = config.build_actions(self.simulator.preset)
        self._rng = np.random.default_rng(seed)

    @property
    def pending(self) -> Ints:
        """See `ArrayEnv`."""
        return self.simulator.pending

    @property
    def ended(self) -> Bools:
        """See `ArrayEnv`."""
        return self.simulator.ended

    @property
    def over(self) -> Bools:
        """See `ArrayEnv`."""
        return self.simulator.over

    def observe(self, rows: Ints) -> Array:
        """See `ArrayEnv`."""
        return self.simulator.observe(rows)

    def take_rewards(self, rows: Ints) -> Floats:
        """See `ArrayEnv`."""
        return self.simulator.take_rewards(rows)

    def serve(self, rows: Ints, actions: Array) -> dict[str, Array]:
        """See `ArrayEnv`; the events are those of `journey_infos`."""
        outcome = self.step(rows, actions)
        infos = {"present": outcome.survival, "survival": np.ones(len(rows))}
        return infos | journey_infos(outcome, self.simulator.config)

    def step(self, rows: Ints, actions: Array) -> Outcome:
        """Bid on the requests of the rows of `pending`."""
        bids, creatives = self._actions.decode(actions, self.simulator.state.segment[rows])
        return self.simulator.step(bids, creatives, rows)

    def begin(self, episodes: Ints) -> None:
        """See `ArrayEnv`; every campaign has a fresh seed."""
        self.simulator.reset([campaign_seed(self._rng) for _ in episodes], episodes)

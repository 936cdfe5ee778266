"""Advertisers against each other in ONE market, as an RLlib environment.

- `SharedMarketEnv`: agents are advertisers; `"shared_market_auction"` in RLlib.

The world is `uniform`: values are independent and uniform on [0, 1], so the equilibria are known:
in first price everybody bids (n - 1) / n of their value, in second price the value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from rllib_seq.envs.ad_auction.self_play_arrays import FIELDS, SelfPlayConfig, SharedMarketArrays

__all__ = ["FIELDS", "SelfPlayConfig", "SharedMarketEnv"]


class SharedMarketEnv(MultiAgentEnv):
    """One request per step; every advertiser bids on it, and no one sees another's bid.

    Observation: float32 `[4]` in [0, 1], see `FIELDS`. Action: float32 `[1]` in [0, 1], the share
    of the value that is bid; what an advertiser could not pay in full they do not bid. Reward:
    value minus price for the winner, 0 for the others. All terminate together.

    Args:
        config: keys of `SelfPlayConfig`; RLlib's env config.

    Examples:
        >>> env = SharedMarketEnv({"num_advertisers": 2})
        >>> observations, infos = env.reset(seed=1)
        >>> truth = {agent: np.ones(1, np.float32) for agent in observations}
        >>> env.step(truth)[1]  # first price: the truth earns nothing
        {'advertiser_0': 0.0, 'advertiser_1': 0.0}
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.config = SelfPlayConfig.from_dict(dict(config or {}))
        self._market = SharedMarketArrays(self.config, 1, None)
        self.possible_agents = [f"advertiser_{i}" for i in range(self.config.num_advertisers)]
        self.agents = list(self.possible_agents)
        space = gym.spaces.Box(0.0, 1.0, (len(FIELDS),), np.float32)
        action = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
        self.observation_spaces = dict.fromkeys(self.possible_agents, space)
        self.action_spaces = dict.fromkeys(self.possible_agents, action)

    @property
    def values(self) -> NDArray[np.float64]:
        """`[requests, n]`, of the episode: for analysis, an advertiser sees their own alone."""
        return self._market.values[0]

    @property
    def spent(self) -> NDArray[np.float64]:
        """`[n]`, in the episode so far."""
        return self._market.spent[0]

    def array_env(self, num_episodes: int, seed: int | None) -> SharedMarketArrays:
        """The same markets as arrays, `num_episodes` side by side."""
        return SharedMarketArrays(self.config, num_episodes, seed)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts an episode; as in Gymnasium, a seed also fixes the episodes that follow."""
        if seed is not None:
            self._market.generators[0] = seeding.np_random(seed)[0]
        self._market.begin(np.array([0]))
        self.agents = list(self.possible_agents)
        return self._observe(), {}

    def step(
        self, action_dict: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """Sells one request.

        Raises:
            ValueError: if there is not one action in the space for each advertiser.
        """
        if action_dict.keys() != set(self.agents):
            odd = sorted(action_dict.keys() ^ set(self.agents))
            raise ValueError(f"actions must be those of {self.agents}; missing or too many: {odd}")
        market = self._market
        rows = market.pending
        share = [np.asarray(action_dict[agent]).item() for agent in self.agents]
        market.serve(rows, np.array(share))
        done = bool(market.over[0])
        ends = dict.fromkeys(self.agents, done) | {"__all__": done}
        rewards = dict(zip(self.agents, market.take_rewards(rows).tolist(), strict=True))
        if done:
            self.agents = []
        return self._observe(), rewards, ends, {"__all__": False}, {}

    def _observe(self) -> dict[str, Any]:
        rows = self._market.observe(np.arange(len(self.possible_agents)))
        return dict(zip(self.possible_agents, rows, strict=True))

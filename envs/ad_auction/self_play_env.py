"""Advertisers against each other in ONE market, as an RLlib environment.

- `SelfPlayConfig`: how many, which auction, which budgets.
- `SharedMarketEnv`: agents are advertisers; `"shared_market_auction"` in RLlib.

The world is `uniform`: values are independent and uniform on [0, 1], so the equilibria are known:
in first price everybody bids (n - 1) / n of their value, in second price the value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from rllib_seq.envs.ad_auction.checks import check_above_zero, check_choice, check_keys, check_whole
from rllib_seq.envs.ad_auction.market.auctions import AUCTIONS, minimum_to_win, sell

__all__ = ["FIELDS", "SelfPlayConfig", "SharedMarketEnv"]

FIELDS = (
    ("value", "what the coming request is worth to the advertiser"),
    ("budget_left", "share of their budget that is left; 1 without a budget"),
    ("requests_left", "share of the episode's requests that is left, the coming one included"),
    ("to_win", "the minimum to win that they were answered after the last request; 0 at first"),
)
"""Name and meaning of the components of an observation, in order; all lie in [0, 1]."""


@dataclass(frozen=True)
class SelfPlayConfig:
    """The keys of the env config."""

    num_advertisers: int = 3
    auction: str = "first_price"
    """A key of `market.AUCTIONS`."""
    requests: int = 50
    """Of one episode."""
    budget: float | None = None
    """Hard limit on the spend of each advertiser in an episode; None: no limit."""

    def __post_init__(self) -> None:
        """Raises ValueError with one line that names the value and the fix."""
        check_whole("num_advertisers", self.num_advertisers, 2)
        check_whole("requests", self.requests, 1)
        check_choice("auction", self.auction, AUCTIONS)
        if self.budget is not None:
            check_above_zero("budget", self.budget)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> SelfPlayConfig:
        """Builds the config from an env config.

        Raises:
            ValueError: on an unknown key or a bad value.
        """
        check_keys(config, [field.name for field in dataclasses.fields(cls)])
        return cls(**config)


class SharedMarketEnv(MultiAgentEnv):
    """One request per step; every advertiser bids on it, and no one sees another's bid.

    Observation: float32 `[4]` in [0, 1], see `FIELDS`. Action: float32 `[1]` in [0, 1], the share
    of the value that is bid; what an advertiser could not pay in full they do not bid. Reward:
    value minus price for the winner, 0 for the others. All terminate together.

    Args:
        config: keys of `SelfPlayConfig`; RLlib's env config.

    Example:
        >>> env = SharedMarketEnv({"num_advertisers": 2})
        >>> observations, infos = env.reset(seed=1)
        >>> truth = {agent: np.ones(1, np.float32) for agent in observations}
        >>> env.step(truth)[1]  # first price: the truth earns nothing
        {'advertiser_0': 0.0, 'advertiser_1': 0.0}
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.config = SelfPlayConfig.from_dict(dict(config or {}))
        self.possible_agents = [f"advertiser_{i}" for i in range(self.config.num_advertisers)]
        self.agents = list(self.possible_agents)
        space = gym.spaces.Box(0.0, 1.0, (len(FIELDS),), np.float32)
        action = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
        self.observation_spaces = dict.fromkeys(self.possible_agents, space)
        self.action_spaces = dict.fromkeys(self.possible_agents, action)
        self._auction = AUCTIONS[self.config.auction]
        self._rng, _ = seeding.np_random()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts an episode; as in Gymnasium, a seed also fixes the episodes that follow."""
        if seed is not None:
            self._rng, _ = seeding.np_random(seed)
        config = self.config
        self.agents = list(self.possible_agents)
        self.values = self._rng.random((config.requests, config.num_advertisers))
        """`[requests, n]`, of the episode: for analysis, an advertiser sees their own alone."""
        self.spent = np.zeros(config.num_advertisers)
        """`[n]`, in the episode so far."""
        self._request = 0
        self._to_win = np.zeros(config.num_advertisers)
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
        share = np.array([np.asarray(action_dict[agent]).item() for agent in self.agents])
        if not ((share >= 0) & (share <= 1)).all():
            raise ValueError(f"give shares of the value from 0 to 1, not {dict(action_dict)}")
        values = self.values[self._request]
        bids = np.asarray(share, np.float64) * values
        if self.config.budget is not None:
            bids = np.where(bids <= self.config.budget - self.spent, bids, 0.0)
        (winner,), (paid,) = sell(self._auction, bids[None], 0.0)
        rewards = np.zeros(len(values))
        if winner >= 0:
            rewards[winner] = values[winner] - paid
            self.spent[winner] += paid
        self._to_win = minimum_to_win(bids[None], np.array([winner]), np.array([paid]), 0.0)[0]
        self._request += 1

        done = self._request == self.config.requests
        ends = dict.fromkeys(self.agents, done) | {"__all__": done}
        named = dict(zip(self.agents, rewards.tolist(), strict=True))
        observations = self._observe()
        if done:
            self.agents = []
        return observations, named, ends, {"__all__": False}, {}

    def _observe(self) -> dict[str, Any]:
        config = self.config
        # After the last request the last value stands in: no one acts on it.
        request = min(self._request, config.requests - 1)
        rows = np.ones((config.num_advertisers, len(FIELDS)), np.float32)
        rows[:, 0] = self.values[request]
        if config.budget is not None:
            rows[:, 1] = np.clip(1.0 - self.spent / config.budget, 0.0, 1.0)
        rows[:, 2] = 1.0 - self._request / config.requests
        rows[:, 3] = self._to_win
        return dict(zip(self.possible_agents, rows, strict=True))

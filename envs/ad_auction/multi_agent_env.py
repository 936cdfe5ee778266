"""The RLlib adapter: one campaign, every user an agent, and only those with a request act."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from rllib_seq.envs.ad_auction.array_env import AuctionArrays
from rllib_seq.envs.ad_auction.gym_env import campaign_seed
from rllib_seq.envs.ad_auction.simulator.infos import journey_infos
from rllib_seq.envs.ad_auction.simulator.step import AuctionSimulator
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig


class MultiUserAdAuctionEnv(MultiAgentEnv):
    """Bids on all requests of a tick at once; agent `user_3` is the journey of the fourth user.

    Spaces per agent as in `AdAuctionEnv`. A user's reward for a bid comes with their next
    observation: their next request, or the end of their journey (conversion, churn, no requests),
    when they terminate. The campaign ends with its last user.

    Infos come with the observations and say what a user's last request brought, see
    `infos.journey_infos`. They may be learned from (auxiliary heads) and must not be observed.

    Args:
        config: keys of `AuctionConfig`; RLlib's env config.

    Examples:
        >>> env = MultiUserAdAuctionEnv({"num_users": 8})
        >>> observations, infos = env.reset(seed=1)
        >>> sorted(observations)
        ['user_0']
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.simulator = AuctionSimulator(AuctionConfig.from_dict(dict(config or {})))
        config_read = self.simulator.config
        if config_read.num_slots != config_read.num_users:
            raise ValueError(
                f"slots is {config_read.slots}; every user is an agent here and needs one: leave "
                "slots out"
            )
        self.actions = config_read.build_actions(self.simulator.preset)
        self.possible_agents = [f"user_{i}" for i in range(self.simulator.num_users)]
        self.agents: list[str] = []
        space = self.simulator.observation_space
        self.observation_spaces = dict.fromkeys(self.possible_agents, space)
        self.action_spaces = dict.fromkeys(self.possible_agents, self.actions.space)
        self._rng, _ = seeding.np_random()

    def array_env(self, num_episodes: int, seed: int | None) -> AuctionArrays:
        """The same world as arrays, `num_episodes` campaigns side by side."""
        return AuctionArrays(self.simulator.config, num_episodes, seed)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts a campaign; as in Gymnasium, a seed also fixes the campaigns that follow."""
        if seed is not None:
            self._rng, _ = seeding.np_random(seed)
        self.simulator.reset(campaign_seed(self._rng))
        self._alive = ~self.simulator.ended
        self._acted = np.zeros(self.simulator.num_users, np.bool_)
        self._brought: dict[str, np.ndarray] = {}
        self.agents = [self.possible_agents[u] for u in np.flatnonzero(self._alive)]
        return self._observe(self.simulator.pending), {}

    def step(
        self, action_dict: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """Bids on the pending requests.

        Raises:
            ValueError: if the actions are not in the space, one for each user who has a request.
        """
        simulator = self.simulator
        names = [self.possible_agents[u] for u in simulator.pending]
        if action_dict.keys() != set(names):
            odd = sorted(action_dict.keys() ^ set(names))
            raise ValueError(f"actions must be those of {names}; missing or too many: {odd}")
        actions = np.array([action_dict[name] for name in names])
        who = simulator.pending
        self._acted[who] = True
        outcome = simulator.step(*self.actions.decode(actions, simulator.state.segment[who]))
        self._note(who, journey_infos(outcome, simulator.config))

        over = simulator.ended & self._alive
        ended = np.flatnonzero(over)
        if not simulator.done and not (self._acted & self._alive & ~over).any():
            # Once all agents that it has met are done, RLlib takes the episode for done: one of
            # them waits for the users who come next.
            ended = ended[:-1]
        self._alive[ended] = False
        if len(ended):
            self.agents = [self.possible_agents[u] for u in np.flatnonzero(self._alive)]
        shown = np.concatenate([simulator.pending, ended])
        observations = self._observe(shown)
        rewards = dict(zip(observations, simulator.take_rewards(shown).tolist(), strict=True))
        terminateds = {self.possible_agents[u]: True for u in ended}
        terminateds["__all__"] = simulator.done
        rows = zip(*(brought[shown].tolist() for brought in self._brought.values()), strict=True)
        infos = {
            agent: dict(zip(self._brought, row, strict=True))
            for agent, row in zip(observations, rows, strict=True)
        }
        return observations, rewards, terminateds, {"__all__": False}, infos

    def _note(self, who: np.ndarray, brought: dict[str, np.ndarray]) -> None:
        """Keeps the infos of requests until their users are observed again."""
        for name, rows in brought.items():
            if name not in self._brought:
                before = 1.0 if name == "survival" else 0.0
                self._brought[name] = np.full(len(self._alive), before, rows.dtype)
            self._brought[name][who] = rows

    def _observe(self, users: np.ndarray) -> dict[str, Any]:
        rows = self.simulator.observe(users)
        return {self.possible_agents[u]: row for u, row in zip(users, rows, strict=True)}

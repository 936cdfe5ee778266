"""The RLlib face of a replayed log in which every user of an episode is an agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from envs.ad_auction.auction_log import ReplayWorld
from envs.ad_auction.replay import LEVELS, Replay, observation_space
from envs.ad_auction.replay_env import replay_info, training_episode

__all__ = ["AuctionLogUsersEnv"]

_FIRST = np.zeros(1, np.int64)


class AuctionLogUsersEnv(MultiAgentEnv):
    """Bids as `replay_env.AuctionLogEnv` does, with a stream for each user (`stream="user"`).

    Agent `user_3` is the fourth of an episode's users. One agent acts per step; his reward comes
    with his next observation, or with the end of his stream in this episode. Budget and requests
    are those of the whole campaign.

    Args:
        world: the log and how it is replayed.
    """

    def __init__(self, world: ReplayWorld) -> None:
        super().__init__()
        self.replay = Replay(world, world.train)
        self.possible_agents = [f"user_{i}" for i in range(world.episode_requests)]
        self.agents: list[str] = []
        self.observation_spaces = dict.fromkeys(self.possible_agents, observation_space(world))
        space = gym.spaces.Discrete(len(LEVELS))
        self.action_spaces = dict.fromkeys(self.possible_agents, space)
        self._rng, _ = seeding.np_random()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts an episode; as in Gymnasium, a seed also fixes those that follow."""
        if seed is not None:
            self._rng, _ = seeding.np_random(seed)
        self.replay.reset([training_episode(self.replay.world, self._rng)])
        self._rewards: dict[str, float] = {}
        self._infos: dict[str, dict[str, float]] = {}
        self._ended: set[str] = set()  # their streams are through, and nobody was told yet
        self.agents = self.possible_agents[: self.replay.num_streams]
        return {self._agent(): self.replay.observe(_FIRST)[0]}, {}

    def step(
        self, action_dict: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """Bids on the current request.

        Raises:
            ValueError: if the action is not that of the user who has a request, in his space.
        """
        replay, agent = self.replay, self._agent()
        action = action_dict.get(agent)
        if len(action_dict) != 1 or not self.action_spaces[agent].contains(action):
            raise ValueError(f"actions are {dict(action_dict)}; give one for {agent!r} alone")
        ends = bool(replay.ends_stream(_FIRST)[0])
        outcome = replay.step(LEVELS[int(action)] * replay.linear_bids(_FIRST))
        self._rewards[agent] = float(outcome.reward[0])
        self._infos[agent] = replay_info(outcome)
        if ends:
            self._ended.add(agent)
        told = self._told()
        # A user who acts again gets what his last request brought; the others have waited for it.
        seen = replay.observe(_FIRST)[0]
        observations = dict.fromkeys(told, seen)
        if not replay.done:
            observations[self._agent()] = seen
        rewards = {name: self._rewards.pop(name, 0.0) for name in observations}
        infos = {name: self._infos.pop(name, {}) for name in observations}
        terminateds = {**dict.fromkeys(told, True), "__all__": replay.done}
        return observations, rewards, terminateds, {"__all__": False}, infos

    def _told(self) -> list[str]:
        """Those who learn now that they are through.

        Once all agents that it has met are done, RLlib takes the episode for done: one of them
        waits for those who come next.
        """
        told = sorted(self._ended)
        others = self._rewards.keys() - self._ended
        if not self.replay.done and not others:
            told = told[:-1]
        self._ended -= set(told)
        self.agents = [name for name in self.agents if name not in told]
        return told

    def _agent(self) -> str:
        return self.possible_agents[int(self.replay.stream(_FIRST)[0])]

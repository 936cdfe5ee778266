"""The RLlib adapter of a replayed log in which every user of an episode is an agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from rllib_seq.envs.ad_auction.log_replay.gym_env import replay_info, training_episode
from rllib_seq.envs.ad_auction.log_replay.replay import LEVELS, Replay, observation_space
from rllib_seq.envs.ad_auction.log_replay.world import ReplayWorld


class AuctionLogUsersEnv(MultiAgentEnv):
    """Bids as `replay_env.AuctionLogEnv` does, with a stream for each user (`stream="user"`).

    Agent `user_3` is the fourth of an episode's users. One agent acts per step; their reward comes
    with their next observation, or with the end of their stream in this episode. Money and requests
    are those of the whole campaign.

    Args:
        world: the log and how it is replayed.
    """

    def __init__(self, world: ReplayWorld) -> None:
        super().__init__()
        self.replay = Replay(world, world.train, 1)
        self.possible_agents = [f"user_{i}" for i in range(world.episode_requests)]
        self.agents: list[str] = []
        self.observation_spaces = dict.fromkeys(self.possible_agents, observation_space(world))
        space: gym.Space[Any] = gym.spaces.Discrete(len(LEVELS))
        self.action_spaces = dict.fromkeys(self.possible_agents, space)
        self._rng, _ = seeding.np_random()

    def array_env(self, num_episodes: int, seed: int | None) -> Any:
        """The same log as arrays, `num_episodes` episodes side by side."""
        from rllib_seq.envs.ad_auction.log_replay.array_env import LogArrays

        return LogArrays(self.replay.world, num_episodes, seed)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts an episode; as in Gymnasium, a seed also fixes those that follow."""
        if seed is not None:
            self._rng, _ = seeding.np_random(seed)
        replay = self.replay
        episode, factor = training_episode(replay.world, self._rng)
        replay.reset([episode], budget_factor=factor)
        self._met = np.zeros(
            replay.slots, np.bool_
        )  # acted, and was not yet reported that they are done
        self._infos: dict[str, dict[str, float]] = {}
        self.agents = [self.possible_agents[row] for row in np.flatnonzero(~replay.ended)]
        return self._observe(replay.pending), {}

    def step(
        self, action_dict: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """Bids on the current request.

        Raises:
            ValueError: if the action is not that of the user who has a request, in their space.
        """
        replay, rows = self.replay, self.replay.pending
        agent = self.possible_agents[rows[0]]
        action = action_dict.get(agent)
        if len(action_dict) != 1 or not self.action_spaces[agent].contains(action):
            raise ValueError(f"actions are {dict(action_dict)}; give one for {agent!r} alone")
        outcome = replay.step(LEVELS[int(action)] * replay.linear_bids(rows))  # type: ignore[arg-type]
        self._infos[agent] = replay_info(outcome)
        self._met[rows] = True
        through = np.flatnonzero(self._met & replay.ended)
        if not replay.done and not (self._met & ~replay.ended).any():
            # Once all agents that it has met are done, RLlib takes the episode for done: one of
            # them waits for the users who come next.
            through = through[:-1]
        self._met[through] = False
        shown = np.concatenate([replay.pending, through])
        observations = self._observe(shown)
        rewards = dict(zip(observations, replay.take_rewards(shown).tolist(), strict=True))
        infos = {name: self._infos.pop(name, {}) for name in observations}
        terminateds = {self.possible_agents[row]: True for row in through}
        self.agents = [name for name in self.agents if name not in terminateds]
        terminateds["__all__"] = replay.done
        return observations, rewards, terminateds, {"__all__": False}, infos

    def _observe(self, rows: np.ndarray) -> dict[str, Any]:
        seen = self.replay.observe(rows)
        return {self.possible_agents[row]: obs for row, obs in zip(rows, seen, strict=True)}

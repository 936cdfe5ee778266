"""The Gymnasium adapter of a replayed log: one episode of the training days, a request per step."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.log_replay.replay import (
    LEVELS,
    Replay,
    ReplayOutcome,
    observation_space,
)
from rllib_seq.envs.ad_auction.log_replay.world import ReplayWorld

_FIRST = np.zeros(1, np.int64)


class AuctionLogEnv(gym.Env[NDArray[np.float32], np.int64]):
    """Bids on N requests in a row of a log's training days (`stream="campaign"`).

    Observation: float32 `[D]`, see `replay.fields`. Action: a multiplier of the linear bid, see
    `replay.LEVELS`; 0 is no bid. Reward: see `ReplayConfig.reward`. An episode begins anywhere in
    the training days, with half to twice the usual budget, and terminates after N requests. The
    held-out days cannot be reached from here.

    Args:
        world: the log and how it is replayed.

    Examples:
        >>> import gymnasium as gym, rllib_seq.envs.ad_auction
        >>> from rllib_seq.envs.ad_auction.log_replay.auction_log import AuctionLog
        >>> from rllib_seq.envs.ad_auction.log_replay.world import ReplayConfig
        >>> time, zeros = np.arange(400) * 3_600_000_000, np.zeros(400, np.int64)
        >>> log = AuctionLog(time, zeros, np.full(400, 2.0), zeros > 0, {}, {})
        >>> env = gym.make("AuctionLog-v0", world=ReplayWorld(log, ReplayConfig()))
        >>> observation, info = env.reset(seed=1)
        >>> observation.shape, int(env.action_space.n)
        ((13,), 10)
    """

    metadata = {"render_modes": []}

    def __init__(self, world: ReplayWorld, render_mode: str | None = None) -> None:
        self.render_mode = render_mode  # tools ask for one whether they draw or not
        self.replay = Replay(world, world.train, 1)
        self.observation_space = observation_space(world)
        self.action_space = gym.spaces.Discrete(len(LEVELS))

    def array_env(self, num_episodes: int, seed: int | None) -> Any:
        """The same log as arrays, `num_episodes` episodes side by side."""
        from rllib_seq.envs.ad_auction.log_replay.array_env import LogArrays

        return LogArrays(self.replay.world, num_episodes, seed)

    def render(self) -> None:
        """Raises ValueError: there is no picture of this environment."""
        raise ValueError(f"{type(self).__name__} draws nothing; leave render_mode out")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Starts an episode; see `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        episode, factor = training_episode(self.replay.world, self.np_random)
        self.replay.reset([episode], budget_factor=factor)
        return self.replay.observe(_FIRST)[0], {}

    def step(
        self, action: np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Bids on the current request.

        Raises:
            ValueError: if the action is not in the space.
        """
        if not self.action_space.contains(action):
            raise ValueError(f"action is {action!r}; give one in {self.action_space}")
        replay = self.replay
        outcome = replay.step(LEVELS[action] * replay.linear_bids(_FIRST))
        observation = replay.observe(_FIRST)[0]
        reward = float(replay.take_rewards(_FIRST)[0])
        return observation, reward, replay.done, False, replay_info(outcome)


def training_episode(world: ReplayWorld, rng: np.random.Generator) -> tuple[slice, float]:
    """N requests in a row, from anywhere in the training days, and a factor of their budget.

    Half to twice the usual budget: days with other prices lead into states that training with the
    same budget would never see.
    """
    start = int(rng.integers(len(world.train) - world.episode_requests + 1))
    return slice(start, start + world.episode_requests), float(2.0 ** rng.uniform(-1.0, 1.0))


def replay_info(outcome: ReplayOutcome) -> dict[str, float]:
    """What the request of a single episode brought: for looking and for auxiliary heads."""
    return {name: float(getattr(outcome, name)[0]) for name in ("won", "paid", "clicked")}

"""Episodes of a log's training days as arrays, see `envs.array_env.ArrayEnv`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.log_replay.gym_env import training_episode
from rllib_seq.envs.ad_auction.log_replay.replay import LEVELS, Replay
from rllib_seq.envs.ad_auction.log_replay.world import ReplayWorld

Array = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class LogArrays:
    """E episodes side by side; the streams are those of the replay.

    The first episode of each has any length up to the usual, so that a batch holds all stages of
    an episode.

    Args:
        world: the log and how it is replayed.
        num_episodes: E.
        seed: of where episodes begin.
    """

    rewards_at_once = False

    def __init__(self, world: ReplayWorld, num_episodes: int, seed: int | None) -> None:
        self.replay = Replay(world, world.train, num_episodes)
        self.num_episodes, self.slots = num_episodes, self.replay.slots
        self.truncated = np.zeros(num_episodes * self.slots, np.bool_)
        self._rng = np.random.default_rng(seed)
        self._started = False

    @property
    def pending(self) -> Ints:
        """See `ArrayEnv`."""
        return self.replay.pending

    @property
    def ended(self) -> Bools:
        """See `ArrayEnv`."""
        return self.replay.ended

    @property
    def over(self) -> Bools:
        """See `ArrayEnv`."""
        return self.replay.over

    def observe(self, rows: Ints) -> Array:
        """See `ArrayEnv`."""
        return self.replay.observe(rows)

    def take_rewards(self, rows: Ints) -> Floats:
        """See `ArrayEnv`."""
        return self.replay.take_rewards(rows)

    def serve(self, rows: Ints, actions: Array) -> dict[str, Array]:
        """See `ArrayEnv`."""
        outcome = self.replay.step(LEVELS[actions] * self.replay.linear_bids(rows))
        present = np.ones(len(rows))
        return {"present": present, "survival": present, **outcome._asdict()}

    def begin(self, episodes: Ints) -> None:
        """See `ArrayEnv`; an episode begins anywhere in the training days."""
        world, rng = self.replay.world, self._rng
        drawn = [training_episode(world, rng) for _ in episodes]
        lengths = np.full(len(drawn), world.episode_requests)
        if not self._started:
            lengths = 1 + rng.integers(world.episode_requests, size=len(drawn))
            self._started = True
        rows = [
            slice(episode.start, episode.start + length)
            for (episode, _), length in zip(drawn, lengths.tolist(), strict=True)
        ]
        self.replay.reset(rows, episodes, np.array([factor for _, factor in drawn]))

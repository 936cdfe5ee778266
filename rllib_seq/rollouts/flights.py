"""Flights of `AdCampaign-v0` side by side, as RLlib's old API stack plays them.

- `FlightsEnv`: a vector of flights that is stepped as arrays
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from ray.rllib.env.vector_env import VectorEnv

from rllib_seq.envs.ad_auction.tick.flights import TickFlights
from rllib_seq.envs.ad_auction.tick.worlds import TickConfig


class FlightsEnv(VectorEnv):
    """Flights in lockstep, see `TickFlights`; RLlib name `"campaign_flights"`.

    Args:
        config: keys of `TickConfig`, and `flights`: how many play side by side.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        settings = dict(config)
        flights = settings.pop("flights", 32)
        self._flights = TickFlights(TickConfig.from_dict(settings), flights)
        channels = len(self._flights.world.channels)
        super().__init__(
            gym.spaces.Box(0.0, 1.0, (self._flights.width,), np.float32),
            gym.spaces.Box(-1.0, 1.0, (channels,), np.float32),
            flights,
        )
        seed = getattr(config, "worker_index", 0)
        self._seeds = np.random.SeedSequence(seed)
        self._begun: np.ndarray | None = None

    def seed(self, seed: int | None = None) -> None:
        """All flights from now on follow from this seed."""
        self._seeds = np.random.SeedSequence(seed)
        self._begun = None

    def vector_reset(
        self, *, seeds: list[int] | None = None, options: Any = None
    ) -> tuple[list[Any], list[dict[str, Any]]]:
        """Starts all flights."""
        if seeds and seeds[0] is not None:
            self._seeds = np.random.SeedSequence(seeds[0])
        self._begun = self._flights.reset(self._seeds.spawn(self.num_envs))
        return list(self._begun), [{} for _ in range(self.num_envs)]

    def reset_at(
        self, index: int | None = None, *, seed: int | None = None, options: Any = None
    ) -> tuple[Any, dict[str, Any]]:
        """The first observation of a flight; all of them start again with the first that asks."""
        if self._begun is None or self._flights.done:
            self.vector_reset()
        assert self._begun is not None
        return self._begun[index or 0], {}

    def vector_step(self, actions: list[Any]) -> tuple[list[Any], ...]:
        """A tick of all flights."""
        observations, rewards = self._flights.step(np.clip(np.stack(actions), -1.0, 1.0))
        flights = range(self.num_envs)
        over = [self._flights.done for _ in flights]
        return (
            list(observations),
            rewards.tolist(),
            over,
            [False for _ in flights],
            [{} for _ in flights],
        )

    def get_sub_environments(self) -> list[Any]:
        """None: there are arrays alone."""
        return []

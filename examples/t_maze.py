"""A T-maze: the sign at the start says where to turn at the end of the corridor.

The classic test of memory (Bakker, 2002). Between the sign and the junction all steps look alike,
so an agent needs a memory of `corridor + 1` steps. Turning the wrong way ends the episode without a
reward; a policy without memory earns 0 on average.

    import examples.t_maze  # registers "TMaze-v0"
    env = gymnasium.make("TMaze-v0", corridor=5)

A window of 8 steps solves a corridor of 5 and cannot solve one of 50; `encoder="causal"` and
`encoder="lstm"` can.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

__all__ = ["TMazeEnv"]

FORWARD, UP, DOWN = range(3)


class TMazeEnv(gym.Env[dict[str, Any], int]):
    """Walk along a corridor, then turn where the sign pointed.

    Observation: `sign` (`Discrete(3)`: 0 none, 1 up, 2 down; shown at the first step alone) and
    `junction` (`Box(0, 1, (1,))`: 1 at the end of the corridor). Action: 0 forward, 1 up, 2 down.
    Reward: +1 for the right turn, -1 for the wrong one, -0.1 for a turn in the corridor or a step
    into the wall. The episode terminates with a turn at the junction, and is truncated after
    twice the shortest way.

    Args:
        corridor: steps from the start to the junction, at least 1.

    Examples:
        >>> env = TMazeEnv(corridor=2)
        >>> observation, _ = env.reset(seed=0)
        >>> int(observation["sign"]) in (1, 2)
        True
    """

    metadata = {"render_modes": []}

    def __init__(self, corridor: int = 5) -> None:
        if corridor < 1:
            raise ValueError(f"corridor is {corridor}; give a whole number of at least 1")
        self.corridor = corridor
        self.observation_space = gym.spaces.Dict(
            {
                "sign": gym.spaces.Discrete(3),
                "junction": gym.spaces.Box(0.0, 1.0, (1,), np.float32),
            }
        )
        self.action_space = gym.spaces.Discrete(3)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start at the sign."""
        super().reset(seed=seed)
        self._place, self._steps = 0, 0
        self._right_turn = int(self.np_random.integers(UP, DOWN + 1))
        return self._observe(), {}

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Go forward or turn."""
        self._steps += 1
        reward, terminated = 0.0, False
        if self._place == self.corridor and action != FORWARD:
            reward, terminated = (1.0 if action == self._right_turn else -1.0), True
        elif self._place < self.corridor and action == FORWARD:
            self._place += 1
        else:
            reward = -0.1
        truncated = not terminated and self._steps >= 2 * (self.corridor + 1)
        return self._observe(), reward, terminated, truncated, {}

    def _observe(self) -> dict[str, Any]:
        return {
            "sign": self._right_turn if self._place == 0 else 0,
            "junction": np.array([self._place == self.corridor], np.float32),
        }


if "TMaze-v0" not in gym.registry:
    gym.register("TMaze-v0", entry_point=TMazeEnv)

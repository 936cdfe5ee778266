"""Environments whose observations follow from the actions alone, in many spaces."""

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

OBSERVATIONS = {
    "flat": Box(-1, 1, (3,), np.float32),
    "square": Box(-1, 1, (2, 2), np.float32),
    "discrete": Discrete(5),
    "binary": MultiBinary(4),
    "number": Box(-1, 1, (), np.float32),
    "table": MultiDiscrete([[2, 3], [4, 2]]),
    "masked": Dict(
        {
            "action_mask": MultiBinary(3),
            "observations": Dict({"a": Box(0, 255, (8, 8, 1), np.uint8), "b": Discrete(100)}),
        }
    ),
    "nested": Dict({"a": Discrete(3), "b": Dict({"c": Box(-1, 1, (2,), np.float32)})}),
}
ACTIONS = {
    "discrete": Discrete(3),
    "multi": MultiDiscrete([2, 3]),
    "box": Box(-2, 3, (2,), np.float32),
    "nested": Dict({"x": Discrete(2), "y": Box(-1, 1, (1,), np.float32)}),
    "tuple": Tuple((Discrete(2), Discrete(3))),
}
STEPS = 7


class Follows(gym.Env):
    """Observation and reward are functions of the step and the last action."""

    def __init__(self, config):
        self.observation_space = OBSERVATIONS[config.get("observation", "flat")]
        self.action_space = ACTIONS[config.get("action", "discrete")]

    def _observation(self, action):
        flat = gym.spaces.flatten(self.action_space, action) if action is not None else [0.0]
        number = int(1000 * np.abs(np.asarray(flat, np.float64)).sum()) + self.t
        self.observation_space.seed(number)
        seen = self.observation_space.sample()
        if isinstance(seen, dict) and "action_mask" in seen:
            seen["action_mask"][number % 3] = 1
        return seen

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return self._observation(None), {}

    def step(self, action):
        self.t += 1
        observation = self._observation(action)
        return observation, self.t / 10, self.t == STEPS, False, {}

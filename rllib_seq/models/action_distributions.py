"""How an agent explores where a small error costs little and a large one much.

- `NarrowGaussian`: a normal distribution around the action with a spread that stays
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.models.torch.torch_action_dist import TorchDiagGaussian, TorchDistributionWrapper

SPREAD = 0.15
"""Standard deviation of an action in [-1, 1]."""


class NarrowGaussian(TorchDiagGaussian):
    """Independent normal distributions of the actions of a `Box`, all of spread `SPREAD`.

    The model's outputs are the means. RLlib's own also learns the spread and begins at 1, where
    actions in [-1, 1] are hardly the policy's any more.

    Examples:
        >>> model = {"custom_action_dist": "narrow_gaussian"}
    """

    def __init__(
        self, inputs: Any, model: Any, *, action_space: gym.Space[Any] | None = None
    ) -> None:
        """Build it; RLlib calls this."""
        TorchDistributionWrapper.__init__(self, inputs, model)
        self.log_std = torch.full_like(self.inputs, float(np.log(SPREAD)))
        self.dist = torch.distributions.Normal(self.inputs, self.log_std.exp())
        self.zero_action_dim = action_space is not None and action_space.shape == ()

    @staticmethod
    def required_model_output_shape(action_space: gym.Space[Any], model_config: Any) -> int:
        """Means alone."""
        return int(np.prod(action_space.shape or ()))

"""A module over the last L step inputs of a stream, whatever it computes from them.

- `WindowedRLModule`

It has no recurrent state: a connector rebuilds the windows from the episodes, when acting and when
training alike (`rllib_seq.models.rl_module.windows`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import torch
from gymnasium.spaces import Box
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor

from rllib_seq.config import SequenceConfig
from rllib_seq.errors import UserError
from rllib_seq.models.observations import refuse_empty_mask
from rllib_seq.models.rl_module.windows import (
    PREVIOUS_ACTIONS,
    PREVIOUS_REWARDS,
    STEPS_BEFORE,
    WindowLayout,
)
from rllib_seq.models.step_inputs import StepInputs
from rllib_seq.nn import LENGTH

SEQUENCE_CONFIG = "sequence_config"


def is_flat(space: gym.Space) -> bool:
    """Return whether observations of a space are vectors."""
    return isinstance(space, Box) and len(space.shape) == 1


class WindowedRLModule(TorchRLModule):
    """A module over windows of raw step inputs, which the connectors of `configure_windows` bring.

    The observation space is that of one step, flat. The settings are in
    `model_config["sequence_config"]`.
    """

    @classmethod
    def window_layout(cls, settings: SequenceConfig) -> WindowLayout:
        """Return the windows that a module with these settings sees."""
        return WindowLayout.of(settings)

    def setup(self) -> None:
        """Read the settings and measure the step inputs; RLlib calls this.

        Raises:
            UserError: a setting is unknown or wrong, observations are not flat, or the previous
                action is an input and its space cannot be encoded.
        """
        settings = self.model_config.get(SEQUENCE_CONFIG, {})
        self.config_of_sequence = SequenceConfig.from_dict(settings, where=SEQUENCE_CONFIG)
        space = self.observation_space
        if not is_flat(space):
            raise UserError(
                f"the sequence module needs flat observations, not {space}; set it up by "
                "use_sequence_module, which flattens them, and name no spaces in multi_agent"
            )
        self.step_inputs = StepInputs(space, self.action_space, self.config_of_sequence)

    @property
    def acting_network(self) -> torch.nn.Module:
        """What maps windows `[N, L, width]` and masks `[N, L]` to what actions are taken from."""
        raise NotImplementedError

    def plain_observations(self, batch: dict[str, Any]) -> Tensor:
        """Return the observations of a batch that no connector has made, see `plain_steps`.

        Raises:
            UserError: there are none, or they have another shape.
        """
        observation, width = batch.get(Columns.OBS), self.step_inputs.obs_dim
        shape = list(observation.shape) if isinstance(observation, Tensor) else []
        if observation is None or len(shape) not in (2, 3) or shape[-1] != width:
            raise UserError(
                f"observations must be a tensor [B, {width}] or [B, T, {width}], flattened as in "
                f"training; got {shape or type(observation).__name__}"
            )
        return observation

    def plain_steps(self, batch: dict[str, Any], state: Mapping[str, Tensor]) -> Tensor:
        """Put the step inputs of a batch together that no connector has made.

        It is what RLlib's users write by hand: `{"obs": ...}`.

        Args:
            batch: `obs`, `[B, obs_dim]` or `[B, T, obs_dim]`, and, after first steps and if they
                are inputs, `prev_actions` and `prev_rewards` the same.
            state: of the streams before, with `length`, `[B, 1]`.

        Returns:
            raw step inputs `[B, T, width]`.

        Raises:
            UserError: the observations have another shape, or what is an input is missing.
            NonFiniteInputError: an observation, previous action or reward is NaN or infinite.
        """
        observation = self.plain_observations(batch)
        width, shape = self.step_inputs.obs_dim, observation.shape
        rows, steps = shape[0], 1 if len(shape) == 2 else shape[1]
        first = state[LENGTH].reshape(rows, 1) + torch.arange(steps) == 0
        inputs = self.step_inputs.join(
            observation.reshape(rows * steps, width),
            batch.get("prev_actions"),
            batch.get("prev_rewards"),
            first.flatten(),
        ).view(rows, steps, -1)
        self.step_inputs.refuse_non_finite(inputs, torch.ones(rows, steps, dtype=torch.bool))
        nothing = self.step_inputs.allow_nothing(observation).view(rows, steps)
        if bool(nothing.any()):
            row, step = nothing.nonzero()[0].tolist()
            refuse_empty_mask(f"row {row}", step)
        return inputs

    def mask_outputs(self, outputs: Tensor, batch: dict[str, Any], prefix: str = "") -> Tensor:
        """Return logits or Q values without the actions that a mask forbids.

        Args:
            outputs: of the newest steps of a batch, `[N, choices]` or `[B, T, choices]`.
            batch: as for `windows`; of a recurrent module `[B, T, 1, ...]`.
            prefix: of the columns' names.
        """
        return self.step_inputs.mask_outputs(outputs, batch[prefix + Columns.OBS][..., -1, :])

    def windows(self, batch: dict[str, Any], prefix: str = "") -> tuple[Tensor, Tensor]:
        """Put the windows of a batch together.

        Args:
            batch: columns of `windows_of` as tensors, `[N, ...]`.
            prefix: of the columns' names.

        Returns:
            raw step inputs `[N, L, width]` and valid mask `[N, L]`.

        Raises:
            NonFiniteInputError: an observation, previous action or reward is NaN or infinite.
        """
        observation = batch[prefix + Columns.OBS]  # (N, L, obs_dim)
        rows, slots = observation.shape[:2]
        before = batch[prefix + STEPS_BEFORE].reshape(rows, 1)
        age = torch.arange(slots - 1, -1, -1, device=observation.device)  # (L,)
        valid = age <= before  # (N, L)
        action = batch.get(prefix + PREVIOUS_ACTIONS)
        reward = batch.get(prefix + PREVIOUS_REWARDS)
        inputs = self.step_inputs.join(
            observation.flatten(0, 1),
            action.flatten(0, 1) if action is not None else None,
            reward.flatten(0, 1) if reward is not None else None,
            (age == before).flatten(),
        ).view(rows, slots, -1)
        self.step_inputs.refuse_non_finite(inputs, valid)
        return inputs, valid

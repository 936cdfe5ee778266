"""What the networks see of one step, put together alike on both API stacks.

- `StepInputs`: observation, previous action and previous reward as one vector
- `refuse_bad_step`: NaN and infinity, where the stream is known
- `encode_action`, `action_width`: an action as numbers
"""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rllib_seq.config import SequenceConfig
from rllib_seq.errors import NonFiniteInputError, UserError
from rllib_seq.models.spaces import refuse_shifted


class StepInputs:
    """Layout of a raw step input: observation, then previous action, then previous reward."""

    def __init__(
        self, obs_space: gym.Space, action_space: gym.Space, config: SequenceConfig
    ) -> None:
        """Measure the parts.

        Args:
            obs_space: of one step, a Box.
            action_space: Discrete, MultiDiscrete or Box if the previous action is an input.
            config: says which parts there are.

        Raises:
            UserError: the previous action is an input and its space cannot be encoded, or actions
                do not start at 0.
        """
        refuse_shifted(action_space, "actions", "TransformAction")
        self.config = config
        self.action_space = action_space
        self.obs_dim = math.prod(obs_space.shape or ())
        self.action_dim = action_width(action_space) if config.prev_action else 0
        self.width = self.obs_dim + self.action_dim + int(config.prev_reward)

    def join(
        self, observation: Tensor, action: Tensor | None, reward: Tensor | None, first: Tensor
    ) -> Tensor:
        """Return raw step inputs `[N, width]`.

        Args:
            observation: `[N, ...]`, any dtype.
            action: previous actions `[N, ...]`; not read if they are no input. None is enough
                where all steps are first ones.
            reward: previous rewards `[N]`; the same.
            first: bool `[N]`, True at the first step of a stream.

        Raises:
            UserError: observations have another width, or what is an input is missing.
        """
        rows = len(first)
        self._refuse_other_widths(observation, rows)
        previous = []
        if self.config.prev_action:
            if action is None:
                self._refuse_later_steps(first, "action")
                previous.append(observation.new_zeros(rows, self.action_dim, dtype=torch.float32))
            else:
                action = action.reshape(rows, *(self.action_space.shape or ()))
                previous.append(encode_action(action, self.action_space))
        if self.config.prev_reward:
            if reward is None:
                self._refuse_later_steps(first, "reward")
                reward = observation.new_zeros(rows, dtype=torch.float32)
            previous.append(reward.reshape(rows, 1).float())
        # RLlib pads what came before an episode with zeros, which one-hot would read as action 0.
        parts = [part.masked_fill(first[:, None], 0.0) for part in previous]
        return torch.cat([observation.reshape(rows, -1).float(), *parts], dim=1)

    def _refuse_other_widths(self, observation: Tensor, rows: int) -> None:
        width = math.prod(observation.shape[1:])
        if len(observation) != rows or width != self.obs_dim:
            raise UserError(
                f"observations have shape {list(observation.shape)}, and the model was built for "
                f"[{rows}, {self.obs_dim}]; give flat observations, one row per step"
            )

    def _refuse_later_steps(self, first: Tensor, what: str) -> None:
        """Without what came before, only the first step of a stream is complete."""
        if not bool(first.all()):
            raise UserError(
                f"the previous {what} is missing, which this model reads after the first step of "
                f"a stream; give it (prev_{what} of compute_single_action, prev_{what}_batch of "
                f"compute_actions, column 'prev_{what}s' of forward_inference), or act with "
                "rllib_seq.load_policy(checkpoint).predict"
            )

    def refuse_non_finite(self, inputs: Tensor, real: Tensor) -> None:
        """Refuse NaN and infinity where a step is real.

        Args:
            inputs: raw step inputs `[B, T, width]`.
            real: bool `[B, T]`, False where nothing stands.

        Raises:
            NonFiniteInputError: naming the part, the value and its place.
        """
        bad = ~torch.isfinite(inputs) & real[..., None]
        if not bool(bad.any()):
            return
        sequence, step, column = bad.nonzero()[0].tolist()
        if column < self.obs_dim:
            what = f"observation feature {column}"
        elif column < self.obs_dim + self.action_dim:
            what = f"previous action, component {column - self.obs_dim},"
        else:
            what = "previous reward"
        raise NonFiniteInputError(
            f"{what} is {inputs[sequence, step, column].item()} (row {sequence}, step {step}); "
            "replace or clip non-finite values in the environment"
        )


def refuse_bad_step(stream: str, step: int, observation: NDArray, reward: float = 0.0) -> None:
    """Refuse NaN and infinity in a step of a stream whose name is known.

    Args:
        stream: how the user knows it.
        step: of the stream.
        observation: flat, `[obs_dim]`.
        reward: that came with it.

    Raises:
        NonFiniteInputError: naming stream, step, part and value.
    """
    if not np.isfinite(observation).all():
        feature = int(np.flatnonzero(~np.isfinite(observation))[0])
        what, value = f"observation feature {feature}", np.ravel(observation)[feature]
    elif not math.isfinite(reward):
        what, value = "reward", reward
    else:
        return
    raise NonFiniteInputError(
        f"{stream}, step {step}: {what} is {value}; replace or clip non-finite values in the "
        "environment"
    )


def action_width(space: gym.Space) -> int:
    """Return the width of an action of `space` as encoded by `encode_action`.

    Raises:
        UserError: actions of this space cannot be an input.
    """
    if isinstance(space, Discrete):
        return int(space.n)
    if isinstance(space, MultiDiscrete):
        return int(space.nvec.sum())
    if isinstance(space, Box):
        return math.prod(space.shape)
    raise UserError(
        f"an action of {space} cannot be an input; use Discrete, MultiDiscrete or Box, or set "
        "prev_action=False, and no given_action=True in auxiliary"
    )


def encode_action(action: Tensor, space: gym.Space) -> Tensor:
    """Encode actions as floats: one-hot, concatenated one-hots, or the raw numbers.

    Args:
        action: `[N]` for Discrete, `[N, parts]` for MultiDiscrete, `[N, ...]` for Box.
        space: of the action, one that `action_width` accepts.

    Returns:
        `[N, action_width(space)]`.
    """
    if isinstance(space, Discrete):
        sizes = [int(space.n)]
    elif isinstance(space, MultiDiscrete):
        sizes = space.nvec.flatten().tolist()
    else:
        return action.reshape(len(action), -1).float()
    parts = action.reshape(len(action), -1).long().unbind(1)
    return torch.cat(
        [functional.one_hot(part, size) for part, size in zip(parts, sizes, strict=True)], dim=1
    ).float()

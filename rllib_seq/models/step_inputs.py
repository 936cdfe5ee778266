"""What the networks see of one step, put together alike on both API stacks.

- `StepInputs`: observation, previous action and previous reward as one vector; action masks
- `refuse_bad_step`: NaN and infinity, where the stream is known
- `encode_action`, `action_width`: an action as numbers
"""

from __future__ import annotations

import math
from collections.abc import Callable

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rllib_seq.config import SequenceConfig
from rllib_seq.errors import NonFiniteInputError, UserError
from rllib_seq.models.observations import (
    MASK,
    Read,
    StepSpace,
    choices_of,
    mask_in,
    parts_of,
    pieces_of,
    reads_of,
)
from rllib_seq.models.spaces import one_line, refuse_shifted

FORBIDDEN = -1e9
"""Logit or Q value of an action that is not allowed: finite, so that a KL divergence is, too."""


class StepInputs:
    """Layout of a raw step input: observation, then previous action, then previous reward.

    An action mask is no part of it; a large number is one feature, see `StepParts`.
    """

    def __init__(
        self, obs_space: gym.Space, action_space: gym.Space, config: SequenceConfig
    ) -> None:
        """Measure the parts.

        Args:
            obs_space: of one step, a Box: flat, or one frame. What it was before it was flattened
                is its `original_space` (old API stack), or it is a `StepSpace` (new one).
            action_space: Discrete, MultiDiscrete or Box if the previous action is an input.
            config: says which parts there are.

        Raises:
            UserError: the previous action is an input and its space cannot be encoded, actions
                do not start at 0, or an action mask does not fit the actions.
        """
        refuse_shifted(action_space, "actions", "TransformAction")
        self.config = config
        self.action_space = action_space
        space: gym.Space
        narrow = isinstance(obs_space, StepSpace)
        if isinstance(obs_space, StepSpace):
            space = obs_space.unflattened
        elif len(obs_space.shape or ()) > 1:
            space = obs_space  # RLlib may have resized it
        else:
            space = getattr(obs_space, "original_space", obs_space)
        pieces = pieces_of(space, config.embed_above, one_hot=not narrow)
        self.obs_dim = math.prod(obs_space.shape or ())
        """Width of a flat observation."""
        if sum(piece.size for piece in pieces) != self.obs_dim:
            raise UserError(
                f"observations of {one_line(space)} come as {self.obs_dim} features; RLlib resizes "
                "Atari's frames inside a Dict or Tuple: resize them in the environment"
            )
        self.mask = mask_in(pieces)
        """Where the action mask stands in a flat observation, or None."""
        self._choices = choices_of(action_space) if self.mask else []
        if self.mask and self.mask.stop - self.mask.start != sum(self._choices):
            raise UserError(
                f"{MASK!r} has {self.mask.stop - self.mask.start} entries, and actions of "
                f"{one_line(action_space)} have {sum(self._choices)} choices; give one entry each"
            )
        self._reads = reads_of(pieces)
        self.seen_dim = sum(1 if read.values else read.size for read in self._reads)
        """Width of the observation in a step input."""
        self.parts = parts_of(self._reads)
        """Frames and large numbers in it, or None."""
        self.action_dim = action_width(action_space) if config.prev_action else 0
        self.width = self.seen_dim + self.action_dim + int(config.prev_reward)

    def mask_outputs(self, outputs: Tensor, observation: Tensor) -> Tensor:
        """Return logits or Q values `[..., choices]` with `FORBIDDEN` where a mask forbids.

        A part of an action without any choice is left as it is: such observations end episodes.

        Args:
            outputs: of a network.
            observation: flat, `[..., obs_dim]`.

        Raises:
            UserError: a mask holds something else than 0 and 1.
        """
        if self.mask is None:
            return outputs
        allowed = self.allowed(observation)
        return outputs.masked_fill(~allowed, FORBIDDEN)

    def allowed(self, observation: Tensor) -> Tensor:
        """Return the choices `[..., choices]` that the masks of observations allow, at least one.

        Raises:
            UserError: a mask holds something else than 0 and 1.
        """
        assert self.mask is not None
        mask = observation[..., self.mask]
        if not torch.compiler.is_compiling():
            wrong = (mask != 0) & (mask != 1)
            if bool(wrong.any()):
                raise UserError(
                    f"{MASK!r} holds {mask[wrong][0].item():g}, and 1 allows an action, 0 forbids "
                    "it; do not filter observations (observation_filter='NoFilter')"
                )
        parts = (mask != 0).split(self._choices, dim=-1)
        return torch.cat([part | ~part.any(-1, keepdim=True) for part in parts], dim=-1)

    def allow_nothing(self, observation: Tensor) -> Tensor:
        """Return where masks leave a part of an action without a choice, bool `[...]`."""
        if self.mask is None:
            return observation.new_zeros(observation.shape[:-1], dtype=torch.bool)
        parts = (observation[..., self.mask] != 0).split(self._choices, dim=-1)
        return ~torch.stack([part.any(-1) for part in parts]).all(0)

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
            UserError: observations have another width, a number is none of its space, or what is an
                input is missing.
        """
        rows = first.shape[0]  # not len(), which a tracer takes for a constant
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
        return torch.cat([*self._seen(observation.reshape(rows, -1)), *parts], dim=1)

    def _seen(self, observation: Tensor) -> list[Tensor]:
        """What a step input holds of flat observations `[N, obs_dim]`, part by part."""
        seen = []
        for read in self._reads:
            piece = observation[:, read.start : read.start + read.size].float()
            if not torch.compiler.is_compiling():
                _refuse_other_numbers(piece, read)
            seen.append(piece.argmax(1, keepdim=True).float() if read.kind == "one_hot" else piece)
        return seen

    def _refuse_other_widths(self, observation: Tensor, rows: int) -> None:
        width = math.prod(observation.shape[1:])
        if observation.shape[0] != rows or width != self.obs_dim:
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

    def refuse_non_finite(
        self,
        inputs: Tensor,
        real: Tensor,
        named: Callable[[int, int], tuple[str, int]] | None = None,
    ) -> None:
        """Refuse NaN and infinity where a step is real.

        Args:
            inputs: raw step inputs `[B, T, width]`.
            real: bool `[B, T]`, False where nothing stands.
            named: maps a row and a step of `inputs` to a stream's name and its step; None: no more
                is known of them.

        Raises:
            NonFiniteInputError: naming the part, the value and its place.
        """
        bad = ~torch.isfinite(inputs) & real[..., None]
        if not bool(bad.any()):
            return
        sequence, step, column = bad.nonzero()[0].tolist()
        if column < self.seen_dim:
            what = f"observation feature {column}"
        elif column < self.seen_dim + self.action_dim:
            what = f"previous action, component {column - self.seen_dim},"
        else:  # it came with this observation
            what = "previous reward" if named is None else "reward"
        value = inputs[sequence, step, column].item()
        if named is None:
            found = f"{what} is {value} (row {sequence}, step {step})"
        else:
            stream, place = named(sequence, step)
            found = f"{stream}, step {place}: {what} is {value}"
        raise NonFiniteInputError(f"{found}; replace or clip non-finite values in the environment")


def _refuse_other_numbers(piece: Tensor, read: Read) -> None:
    """Refuse numbers `[N, size]` that their space does not have; zeros may be padding."""
    last = read.start + read.size - 1
    if read.kind == "one_hot":
        largest = piece.amax(1)
        if bool(((piece.sum(1) != largest) | (largest % 1 != 0)).any()):
            raise UserError(
                f"observation features {read.start} to {last} are no one-hot number; do not filter "
                "observations (observation_filter='NoFilter')"
            )
    elif read.kind == "number" and bool(((piece < 0) | (piece >= read.values)).any()):
        raise UserError(
            f"observation feature {last} is not in 0..{read.values - 1}; return what the "
            "observation space says"
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
        return action.reshape(action.shape[0], -1).float()
    parts = action.reshape(action.shape[0], -1).long().unbind(1)
    return torch.cat(
        [functional.one_hot(part, size) for part, size in zip(parts, sizes, strict=True)], dim=1
    ).float()

"""A policy as one torch graph: what an environment shows, and a state, to actions and a state.

- `StepGraph`: what `TrainedPolicy.step` does, likeliest actions, in tensors alone

All that stands around the network is in the graph, too: one-hot encoding, running means, the bounds
of actions. Who runs it needs no library of ours.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import tree
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from ray.rllib.utils.spaces.space_utils import get_base_struct_from_space
from torch import Tensor, nn
from torch.nn import functional

from rllib_seq.errors import UserError
from rllib_seq.serving.streams.spaces import part_names
from rllib_seq.serving.streams.spec import (
    ACTION,
    FORECAST,
    NEXT,
    OBSERVATION,
    OUTPUTS,
    REWARD,
    STATE,
)
from rllib_seq.training.acting.policy import TrainedPolicy
from rllib_seq.training.acting.preprocessing import RunningFilter
from rllib_seq.training.exporting.cores import core_of

_STEPS, _PREVIOUS = "steps", "previous_action"
_SMALL = 1e-8  # RLlib's, beside running deviations


class StepGraph(nn.Module):
    """One step of N streams.

    Inputs, by name: `observation`, or `observation.PART` for every part of a nested space;
    `reward` of the last action, if it is read; `state.NAME`, zeros at first. Outputs: `action` (or
    its parts), ready for the environment; `outputs`, what it was taken from; `forecast.EVENT`; and
    `next.NAME`, the state afterwards. The first dimension of all is N.
    """

    def __init__(self, policy: TrainedPolicy) -> None:
        """Wrap a policy, whose weights are shared.

        Raises:
            UserError: it does what cannot be part of a graph.
        """
        super().__init__()
        self._around = around = policy.preprocessing
        if around.pixels is not None:
            raise UserError(
                "RLlib's preprocessor of Atari's observations cannot be exported; change them in "
                "the environment (gymnasium.wrappers.AtariPreprocessing)"
            )
        self.core = core_of(policy.network)
        self.reads_reward = policy.network.reads_reward
        self.reads_action = policy.network.reads_action
        self._seen = get_base_struct_from_space(around.observation_space)
        self._done = get_base_struct_from_space(around.action_space)
        self._observations = part_names(around.observation_space, OBSERVATION)
        self._actions = part_names(around.action_space, ACTION)
        self.filters = nn.ModuleList([_Filter(running) for running in around.filters])
        self.state: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}
        """Shape and type of every part of the state, without N."""
        if self.reads_action or self.reads_reward or self.core.reads_first:
            self.state[_STEPS] = (), torch.int64
        if self.reads_action:
            space = around.action_space
            if space.shape is None:
                raise UserError(f"previous actions of {space} are an input; they are not exported")
            self.state[_PREVIOUS] = space.shape, _dtype(space)
        for name, shape in self.core.state_shapes.items():
            self.state[name] = shape, torch.float32

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Map inputs to outputs, see the class."""
        first = inputs[STATE + _STEPS] == 0 if _STEPS in self.state else None
        reward = self._reward(inputs[REWARD], first) if self.reads_reward else None
        previous = inputs[STATE + _PREVIOUS] if self.reads_action else None
        memory = {name: inputs[STATE + name] for name in self.core.state_shapes}
        seen = self._preprocessed([inputs[name] for name in self._observations])
        said = self.core(seen, previous, reward, first, memory)
        ready = tree.map_structure(self._bounded, said.action, self._done)
        answers = dict(zip(self._actions, tree.flatten(ready), strict=True))
        answers[OUTPUTS] = said.outputs
        answers |= {FORECAST + name: rows for name, rows in said.forecasts.items()}
        if _STEPS in self.state:
            answers[NEXT + _STEPS] = inputs[STATE + _STEPS] + 1
        if self.reads_action:
            # A copy: a graph may not give one tensor two names.
            answers[NEXT + _PREVIOUS] = said.action.to(self.state[_PREVIOUS][1]).clone()
        return answers | {NEXT + name: said.memory[name] for name in self.core.state_shapes}

    def _preprocessed(self, parts: list[Tensor]) -> Any:
        """See `Preprocessing.observations`."""
        spaces = tree.flatten(self._seen)
        if not self._around.flatten:
            seen = tree.unflatten_as(self._seen, parts)
        else:
            narrow = self._around.narrow
            most = math.inf if narrow is None else narrow.embed_above
            flat = [_flat(part, space, most) for part, space in zip(parts, spaces, strict=True)]
            seen = torch.cat(flat, dim=1)
        for each in self.filters:
            seen = each(seen)
        return seen

    def _reward(self, reward: Tensor, first: Tensor | None) -> Tensor:
        """See `Preprocessing.rewards`; a stream that begins has none."""
        most = self._around.clip_rewards
        if most is True:
            reward = torch.sign(reward)
        elif most:
            reward = reward.clamp(-most, most)
        assert first is not None
        return torch.where(first, 0.0, reward)

    def _bounded(self, action: Tensor, space: Any) -> Tensor:
        """As RLlib hands it to the environment, see `acting.spaces.for_environment`."""
        if not isinstance(space, Box):
            return action
        low, high = torch.as_tensor(space.low), torch.as_tensor(space.high)
        around, real = self._around, low.is_floating_point()
        if around.normalize_actions:
            if not space.is_bounded():
                return action
            if not real:
                return low + action
            action = low + (action + 1.0) * (high - low) / 2.0
        if around.normalize_actions or around.clip_actions:
            action = torch.minimum(torch.maximum(action, low), high)
        return action


class _Filter(nn.Module):
    """RLlib's running mean and deviation, as they stood."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, running: RunningFilter) -> None:
        super().__init__()
        stats = running.running_stats
        mean = np.asarray(stats.mean) if running.demean else np.zeros(running.shape)
        deviation = np.asarray(stats.std) + _SMALL if running.destd else np.ones(running.shape)
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32))
        self.register_buffer("deviation", torch.as_tensor(deviation, dtype=torch.float32))
        self._most = running.clip

    def forward(self, seen: Tensor) -> Tensor:
        seen = (seen.float() - self.mean) / self.deviation
        return seen.clamp(-self._most, self._most) if self._most else seen


def _flat(part: Tensor, space: Any, most: float) -> Tensor:
    """`[N, D]`, numbers of up to `most` values one-hot."""
    if isinstance(space, Discrete | MultiDiscrete):
        sizes = [int(n) for n in np.ravel(getattr(space, "nvec", getattr(space, "n", 0)))]
        columns = part.reshape(part.shape[0], -1).unbind(1)
        numbers = zip(columns, sizes, strict=True)
        return torch.cat([_encoded(number, size, most) for number, size in numbers], dim=1)
    return part.reshape(part.shape[0], -1).float()


def _encoded(number: Tensor, size: int, most: float) -> Tensor:
    if size > most:
        return number[:, None].float()
    return functional.one_hot(number.long(), size).float()


def _dtype(space: Any) -> torch.dtype:
    return torch.float32 if isinstance(space, Box) else torch.int64

"""A policy of RLlib's old API stack that acts for many streams at once.

- `PolicyActor`: with this package's model, or with one that reads observations alone
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.policy.policy import Policy
from ray.rllib.policy.sample_batch import SampleBatch
from ray.rllib.utils.spaces.space_utils import clip_action, unsquash_action

from rllib_seq.models import LSTMTransformerModel
from rllib_seq.rollouts.acting.memories import Memory, NetworkMemory
from rllib_seq.rollouts.acting.stock_models import StockMemory
from rllib_seq.rollouts.sampler import ActionBatch

__all__ = ["PolicyActor"]

Array = NDArray[Any]
Ints = NDArray[np.int64]


class PolicyActor:
    """Acts for many users at once, and remembers what each has seen."""

    def __init__(self, policy: Policy, rows: int, longest: int) -> None:
        self.policy, self.model = policy, policy.model
        self._ours = isinstance(self.model, LSTMTransformerModel)
        kind = NetworkMemory if self._ours else StockMemory
        self.memory: Memory = kind(self.model, rows, longest)
        space = policy.action_space
        self._actions = torch.from_numpy(np.zeros((rows, *(space.shape or ())), space.dtype))

    def __call__(self, rows: Ints, new: Array, observations: Array, rewards: Array) -> ActionBatch:
        """See `sampler.StreamActor`."""
        who, first = torch.from_numpy(rows), torch.from_numpy(new)
        previous = self._actions[who]
        previous[first] = 0
        rewards = np.where(new, 0.0, rewards).astype(np.float32)
        inputs = self._inputs(observations, previous, rewards, first)
        with torch.inference_mode():
            outputs, columns = self.memory.read(who, first, inputs)
            outputs = self._masked(outputs, observations)
            distribution = self.policy.dist_class(outputs, self.model)
            actions = distribution.sample()
            logp = distribution.logp(actions)
        self._actions[who] = actions.to(self._actions.dtype)
        columns |= {
            SampleBatch.ACTION_DIST_INPUTS: outputs.numpy(),
            SampleBatch.ACTION_LOGP: logp.numpy(),
        }
        if self._ours and self.model.config.prev_action:
            columns[SampleBatch.PREV_ACTIONS] = previous.numpy()
        if self._ours and self.model.config.prev_reward:
            columns[SampleBatch.PREV_REWARDS] = rewards
        return ActionBatch(actions.numpy(), columns, self._served(actions.numpy()))

    def value_after(self, rows: Ints, observations: Array, rewards: Array) -> Array:
        """See `sampler.StreamActor`."""
        who = torch.from_numpy(rows)
        first = torch.zeros(len(rows), dtype=torch.bool)
        inputs = self._inputs(observations, self._actions[who], rewards.astype(np.float32), first)
        with torch.inference_mode():
            return self.memory.value_after(who, inputs)

    def _inputs(
        self, observations: Array, previous: torch.Tensor, rewards: Array, first: torch.Tensor
    ) -> torch.Tensor:
        """Raw step inputs `[n, W]`; refuses numbers that are not finite."""
        if not self._ours:
            return torch.as_tensor(observations)
        step_inputs = self.model.step_inputs
        inputs = step_inputs.join(
            torch.from_numpy(observations), previous, torch.from_numpy(rewards), first
        )
        step_inputs.refuse_non_finite(inputs[:, None], torch.ones(len(first), 1, dtype=torch.bool))
        return inputs

    def _masked(self, outputs: torch.Tensor, observations: Array) -> torch.Tensor:
        """Outputs `[n, K]` without the actions that masks forbid."""
        if not self._ours or self.model.step_inputs.mask is None:
            return outputs
        step_inputs = self.model.step_inputs
        return step_inputs.mask_outputs(outputs, torch.from_numpy(observations))

    def _served(self, actions: Array) -> Array:
        """Actions as the environment takes them: RLlib learns Box actions in units of its own."""
        if self.policy.config["normalize_actions"]:
            return unsquash_action(actions, self.policy.action_space_struct)
        if self.policy.config["clip_actions"]:
            return clip_action(actions, self.policy.action_space_struct)
        return actions

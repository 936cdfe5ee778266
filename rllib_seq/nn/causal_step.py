"""A causal policy step by step, with all that it carries in one flat array: what an export holds.

- `CausalStep`: step inputs and memories to outputs and memories
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rllib_seq.nn.causal import CausalState
from rllib_seq.nn.networks import SequentialPolicyNetwork


class CausalStep(nn.Module):
    """The step path of a policy with `encoder="causal"`.

    A memory is the policy's `CausalState` as one row: hidden, cell, cache, length. Zeros are the
    memory of a new stream. It is as wide as `2 H d + 2 d (K + 1) (L - 1) + 1`, with H
    `lstm_layers`, K `transformer_layers`, L `window_length` and d `d_model`.

    Example:
        >>> policy = SequentialPolicyNetwork(10, 4, encoder="causal", d_model=8, num_heads=2)
        >>> step = CausalStep(policy)
        >>> outputs, memory = step(torch.zeros(5, 10), torch.zeros(5, step.memory_size))
        >>> outputs.shape, memory.shape
        (torch.Size([5, 4]), torch.Size([5, 481]))
    """

    def __init__(self, policy: SequentialPolicyNetwork) -> None:
        """Wrap a policy, whose weights are shared."""
        super().__init__()
        self.policy = policy
        self._shapes = policy.encoder.causal.state_shapes
        self._sizes = [math.prod(shape) for shape in self._shapes]
        self.memory_size = sum(self._sizes)

    def forward(self, inputs: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Read one step of B streams.

        Args:
            inputs: raw step inputs `[B, input_dim]`.
            memory: of the streams before it, `[B, memory_size]`.

        Returns:
            inputs of the action distribution `[B, num_outputs]`, and the memory after the step.
        """
        parts = zip(memory.split(self._sizes, dim=1), self._shapes, strict=True)
        hidden, cell, cache, length = (part.reshape(-1, *shape) for part, shape in parts)
        before = CausalState(hidden, cell, cache, length.round().long())
        features, after = self.policy.encoder.causal.sequence(before, inputs[:, None])
        rows = [part.reshape(inputs.shape[0], -1).to(memory.dtype) for part in after]
        return self.policy.head(features[:, 0]), torch.cat(rows, dim=1)

"""A policy step by step, with all that it carries in one flat array, as an export holds it.

- `PolicyStep`: step inputs and memories to outputs and memories
- `policy_graph`: a policy as the graph that acts for it
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rllib_seq.nn.networks import SequentialPolicyNetwork


class PolicyStep(nn.Module):
    """The step path of a policy, whatever its encoder.

    A memory is the state of the policy's encoder as one row, part by part in the order of
    `state_shapes`. Zeros are the memory of a new stream.

    Examples:
        >>> policy = SequentialPolicyNetwork(10, 4, encoder="causal", d_model=8, num_heads=2)
        >>> step = PolicyStep(policy)
        >>> outputs, memory = step(torch.zeros(5, 10), torch.zeros(5, step.memory_size))
        >>> outputs.shape, memory.shape
        (torch.Size([5, 4]), torch.Size([5, 481]))
    """

    def __init__(self, policy: SequentialPolicyNetwork) -> None:
        """Wrap a policy, whose weights are shared."""
        super().__init__()
        self.policy = policy
        self._shapes = policy.encoder.state_shapes
        self._sizes = [math.prod(shape) for shape in self._shapes.values()]
        self.memory_size = sum(self._sizes)

    def forward(self, inputs: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Read one step of B streams.

        Args:
            inputs: raw step inputs `[B, input_dim]`.
            memory: of the streams before it, `[B, memory_size]`.

        Returns:
            inputs of the action distribution `[B, num_outputs]`, and the memory after the step.
        """
        parts = zip(self._shapes.items(), memory.split(self._sizes, dim=1), strict=True)
        before = {name: part.reshape(-1, *shape) for (name, shape), part in parts}
        features, after = self.policy.encoder.sequence(before, inputs[:, None])
        rows = [after[name].reshape(inputs.shape[0], -1) for name in self._shapes]
        return self.policy.head(features[:, 0]), torch.cat(rows, dim=1)


def policy_graph(policy: SequentialPolicyNetwork) -> nn.Module:
    """Return what acts for a policy.

    Returns:
        the policy itself, of windows, if the state of its encoder is data (`StreamEncoder.reach`);
        else a `PolicyStep`.
    """
    encoder = policy.encoder
    return policy if encoder.reach(encoder.config) is not None else PolicyStep(policy)

"""From features to the inputs of an action distribution.

- `PolicyHead`
"""

from __future__ import annotations

from torch import nn

from rllib_seq.nn.layers import initialise


class PolicyHead(nn.Linear):
    """One linear layer, `[..., features]` to `[..., outputs]`.

    It starts near zero: the first policy is near uniform and explores everything.
    """

    def __init__(self, features: int, outputs: int) -> None:
        """Build the head."""
        super().__init__(features, outputs)
        initialise(self, 0.01)

"""From features to the value of a step.

- `ValueHead`
"""

from __future__ import annotations

from torch import Tensor, nn

from rllib_seq.config import SequenceConfig
from rllib_seq.nn.layers import initialise, mlp_head


class ValueHead(nn.Module):
    """A temporal head of its own, `[..., features]` to `[..., 1]`."""

    def __init__(self, features: int, config: SequenceConfig, *, linear: bool = False) -> None:
        """Build the head.

        Args:
            features: width of its input.
            config: sizes.
            linear: one linear layer instead, for features that have passed a temporal head already.
        """
        super().__init__()
        self.layers = nn.Linear(features, 1) if linear else mlp_head(config, features, 1)
        initialise(self)

    def forward(self, features: Tensor) -> Tensor:
        """Map features `[..., features]` to values `[..., 1]`."""
        return self.layers(features)

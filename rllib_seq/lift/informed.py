"""A critic that sees the hidden stage while it trains, for ablations: no bidder has it.

- `InformedHead`
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["InformedHead"]

_WIDTH = 64


class InformedHead(nn.Module):
    """Worth if lost and lift of a history and the stage behind it, for targets alone.

    A value that knows the stage is a baseline without the doubt about it, and the mean over the
    stages of a history is what the policy learns from it (Baisero and Amato 2022: history and state
    together, not the state alone).
    """

    def __init__(self, features: int, stages: int, unit: float) -> None:
        """Build the head.

        Args:
            features: width of what the policy's encoder makes of a history.
            stages: S.
            unit: of its outputs, currency units.
        """
        super().__init__()
        self._stages, self._unit = stages, unit
        self.layers = nn.Sequential(
            nn.Linear(features + stages, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, 2)
        )

    def forward(self, features: Tensor, stage: Tensor) -> tuple[Tensor, Tensor]:
        """Return L and D, each `[...]`, of features `[..., F]` and stages `[...]`."""
        seen = functional.one_hot(stage.long(), self._stages).to(features.dtype)
        lost, lift = (self.layers(torch.cat([features, seen], -1)) * self._unit).unbind(-1)
        return lost, lift

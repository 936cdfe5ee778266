"""What users do next, forecast beside the critic: it teaches the encoder what to remember.

- `OutcomeForecasts`: their loss, of features

Worths rest on conversions, which are rare. Clicks, visits and whether a user comes back are in
every journey, and betray the same stage. The forecasts are for training alone; nothing that acts
reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, pad

__all__ = ["OutcomeForecasts"]

_DISCOUNT = 0.8
_SUM_WEIGHT = 0.5
_CONVERTED = 1e-3  # of the unit: above what rounding leaves, below any conversion


class OutcomeForecasts(nn.Module):
    """Forecasts of S signals of an observation, of the user's return and of conversion.

    Each has a part that winning the request adds, as the critic's worth has.

    Args:
        features: width of what the encoder makes of a history.
        signals: places in an observation that are above 0 where something has happened since the
            request before, a click for example.
        unit: the highest bid, currency units.
    """

    def __init__(self, features: int, signals: Sequence[int], unit: float) -> None:
        super().__init__()
        self._signals, self._unit = list(signals), unit
        self.layer = nn.Linear(features, 2 * (2 * len(signals) + 2))
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, features: Tensor, batch: Mapping[str, Tensor], real: Tensor) -> Tensor:
        """Return the sum of all losses, in the mean over steps.

        Args:
            features: `[B, T, F]`.
            batch: "obs", "won", "rewards" and "payment" of whole journeys, `[B, T, ...]`.
            real: 1 where a step is, 0 in padding behind it, `[B, T]`.
        """
        base, added = self.layer(features).unflatten(-1, (-1, 2)).unbind(-1)
        said = base + batch["won"].float()[..., None] * added  # (B, T, 2 S + 2)
        signals = (batch["obs"][..., self._signals] > 0).float() * real[..., None]
        following, returned = _next(signals), _next(real[..., None])
        later = torch.empty_like(following)  # discounted sums
        total = torch.zeros_like(following[:, 0])
        for step in range(following.shape[1] - 1, -1, -1):
            total = following[:, step] + _DISCOUNT * total
            later[:, step] = total
        gained = (batch["rewards"] + batch["payment"]) / self._unit
        converted = (gained > _CONVERTED).float()[..., None]
        count = len(self._signals)
        happens, sums = said[..., : count + 2], said[..., count + 2 :]
        happened = torch.cat([following, returned, converted], -1)
        errors = binary_cross_entropy_with_logits(happens, happened, reduction="none")
        known = torch.ones_like(errors)
        known[..., :count] = returned  # of who does not come back, nothing is seen
        loss = (errors * known).sum(-1) + _SUM_WEIGHT * (sums - later).square().sum(-1)
        return (loss * real).sum() / real.sum()


def _next(steps: Tensor) -> Tensor:
    """Of `[B, T, N]` the step behind each; zeros behind the last."""
    return pad(steps[:, 1:], (0, 0, 0, 1))

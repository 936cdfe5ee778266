"""What a campaign is judged by: acquisitions within its budget and at its price.

- `Goal`: what is counted, and what one of it may cost.
- `score`: the count, reduced when it was too dear; the measure of the published pacing benchmarks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rllib_seq.envs.ad_auction.checks import check_above_zero

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Goal:
    """Maximize value, or, with a target CPA, conversions; at most one target.

    >>> Goal(target_roas=4.0).price
    0.25
    """

    target_cpa: float | None = None
    """Currency units that one conversion may cost; the campaign then counts conversions."""
    target_roas: float | None = None
    """Value that one currency unit must bring; the campaign counts value."""

    def __post_init__(self) -> None:
        """Raises ValueError with one line that names the value and the fix."""
        if self.target_cpa is not None and self.target_roas is not None:
            raise ValueError(
                f"target_cpa is {self.target_cpa} and target_roas {self.target_roas}; give one"
            )
        for name, target in (("target_cpa", self.target_cpa), ("target_roas", self.target_roas)):
            if target is not None:
                check_above_zero(name, target)

    @property
    def price(self) -> float:
        """What one unit of what is counted may cost on average; infinity without a target."""
        if self.target_cpa is not None:
            return self.target_cpa
        return math.inf if self.target_roas is None else 1.0 / self.target_roas

    @property
    def unit(self) -> float:
        """What one unit of what is counted is bid for at multiplier 1: `price`, or 1."""
        return 1.0 if math.isinf(self.price) else self.price

    def count(self, conversions: Floats, value: Floats) -> Floats:
        """What is counted: conversions or their value, any shape."""
        return value if self.target_cpa is None else conversions


def score(count: ArrayLike, spend: ArrayLike, price: float) -> Floats:
    """The count, times (price * count / spend)^2 if it was bought too dear.

    With a target CPA that is conversions * min(1, (tCPA / CPA)^2), as in AuctionNet; with a target
    ROAS it is value * min(1, (ROAS / tROAS)^2).

    Args:
        count: conversions or value, any shape.
        spend: currency units, the same.
        price: what one unit of the count may cost, see `Goal.price`.
    """
    count, spend = np.asarray(count, np.float64), np.asarray(spend, np.float64)
    if math.isinf(price):
        return count
    ratio = np.where(spend > 0, price * count / np.where(spend > 0, spend, 1.0), 1.0)
    return count * np.minimum(1.0, ratio) ** 2

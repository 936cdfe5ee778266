"""The campaign that we bid for: its money and its ledger.

- `Ledger`: what was bought and what it brought.
- `affordable`: the hard budget; a bid that could overspend it is not made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ledger", "affordable"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass
class Ledger:
    """Running totals of one campaign, in currency units and counts.

    With `reward="expected"` the counts are expectations, and not whole numbers.
    """

    budget: float
    """Hard limit on spend; infinity for none."""
    requests: float = 0
    wins: float = 0
    clicks: float = 0
    visits: float = 0
    conversions: float = 0
    """Conversions that happened within the flight."""
    censored: float = 0
    """Conversions caused within the flight that fall after its end: worth nothing here."""
    spend: float = 0.0
    value: float = 0.0

    @property
    def remaining(self) -> float:
        """Budget left."""
        return self.budget - self.spend

    @property
    def budget_left(self) -> float:
        """Share of the budget that is left, in [0, 1]; 1 without a budget."""
        if np.isinf(self.budget):
            return 1.0
        return self.remaining / self.budget if self.budget > 0 else 0.0

    def profit(self, shadow_price: float) -> float:
        """Value minus spend, each unit of spend priced at `1 + shadow_price`."""
        return self.value - (1.0 + shadow_price) * self.spend


def affordable(most: Floats, spend: Floats, remaining: float) -> Bools:
    """Which bids a hard budget allows; requests are served in order.

    A bid is made only if the budget could pay it in full, since the price is not known before.

    Args:
        most: `[n]`, what each bid could cost at most.
        spend: `[n]`, what it would cost, 0 if it would lose; at most `most`.
        remaining: budget left before the first of them.

    Returns:
        `[n]`, whether the bid is made.
    """
    if most.sum() <= remaining:
        return np.ones(len(most), np.bool_)
    made = np.zeros(len(most), np.bool_)
    for i in range(len(most)):
        if most[i] <= remaining:
            made[i] = True
            remaining -= spend[i]
    return made

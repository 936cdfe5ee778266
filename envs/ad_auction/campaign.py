"""The campaign that we bid for: its money and its ledger.

- `Ledger`: what was bought and what it brought.
- `affordable`: the hard budget; a bid that could overspend is not made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ledger", "affordable"]

Floats = NDArray[np.float64]


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


def affordable(bids: Floats, won: NDArray[np.bool_], paid: Floats, remaining: float) -> Floats:
    """Bids under a hard budget; requests are served in order.

    A bid is made only if the budget could pay it in full, since the price is not known before.

    Args:
        bids: `[n]`, the bids wished for.
        won: `[n]`, which of them would win.
        paid: `[n]`, what they would pay.
        remaining: budget left before the first of them.

    Returns:
        `[n]`, the bids that are made: as wished, or 0.
    """
    if bids.sum() <= remaining:
        return bids
    made = np.zeros_like(bids)
    for i, bid in enumerate(bids):
        if bid <= remaining:
            made[i] = bid
            if won[i]:
                remaining -= paid[i]
    return made

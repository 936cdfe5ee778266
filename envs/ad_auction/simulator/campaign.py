"""The campaign that we bid for: its money and its ledger.

- `Ledger`: what was bought and what it brought.
- `Ledgers`: those of campaigns that run side by side, as arrays.
- `Groups`: which of many requests belong to which campaign.
- `affordable`: the hard budget; a bid that could overspend it is not made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_ZERO = np.zeros(1, np.int64)
_TOTALS = (
    *("requests", "wins", "clicks", "visits", "conversions", "censored"),
    *("spend", "value"),
)


@dataclass
class Ledger:
    """Running totals of one campaign, in currency units and counts.

    With `reward="expected"` the counts are expectations, and not whole numbers.
    """

    budget: float
    """Limit on spend; infinity for none."""
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
        return max(self.remaining, 0.0) / self.budget if self.budget > 0 else 0.0

    def profit(self, shadow_price: float) -> float:
        """Value minus spend, each unit of spend priced at `1 + shadow_price`."""
        return self.value - (1.0 + shadow_price) * self.spend


class Groups(NamedTuple):
    """Requests of `m` different campaigns, those of a campaign next to each other."""

    campaigns: Ints
    """`[m]`."""
    start: Ints
    """`[m]`: where the requests of each begin."""
    size: Ints
    """`[m]`: how many there are of each."""

    @classmethod
    def of(cls, campaign: Ints, num_campaigns: int) -> Groups:
        """The groups of `n` requests, at least one.

        Args:
            campaign: `[n]`, the campaign of each.
            num_campaigns: if there is but one, nothing needs to be looked for.
        """
        if num_campaigns == 1:
            return cls(_ZERO, _ZERO, np.array([len(campaign)]))
        first = np.ones(len(campaign), np.bool_)
        first[1:] = campaign[1:] != campaign[:-1]
        start = np.flatnonzero(first)
        size = np.empty_like(start)
        size[:-1], size[-1] = start[1:] - start[:-1], len(campaign) - start[-1]
        return cls(campaign[start], start, size)

    def sums(self, values: NDArray[np.generic]) -> Floats:
        """`[..., m]`: sums of `[..., n]` over the requests of each campaign."""
        return np.add.reduceat(values, self.start, axis=-1)


class Ledgers:
    """The ledgers of E campaigns with one budget each.

    Args:
        num_campaigns: E.
        budget: of every campaign, see `Ledger`.
        enforce_budget: whether a spent budget stops bids.

    Attributes:
        totals: `[8, E]`, the totals of `Ledger` in its order.
    """

    def __init__(self, num_campaigns: int, budget: float, enforce_budget: bool = True) -> None:
        self.budget, self._limit = budget, budget if enforce_budget else math.inf
        self.totals = np.zeros((len(_TOTALS), num_campaigns))

    def clear(self, campaigns: Ints) -> None:
        """Opens new ledgers."""
        self.totals[:, campaigns] = 0.0

    def of(self, campaign: int) -> Ledger:
        """A copy of one campaign's ledger."""
        totals = dict(zip(_TOTALS, self.totals[:, campaign].tolist(), strict=True))
        return Ledger(budget=self.budget, **totals)

    def total(self, name: str) -> Floats:
        """`[E]`: one total of all campaigns."""
        return self.totals[_TOTALS.index(name)]

    @property
    def budget_left(self) -> Floats:
        """`[E]`, see `Ledger.budget_left`."""
        spend = self.total("spend")
        if np.isinf(self.budget):
            return np.ones(len(spend))
        if self.budget <= 0:
            return np.zeros(len(spend))
        return np.maximum(self.budget - spend, 0.0) / self.budget

    def add(self, groups: Groups, **amounts: NDArray[np.generic]) -> None:
        """Adds what requests brought, `[n]` by name of a total."""
        places = [_TOTALS.index(name) for name in amounts]
        rows = np.empty((len(places), len(next(iter(amounts.values())))))
        for row, amount in zip(rows, amounts.values(), strict=True):
            row[:] = amount
        self.totals[np.array(places)[:, None], groups.campaigns] += groups.sums(rows)

    def affordable(self, groups: Groups, most: Floats, spend: Floats) -> Bools:
        """Which bids the budgets allow, see the function `affordable`.

        Args:
            groups: of the bids.
            most: `[n]`, what each bid could cost at most.
            spend: `[n]`, what it would cost.
        """
        if np.isinf(self._limit):
            return np.ones(len(most), np.bool_)
        remaining = self._limit - self.total("spend")[groups.campaigns]  # (m,)
        # What is too much for all that is left is not made; the rest may be too much together.
        made = most <= np.repeat(remaining, groups.size)
        for i in np.flatnonzero(groups.sums(most * made) > remaining).tolist():
            of_one = slice(groups.start[i], groups.start[i] + groups.size[i])
            made[of_one] = affordable(most[of_one], spend[of_one], float(remaining[i]))
        return made


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

"""Budget and pacing of the campaign that is served.

- `Money`: what is left, of budget and of flight, and by how much bids are scaled.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rllib_seq.envs.ad_auction.market.pacing import PID, OnlineDual, Pacing, Proportional, Report
from rllib_seq.errors import UserError
from rllib_seq.serving.settings import Settings
from rllib_seq.serving.state.storage import Change, Hold, Storage

_RULES: dict[str, Pacing] = {"proportional": Proportional(), "pid": PID(), "dual": OnlineDual()}


class Money:
    """The books of one campaign; what is spent and set aside is in the storage.

    Args:
        storage: where it is kept.
        budget: hard limit, currency units; infinity for none.
        start_hour: when the flight began, in hours since the Monday midnight before.
        flight_hours: how long it takes.
        settings: of pacing.

    Raises:
        UserError: pacing without a budget.
    """

    def __init__(
        self,
        storage: Storage,
        budget: float,
        start_hour: float,
        flight_hours: float,
        settings: Settings,
    ) -> None:
        if settings.pacing != "none" and math.isinf(budget):
            raise UserError(f"--pacing {settings.pacing} needs a --budget to pace; give one")
        self.budget = budget
        self._storage = storage
        self._start, self._hours = start_hour, flight_hours
        self._rule = _RULES.get(settings.pacing)
        self._tick_hours = settings.pacing_minutes / 60.0
        self._state = None if self._rule is None else self._rule.start((1,))
        self._tick = 0
        self.totals = storage.totals()
        self._spend_at_tick = self.spend

    @property
    def spend(self) -> float:
        """Currency units."""
        return self.totals["spend"]

    @property
    def multiplier(self) -> float:
        """What bids are scaled by."""
        return 1.0 if self._state is None else float(self._state[0, 0])

    def refresh(self) -> None:
        """Reads the totals, which other servers may have changed."""
        self.totals = self._storage.totals()

    def budget_left(self) -> float:
        """Share, as `campaign.Ledger` has it."""
        if math.isinf(self.budget):
            return 1.0
        return max(0.0, (self.budget - self.spend) / self.budget) if self.budget > 0 else 0.0

    def flight_left(self, hour: float) -> float:
        """Share; 1 without a budget."""
        if math.isinf(self.budget):
            return 1.0
        return max(0.0, 1.0 - (hour - self._start) / self._hours)

    def planned(self, hour: float) -> float | None:
        """What an even pace would have spent by now, currency units; None without a budget."""
        if math.isinf(self.budget):
            return None
        return self.budget * min(1.0, max(0.0, (hour - self._start) / self._hours))

    def hold(self, holds: Sequence[Hold], now: float) -> list[bool]:
        """Which bids the budget allows; for those it is set aside."""
        if math.isinf(self.budget) or not holds:
            return [True] * len(holds)
        return self._storage.hold(holds, self.budget, now)

    def free(self, bids: Iterable[int], now: float) -> None:
        """Frees what was set aside for bids that will not be made."""
        if math.isinf(self.budget):
            return
        for bid in bids:
            self._storage.write(Change(now, release=bid))

    def pace(self, hour: float) -> None:
        """Lets the rule decide, once a tick."""
        if self._rule is None or self._state is None:
            return
        tick = int((hour - self._start) / self._tick_hours)
        if tick <= self._tick:
            return
        ticks_left = max((self._hours - (hour - self._start)) / self._tick_hours, 1.0)
        spend = (self.spend - self._spend_at_tick) / (tick - self._tick)
        planned = (self.budget - self._spend_at_tick) / (ticks_left + 1.0)
        report = Report(
            *(_one(spend), _one(planned), _one(self.budget_left())),
            *(_one(self.flight_left(hour)), np.zeros((0, 1))),
        )
        self._state = self._rule.following(self._state, report)
        self._tick, self._spend_at_tick = tick, self.spend


def _one(number: float) -> Any:
    return np.array([number])

"""How a bidder scales their bids from tick to tick: bid = multiplier * value.

Competitors and our own baselines follow the same rules. A rule is a frozen description; its state
is an array `[k, *shape]`, a column for each bidder and campaign; the first row is the multiplier.

- `Constant`: truthful (1), shaded (below 1), or any fixed v / lambda.
- `Proportional`: linear pacing, as much as the budget left over the time left says.
- `PID`: feedback control of the spend.
- `OnlineDual`: descent of the budget's shadow price.
- `Hedge`: learns how to shade by multiplicative weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_WINDUP = 3.0  # of the integral: no more than a factor of e^3 = 20


class Report(NamedTuple):
    """A bidder's books after a tick; all of one shape."""

    spend: Floats
    """Of this tick, currency units."""
    planned: Floats
    """What an even pace would have spent of the budget that was left; infinity for no budget."""
    budget_left: Floats
    """Share of the budget that is left."""
    time_left: Floats
    """Share of the flight's expected requests that is left."""
    gains: Floats
    """`[K, *shape]`: what each multiplier of the rule's `grid` would have gained in this tick, as
    a share of all that was offered; K = 0 for a rule that does not learn."""

    @property
    def shortfall(self) -> Floats:
        """(planned - spend) / planned, at least -1; 0 where nothing was planned."""
        error = (self.planned - self.spend) / np.where(self.planned > 0, self.planned, 1.0)
        return np.where(self.planned > 0, np.maximum(error, -1.0), 0.0)


class Pacing(Protocol):
    """A rule, see the module."""

    needs_budget: ClassVar[bool]
    """Whether it makes no sense without a budget."""

    @property
    def grid(self) -> Floats:
        """`[K]`: multipliers whose gains the rule wants to know; usually none."""

    def start(self, shape: tuple[int, ...]) -> Floats:
        """State `[k, *shape]` at the start of the flight."""

    def following(self, state: Floats, report: Report) -> Floats:
        """State after a tick."""


class _Unlearned:
    """Rules that look at money alone."""

    needs_budget: ClassVar[bool] = True

    @property
    def grid(self) -> Floats:
        return np.empty(0)


@dataclass(frozen=True)
class Constant(_Unlearned):
    """Always the same multiplier: 1 bids the truth."""

    multiplier: float = 1.0
    needs_budget: ClassVar[bool] = False

    def start(self, shape: tuple[int, ...]) -> Floats:
        """See `Pacing.start`."""
        return np.full((1, *shape), self.multiplier)

    def following(self, state: Floats, report: Report) -> Floats:
        """See `Pacing.following`."""
        return state


@dataclass(frozen=True)
class Proportional(_Unlearned):
    """multiplier = start * (share of budget left) / (share of time left)."""

    multiplier: float = 1.0
    """At the start."""
    highest: float = 1.0
    """Upper limit of the multiplier; above 1 it bids more than its value."""

    def start(self, shape: tuple[int, ...]) -> Floats:
        """See `Pacing.start`."""
        return np.full((1, *shape), self.multiplier)

    def following(self, state: Floats, report: Report) -> Floats:
        """See `Pacing.following`."""
        ratio = report.budget_left / np.maximum(report.time_left, 1e-9)
        return np.minimum(self.multiplier * ratio, self.highest)[None]


@dataclass(frozen=True)
class PID(_Unlearned):
    """multiplier = start * exp(kp e + ki sum of e + kd change of e), e the shortfall of spend.

    Zhang et al., Feedback control of real-time display advertising (WSDM 2016).
    """

    multiplier: float = 1.0
    """At the start."""
    highest: float = 1.0
    """Upper limit of the multiplier; above 1 it bids more than its value."""
    kp: float = 0.1
    ki: float = 0.1
    kd: float = 0.0
    """0 because the spend of single ticks is mostly noise."""

    def start(self, shape: tuple[int, ...]) -> Floats:
        """See `Pacing.start`; rows: multiplier, sum of e, last e."""
        state = np.zeros((3, *shape))
        state[0] = self.multiplier
        return state

    def following(self, state: Floats, report: Report) -> Floats:
        """See `Pacing.following`."""
        _, total, last = state
        error = report.shortfall
        limit = _WINDUP / self.ki if self.ki > 0 else np.inf
        total = np.clip(total + error, -limit, limit)
        control = self.kp * error + self.ki * total + self.kd * (error - last)
        multiplier = np.minimum(self.multiplier * np.exp(control), self.highest)
        return np.stack([multiplier, total, error])


@dataclass(frozen=True)
class OnlineDual(_Unlearned):
    """Descends on the dual: lambda = 1 / multiplier rises when more is spent than planned.

    multiplier <- min(highest, multiplier * exp(step * e)), mirror descent with the entropy as
    distance. Balseiro and Gur (2019); Balseiro, Lu and Mirrokni (2020). It is `PID` with the
    integral alone, but for the limit.
    """

    multiplier: float = 1.0
    """At the start: 1 / lambda."""
    highest: float = 1.0
    """Upper limit of the multiplier; above 1 it bids more than its value."""
    step: float = 0.1

    def start(self, shape: tuple[int, ...]) -> Floats:
        """See `Pacing.start`."""
        return np.full((1, *shape), self.multiplier)

    def following(self, state: Floats, report: Report) -> Floats:
        """See `Pacing.following`."""
        return np.minimum(state * np.exp(self.step * report.shortfall), self.highest)


@dataclass(frozen=True)
class Hedge:
    """Bids the mean of a grid of multipliers, weighted by exp(rate * what each would have gained).

    Multiplicative weights with full feedback, which the minimum to win gives in practice. Freund
    and Schapire (1997). Ignores budgets.
    """

    lowest: float = 0.2
    levels: int = 17
    """Multipliers from `lowest` to 1."""
    rate: float = 50.0
    memory: float = 0.95
    """What remains of the older weights' logarithm after a tick; below 1 it follows changes."""
    needs_budget: ClassVar[bool] = False

    @property
    def grid(self) -> Floats:
        """See `Pacing.grid`."""
        return np.linspace(self.lowest, 1.0, self.levels)

    def start(self, shape: tuple[int, ...]) -> Floats:
        """See `Pacing.start`; rows: multiplier, then the K logarithms of the weights."""
        state = np.zeros((1 + self.levels, *shape))
        state[0] = self.grid.mean()
        return state

    def following(self, state: Floats, report: Report) -> Floats:
        """See `Pacing.following`."""
        logs = self.memory * state[1:] + self.rate * report.gains
        weights = np.exp(logs - logs.max(axis=0))
        # cumsum adds in order, so that a column is the same in any company; sum does not.
        moment = np.cumsum((self.grid * weights.T).T, axis=0)[-1]
        multiplier = moment / np.cumsum(weights, axis=0)[-1]
        return np.concatenate([multiplier[None], logs])

"""How an agent of `AdCampaign-v0` steers a flight: what it observes, and what its actions mean.

- `fields`: name and meaning of every component of the observation.
- `Steering`: observations and bids of one flight; the same in the environment and wherever a
  trained policy plays beside the baselines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.market.pacing import Report
from rllib_seq.envs.ad_auction.tick.requests import Requests
from rllib_seq.envs.ad_auction.tick.simulator import TickOutcome, TickSimulator

__all__ = ["PER_BUDGET", "REACH", "Steering", "fields", "ratio", "report", "squash"]

Floats = NDArray[np.float64]

PER_BUDGET = 100.0
"""Rewards over pacing are paid in % of the budget."""
REACH = 2.0
"""Around pacing, an action changes a multiplier by this factor at most, up or down."""


def fields(channels: Sequence[str], around_pacing: bool = False) -> list[tuple[str, str]]:
    """Name and meaning of the components of an observation, in order; all lie in [0, 1].

    `squashed` means x / (1 + x), so 1/2 is where the ratio x is 1; ratios without a denominator
    (nothing won, no target) count as 0.

    Args:
        channels: their names.
        around_pacing: see `TickConfig.actions`.
    """
    paced = [("pacing", "(1 + tanh(2 log x)) / 2, x the pacing rule's multiplier / at the start")]
    return [
        ("flight_left", "share of the flight's ticks that is left"),
        ("traffic_left", "share of the flight's expected requests that is left"),
        ("budget_left", "share of the budget that is left"),
        ("pace", "squashed: spend of the last tick / even pace of what was left before it"),
        ("price", "squashed: spend so far per count / target of the goal"),
        ("requests", "squashed: requests of this tick / mean requests per tick"),
        *((f"share_{c}", f"share of this tick's requests on {c}") for c in channels),
        *(
            (f"worth_{c}", f"squashed: mean worth of this tick's requests on {c} / typical worth")
            for c in channels
        ),
        *((f"won_{c}", f"win rate on {c} in the last tick") for c in channels),
        *(
            (f"paid_{c}", f"squashed: spend / worth of the impressions won on {c} in the last tick")
            for c in channels
        ),
        *(
            (f"to_win_{c}", f"squashed: mean minimum to win / mean worth on {c} in the last tick")
            for c in channels
        ),
        *((f"action_{c}", f"(1 + action on {c} in the last tick) / 2") for c in channels),
        *(paced if around_pacing else []),
    ]


class Steering:
    """Observations and bids of one flight.

    Args:
        simulator: has just been reset; it is stepped by the caller.
    """

    def __init__(self, simulator: TickSimulator) -> None:
        self._simulator = simulator
        world = simulator.world
        self._channels = len(world.channels)
        self._around = simulator.config.actions == "around_pacing"
        self._state = world.pacing.start(())
        self._start = float(self._state[0])
        self._pace = 0.0
        self._last = np.zeros((4, self._channels))  # win rate, paid, to win, action

    def multipliers(self, action: NDArray[np.floating]) -> Floats:
        """`[C]` multipliers of actions `[C]` in [-1, 1]."""
        if self._around:
            return float(self._state[0]) * REACH ** np.asarray(action, np.float64)
        return self._simulator.world.multiplier(action)

    def bids(self, action: NDArray[np.floating]) -> Floats:
        """`[n]` bids on the requests of the tick, currency units."""
        requests = self._simulator.requests
        return self.multipliers(action)[requests.channel] * requests.worth

    def update(
        self, requests: Requests, outcome: TickOutcome, action: NDArray[np.floating]
    ) -> None:
        """Remembers a tick.

        Args:
            requests: of the tick.
            outcome: what became of them.
            action: `[C]`, that was taken.
        """
        books = report(self._simulator, outcome)
        self._state = self._simulator.world.pacing.following(self._state, books)
        self._pace = ratio(books.spend, books.planned)

        def total(what: Floats) -> Any:
            return np.bincount(requests.channel, what, self._channels)

        won = outcome.won.astype(np.float64)
        win_rate = ratio(total(won), total(np.ones(len(won))))
        paid = squash(total(outcome.paid), total(won * requests.worth))
        to_win = squash(total(outcome.to_win), total(requests.worth))
        self._last = np.stack([win_rate, paid, to_win, (1.0 + action) / 2])

    def observe(self) -> NDArray[np.float32]:
        """The observation before the current tick, see `fields`."""
        simulator = self._simulator
        ledger, world, requests = simulator.ledger, simulator.world, simulator.requests
        goal = world.goal
        count = goal.count(np.asarray(ledger.conversions), np.asarray(ledger.value))
        allowed = goal.price * count if np.isfinite(goal.price) else 0.0
        number = np.bincount(requests.channel, minlength=self._channels)
        worth = np.bincount(requests.channel, requests.worth, self._channels)
        mean = simulator.config.requests_per_tick
        whole = [
            1.0 - simulator.tick / simulator.num_ticks,
            1.0 - simulator.planned[simulator.tick],
            ledger.budget_left,
            squash(self._pace, 1.0),
            squash(ledger.spend, allowed),
            squash(len(requests.worth), mean),
        ]
        now = [ratio(number, number.sum()), squash(worth, number * world.typical_worth)]
        moved = np.log(float(self._state[0]) / self._start)
        paced = [(1.0 + np.tanh(2.0 * moved)) / 2] if self._around else []
        observation = np.concatenate([whole, *now, *self._last, paced])
        return np.clip(observation, 0.0, 1.0).astype(np.float32)  # rounding alone


def report(simulator: TickSimulator, outcome: TickOutcome) -> Report:
    """The books of the tick that has just ended; single numbers."""
    ledger, planned = simulator.ledger, simulator.planned
    spend, before, now = outcome.paid.sum(), planned[simulator.tick - 1], planned[simulator.tick]
    plan = (ledger.remaining + spend) * (now - before) / (1.0 - before)
    spend, plan, budget_left, time_left = map(
        np.asarray, (spend, plan, ledger.budget_left, 1.0 - now)
    )
    return Report(spend, plan, budget_left, time_left, gains=np.empty(0))


def ratio(part: Any, whole: Any) -> Any:
    """Part / whole, 0 where the whole is 0."""
    whole = np.asarray(whole, np.float64)
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), 0.0)


def squash(part: Any, whole: Any) -> Any:
    """Part / (whole + part), that is x / (1 + x) of x = part / whole; 0 where the whole is 0."""
    whole = np.asarray(whole, np.float64)
    return np.where(whole > 0, part / np.where(whole > 0, whole + part, 1.0), 0.0)

"""Whom to compare with in tick mode, from ignorance to omniscience.

- `RandomMultipliers`: any action of `AdCampaign-v0`, again for every tick and channel.
- `FixedBid`: the same bid for every request.
- `PacedMultipliers`: multiplier * worth by a rule of `pacing`: truthful until broke, linear
  v / lambda, PID, online dual.
- `DualBids`: online dual descent on the budget and on the goal's price.
- `HindsightMultipliers`: buys the optimum of a rehearsal of the same flight.
- `best_constant`: the best constant of a family of bids on past flights.
- `ChannelMultipliers`, `best_multipliers`: one multiplier per channel, and the best of one flight.
- `tick_baselines`: all of them, fitted to past flights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from rllib_seq.envs.ad_auction.market.pacing import PID, Constant, OnlineDual, Pacing
from rllib_seq.envs.ad_auction.tick.requests import Requests
from rllib_seq.envs.ad_auction.tick.simulator import (
    TickOutcome,
    TickPolicy,
    TickSimulator,
    play_ticks,
)
from rllib_seq.envs.ad_auction.tick.steering import report
from rllib_seq.envs.ad_auction.tick.worlds import TickConfig

Floats = NDArray[np.float64]


class RandomMultipliers:
    """Uniform over the action space of `AdCampaign-v0`."""

    name = "random"

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)

    def start(self, simulator: TickSimulator) -> None:
        """See `TickPolicy.start`."""
        self._world = simulator.world

    def bids(self, requests: Requests) -> Floats:
        """See `TickPolicy.bids`."""
        multiplier = self._world.multiplier(self._rng.uniform(-1, 1, len(self._world.channels)))
        return multiplier[requests.channel] * requests.worth

    def update(self, outcome: TickOutcome) -> None:
        """Learns nothing."""


class FixedBid:
    """The same bid for every request, whatever it is worth.

    Args:
        bid: currency units.
    """

    name = "fixed"

    def __init__(self, bid: float) -> None:
        self.bid = bid

    def start(self, simulator: TickSimulator) -> None:
        """See `TickPolicy.start`."""

    def bids(self, requests: Requests) -> Floats:
        """See `TickPolicy.bids`."""
        return np.full(len(requests.worth), self.bid)

    def update(self, outcome: TickOutcome) -> None:
        """Learns nothing."""


class PacedMultipliers:
    """Bids multiplier * worth; the multiplier follows a pacing rule.

    Args:
        name: in tables.
        rule: whose multiplier.
    """

    def __init__(self, name: str, rule: Pacing) -> None:
        self.name = name
        self.rule = rule

    def start(self, simulator: TickSimulator) -> None:
        """See `TickPolicy.start`."""
        self._simulator = simulator
        self._state = self.rule.start(())

    def bids(self, requests: Requests) -> Floats:
        """See `TickPolicy.bids`."""
        return float(self._state[0]) * requests.worth

    def update(self, outcome: TickOutcome) -> None:
        """See `TickPolicy.update`."""
        self._state = self.rule.following(self._state, report(self._simulator, outcome))


class ChannelMultipliers:
    """The same multiplier of the worth for a whole flight, one for each channel.

    Args:
        multipliers: `[C]`.
    """

    name = "best multipliers"

    def __init__(self, multipliers: Floats) -> None:
        self.multipliers = multipliers

    def start(self, simulator: TickSimulator) -> None:
        """See `TickPolicy.start`."""

    def bids(self, requests: Requests) -> Floats:
        """See `TickPolicy.bids`."""
        return self.multipliers[requests.channel] * requests.worth

    def update(self, outcome: TickOutcome) -> None:
        """Learns nothing."""


class DualBids:
    """Online dual descent with two prices: mu of the budget, nu of the goal's price P.

    The Lagrangian of: maximize the count, spend <= budget, spend <= P * count, is largest at

        bid = count * (1 + nu * P) / (mu + nu) = worth * (1 + nu') / (mu' + nu'),

    mu' = mu * P and nu' = nu * P. Each price moves by exp(step * excess), the excess of the spend
    relative to the tick's plan, or to P times what was counted. Without nu it is `OnlineDual`.
    Feng, Padmanabhan and Wang, Online bidding algorithms for return-on-spend constrained
    advertisers (2023).

    Args:
        step: of both descents.
    """

    name = "online_dual"

    def __init__(self, step: float = 0.2) -> None:
        self.step = step

    def start(self, simulator: TickSimulator) -> None:
        """See `TickPolicy.start`."""
        self._simulator = simulator
        self._mu = self._nu = 1.0  # bids the worth

    def bids(self, requests: Requests) -> Floats:
        """See `TickPolicy.bids`."""
        self._channel = requests.channel
        return (1.0 + self._nu) / (self._mu + self._nu) * requests.worth

    def update(self, outcome: TickOutcome) -> None:
        """See `TickPolicy.update`."""
        world = self._simulator.world
        value = outcome.conversions * np.asarray(world.conversion_value)[self._channel]
        counted = float(world.goal.count(outcome.conversions, value).sum())
        books = report(self._simulator, outcome)
        allowed = world.goal.price * max(counted, 1e-9)
        excess = float(books.spend) / allowed - 1.0
        self._mu *= np.exp(-self.step * float(books.shortfall))
        self._nu *= np.exp(self.step * min(excess, 1.0))


class HindsightMultipliers:
    """Rehearses the flight without bidding, finds the optimum at its prices, and buys just that.

    The oracle of the flight where competitors have no memory. Where they answer, other prices may
    come up than in the rehearsal.
    """

    name = "hindsight"

    def start(self, simulator: TickSimulator) -> None:
        """See `TickPolicy.start`."""
        rehearsal = copy.deepcopy(simulator)
        play_ticks(rehearsal, FixedBid(0.0), simulator.seed)
        slot = rehearsal.hindsight().slot
        _, costs = rehearsal.past()  # of a slot that is bought, its price
        chosen = np.take_along_axis(costs, np.maximum(slot, 0)[:, None], axis=1)[:, 0]
        self._bids = np.where(slot >= 0, chosen, 0.0)
        self._next = 0

    def bids(self, requests: Requests) -> Floats:
        """See `TickPolicy.bids`."""
        first, self._next = self._next, self._next + len(requests.worth)
        return self._bids[first : self._next]

    def update(self, outcome: TickOutcome) -> None:
        """Knows all."""


def best_constant(
    make: Callable[[float], TickPolicy],
    simulator: TickSimulator,
    seeds: Sequence[int],
    low: float,
    high: float,
) -> float:
    """The constant whose policy scores most on past flights.

    Args:
        make: the policy of a constant.
        simulator: whose flights.
        seeds: of the past flights.
        low: bounds of the search, both above 0.
        high: the same.
    """

    def loss(log_constant: float) -> float:
        total = 0.0
        for seed in seeds:
            play_ticks(simulator, make(float(np.exp(log_constant))), seed)
            total -= simulator.score
        return total

    coarse = np.linspace(np.log(low), np.log(high), 12)
    best = int(np.argmin([loss(point) for point in coarse]))
    around = coarse[max(best - 1, 0)], coarse[min(best + 1, len(coarse) - 1)]
    found = optimize.minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": 0.01})
    return float(np.exp(found.x))


def best_multipliers(
    simulator: TickSimulator, seed: int, start: float, evaluations: int = 40
) -> Floats:
    """`[C]`: the multipliers that score most on one flight, by Nelder and Mead's search on it.

    They know the flight before it begins: what a policy of constant multipliers could earn.

    Args:
        simulator: whose flight.
        seed: of the flight.
        start: multiplier of all channels from which the search begins.
        evaluations: flights that the search plays.
    """

    def loss(log_multipliers: Floats) -> float:
        play_ticks(simulator, ChannelMultipliers(np.exp(log_multipliers)), seed)
        return -simulator.score

    channels = len(simulator.world.channels)
    centre = np.full(channels, np.log(start))
    # All together up and down first: the budget asks for that more than for their differences.
    corners = [centre - 0.1, *(centre + 0.1 - 0.2 * one for one in np.eye(channels))]
    found = optimize.minimize(
        loss,
        centre,
        method="Nelder-Mead",
        options={"initial_simplex": corners, "maxfev": evaluations, "xatol": 0.002, "fatol": 0.0},
    )
    return np.exp(found.x)


def tick_baselines(config: TickConfig, past_seeds: Sequence[int]) -> list[TickPolicy]:
    """All baselines of a world, weakest first.

    Args:
        config: whose world.
        past_seeds: the flights on which "fixed", "linear" and the starts of "pid" and
            "online_dual" are fitted.
    """
    simulator = TickSimulator(replace(config, conversions="expected"))
    world = simulator.world
    typical = float(np.max(np.multiply(world.probability, world.conversion_value)))
    bid = best_constant(FixedBid, simulator, past_seeds, typical / 20, typical * 20)
    highest = world.highest_multiplier
    linear = best_constant(
        lambda m: PacedMultipliers("linear", Constant(m)),
        simulator,
        past_seeds,
        1 / highest,
        highest,
    )
    online: TickPolicy = PacedMultipliers("online_dual", OnlineDual(linear, highest))
    if np.isfinite(world.goal.price):
        online = DualBids()
    return [
        RandomMultipliers(),
        FixedBid(bid),
        PacedMultipliers("until_broke", Constant(1.0)),
        PacedMultipliers("linear", Constant(linear)),
        PacedMultipliers("pid", PID(linear, highest)),
        online,
        HindsightMultipliers(),
    ]

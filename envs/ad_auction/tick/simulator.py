"""Tick mode: thousands of requests per step; the only place of a tick.

Nothing random depends on a bid: every purpose has a stream of its own, and a tick takes as many
draws from each as it has requests. Policies that play the same seed meet the same requests.

- `TickSimulator`: one flight in the market of a `TickWorld`.
- `TickOutcome`: what a bidder sees of a tick after they bid; before it, see `Requests`.
- `TickPolicy`, `play_ticks`: one flight under a bidding policy.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.market.bidders import Population
from rllib_seq.envs.ad_auction.market.competitors import Competitors
from rllib_seq.envs.ad_auction.market.objective import score
from rllib_seq.envs.ad_auction.references.hindsight import Optimum, optimum
from rllib_seq.envs.ad_auction.simulator.campaign import Ledger, affordable
from rllib_seq.envs.ad_auction.tick.requests import (
    Requests,
    clear_tick,
    draw_tick,
    random_streams,
    requests_of,
)
from rllib_seq.envs.ad_auction.tick.worlds import TICKS_PER_DAY, TickConfig

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class TickOutcome(NamedTuple):
    """What became of the requests of one tick, each `[n]`."""

    won: Bools
    paid: Floats
    """For impressions that were won and seen."""
    conversions: Floats
    """0 or 1, or, where expected conversions are counted, the probability."""
    to_win: Floats
    """The minimum to win a slot: the lowest price, at least the floor."""


class TickSimulator:
    """One flight, tick by tick.

    Args:
        config: the world and the experiment's choices.

    Attributes:
        requests: those of the current tick; none when the flight is over.
        ledger: what was bought.
        tick: index of the current tick.
        planned: `[T + 1]`, share of the flight's requests expected by the start of each tick.

    Examples:
        >>> simulator = TickSimulator(TickConfig(requests_per_tick=100))
        >>> simulator.reset(seed=7)
        >>> while not simulator.done:
        ...     outcome = simulator.step(0.5 * simulator.requests.worth)
        >>> simulator.ledger.requests, simulator.ledger.spend < simulator.ledger.budget
        (4595, True)
    """

    def __init__(self, config: TickConfig) -> None:
        self.config = config
        self.world = world = config.build_world()
        self.num_ticks = config.days * TICKS_PER_DAY
        plan = world.plan(config.days)
        self.planned = np.concatenate([[0.0], np.cumsum(plan)])
        self._mean_requests = plan * config.requests
        self._rivals: Competitors = Population(
            world.rivals,
            world.rival_values,
            world.auctions,
            plan,
            config.requests,
            world.regimes,
            world.exposure,
        )
        self._conversion_value = np.asarray(world.conversion_value)

    def reset(self, seed: int | np.random.SeedSequence) -> None:
        """Starts a new flight; the same seed gives the same flight."""
        if not isinstance(seed, np.random.SeedSequence):
            seed = np.random.SeedSequence(seed)
        self.seed = seed
        self._rng = random_streams(seed)
        self._rivals.reset([self._rng["regimes"]])
        self.ledger = Ledger(budget=self.world.budget * self.config.requests)
        self.tick = -1
        nothing = np.zeros((0, len(self.world.exposure)))
        self._past = [(nothing, nothing)]
        self._next_tick()

    @property
    def done(self) -> bool:
        """Whether the flight is over."""
        return self.tick == self.num_ticks

    @property
    def score(self) -> float:
        """Of the flight so far, see `objective.score`."""
        ledger, goal = self.ledger, self.world.goal
        count = goal.count(np.asarray(ledger.conversions), np.asarray(ledger.value))
        return float(score(count, ledger.spend, goal.price))

    def step(self, bids: Floats) -> TickOutcome:
        """Bids on the requests of the tick and moves on to the next.

        Args:
            bids: `[n]`, currency units per impression; 0 means no bid.

        Raises:
            ValueError: if there is not one number of at least 0 for each request, or the flight is
                over.
        """
        if self.done:
            raise ValueError("the flight is over; reset it first")
        bids = np.asarray(bids, np.float64)
        requests, world, ledger = self.requests, self.world, self.ledger
        if bids.shape != requests.worth.shape:
            raise ValueError(
                f"got bids of shape {bids.shape} for {len(requests.worth)} requests; give one each"
            )
        if not (bids >= 0).all():
            raise ValueError(f"a bid is {bids[~(bids >= 0)][0]}; bids are numbers of at least 0")
        won, seen, paid = clear_tick(world, bids, self._prices, requests.channel, self._visible)
        made = affordable(bids, paid, ledger.remaining)
        won, seen, paid = won & made, seen & made, np.where(made, paid, 0.0)
        self._rivals.observe(np.where(made, bids, 0.0))

        converts = requests.probability
        if self.config.conversions == "sampled":
            converts = (self._rng["conversion"].random(len(bids)) < converts).astype(np.float64)
        conversions = np.where(seen, converts, 0.0)
        ledger.requests += len(bids)
        ledger.wins += int(won.sum())
        ledger.spend += float(paid.sum())
        ledger.conversions += float(conversions.sum())
        ledger.value += float(conversions @ self._conversion_value[requests.channel])

        to_win = np.maximum(self._prices, world.auctions.floor[requests.channel][:, None])
        reach = self._visible[:, None] < np.asarray(world.exposure)
        self._past.append((requests.counts[:, None] * reach, to_win * reach))
        self._next_tick()
        return TickOutcome(won, paid, conversions, to_win[:, -1])

    def past(self) -> tuple[Floats, Floats]:
        """What each slot of the past requests would have brought, and at what price.

        Returns:
            Counts and costs, `[m, S]` each; both 0 where the slot would not have been seen.
        """
        counts, costs = zip(*self._past, strict=True)
        return np.concatenate(counts), np.concatenate(costs)

    def hindsight(self) -> Optimum:
        """The best that could have been bought of the past requests, at the prices that they had.

        With competitors that remember, other bids would have met other prices.
        """
        return optimum(*self.past(), self.ledger.budget, self.world.goal.price)

    def _next_tick(self) -> None:
        self.tick += 1
        mean = None if self.done else self._mean_requests[self.tick]
        draws = draw_tick(self._rng, self.world, mean, self._rivals.num_draws)
        self._visible, self.requests = draws.exposure, requests_of(self.world, draws)
        if not self.done:
            channel = self.requests.channel
            campaign, tick = np.zeros(len(channel), np.int64), np.array([self.tick])
            self._prices = self._rivals.prices(draws.values[:, :-1], channel, campaign, tick)


class TickPolicy(Protocol):
    """A bidding policy as `play_ticks` asks it."""

    name: str

    def start(self, simulator: TickSimulator) -> None:
        """A new flight begins."""

    def bids(self, requests: Requests) -> Floats:
        """`[n]` bids in currency units."""

    def update(self, outcome: TickOutcome) -> None:
        """What became of them."""


def play_ticks(
    simulator: TickSimulator, policy: TickPolicy, seed: int | np.random.SeedSequence
) -> Ledger:
    """Plays one flight to its end and returns its ledger."""
    simulator.reset(seed)
    policy.start(simulator)
    while not simulator.done:
        policy.update(simulator.step(policy.bids(simulator.requests)))
    return simulator.ledger

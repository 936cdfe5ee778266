"""Many flights of tick mode side by side, for training: one array operation for all.

- `TickFlights`: E flights with actions around pacing, each bit by bit what an `AdCampaignEnv` with
  `actions="around_pacing"` and `reward="over_pacing"` is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.market.bidders import Population
from rllib_seq.envs.ad_auction.market.objective import score
from rllib_seq.envs.ad_auction.market.pacing import Report
from rllib_seq.envs.ad_auction.simulator.campaign import Groups, Ledgers
from rllib_seq.envs.ad_auction.tick.requests import (
    Draws,
    clear_tick,
    draw_tick,
    random_streams,
    requests_of,
)
from rllib_seq.envs.ad_auction.tick.steering import PER_BUDGET, REACH, fields, ratio, squash
from rllib_seq.envs.ad_auction.tick.worlds import TICKS_PER_DAY, TickConfig

__all__ = ["TickFlights"]

Floats = NDArray[np.float64]


class TickFlights:
    """E flights in lockstep, and beside each the same under the pacing rule alone.

    Args:
        config: the world; actions are around pacing, rewards over pacing, conversions expected.
        num_flights: E.

    Attributes:
        tick: index of the current tick, of all flights.
    """

    def __init__(self, config: TickConfig, num_flights: int) -> None:
        if (config.actions, config.reward, config.conversions) != (
            *("around_pacing", "over_pacing", "expected"),
        ):
            raise ValueError(
                f"actions is {config.actions!r}, reward {config.reward!r} and conversions "
                f"{config.conversions!r}; flights side by side have 'around_pacing', "
                "'over_pacing' and 'expected'"
            )
        self.config, self.num_flights = config, num_flights
        self.world = world = config.build_world()
        self.num_ticks = config.days * TICKS_PER_DAY
        plan = world.plan(config.days)
        self._planned = np.concatenate([[0.0], np.cumsum(plan)])
        self._mean_requests = plan * config.requests
        self._rivals = Population(
            *(world.rivals, world.rival_values, world.auctions, plan, config.requests),
            *(world.regimes, world.exposure),
        )
        self._conversion_value = np.asarray(world.conversion_value)
        self._channels = len(world.channels)
        self._budget = world.budget * config.requests
        self.width = len(fields(world.channels, around_pacing=True))

    def reset(self, seeds: Sequence[np.random.SeedSequence]) -> NDArray[np.float32]:
        """Starts E flights, of these seeds; returns the first observations `[E, D]`."""
        self._rngs = [random_streams(seed) for seed in seeds]
        again = [random_streams(seed)["regimes"] for seed in seeds]
        self._rivals.reset([*(rng["regimes"] for rng in self._rngs), *again])
        both = 2 * self.num_flights
        self._ledgers = Ledgers(both, self._budget)
        self._state = self.world.pacing.start((both,))
        self._start = self._state[0, 0]
        self._score, self._pace = np.zeros(both), np.zeros(both)
        self._last = np.zeros((4, self.num_flights, self._channels))
        self.tick = -1
        self._next_tick()
        return self._observe()

    @property
    def done(self) -> bool:
        """Whether the flights are over."""
        return self.tick == self.num_ticks

    def step(self, actions: NDArray[np.floating]) -> tuple[NDArray[np.float32], Floats]:
        """Bids on the requests of a tick.

        Args:
            actions: `[E, C]` in [-1, 1].

        Returns:
            The next observations `[E, D]`, and rewards `[E]`.
        """
        world, ledgers, flights = self.world, self._ledgers, self.num_flights
        reach = REACH ** np.asarray(actions, np.float64)
        multiplier = self._state[0][:, None] * np.concatenate([reach, np.ones_like(reach)])
        bids = multiplier[self._campaign, self._channel] * self._worth
        won, seen, paid = clear_tick(world, bids, self._prices, self._channel, self._visible)
        groups = Groups.of(self._campaign, 2 * flights)
        made = ledgers.affordable(groups, bids, paid)
        won, seen, paid = won & made, seen & made, np.where(made, paid, 0.0)
        self._rivals.observe(np.where(made, bids, 0.0))
        conversions = np.where(seen, self._probability, 0.0)
        value = conversions * self._conversion_value[self._channel]
        remaining = self._budget - ledgers.total("spend")
        ledgers.add(groups, wins=won, spend=paid, conversions=conversions, value=value)
        spend = remaining - (self._budget - ledgers.total("spend"))

        before, now = self._planned[self.tick], self._planned[self.tick + 1]
        plan = remaining * (now - before) / (1.0 - before)
        left = np.full(2 * flights, 1.0 - now)
        nothing = np.empty((0, 2 * flights))
        books = Report(spend, plan, ledgers.budget_left, left, nothing)
        self._state = world.pacing.following(self._state, books)
        self._pace = ratio(spend, plan)
        self._remember(won, paid, actions)
        count = world.goal.count(ledgers.total("conversions"), ledgers.total("value"))
        new = np.array(score(count, ledgers.total("spend"), world.goal.price))  # not a view
        growth, self._score = new - self._score, new
        worth = world.goal.unit * (growth[:flights] - growth[flights:])
        self._next_tick()
        return self._observe(), PER_BUDGET * worth / self._budget

    def _remember(
        self, won: NDArray[np.bool_], paid: Floats, actions: NDArray[np.floating]
    ) -> None:
        ours = slice(0, int((self._campaign < self.num_flights).sum()))
        worth, wins = self._worth[ours], won[ours].astype(np.float64)
        floor = self.world.auctions.floor[self._channel[ours]]
        to_win = np.maximum(self._prices[ours, -1], floor)
        self._last = np.stack(
            [
                ratio(self._total(wins), self._total(np.ones(len(wins)))),
                squash(self._total(paid[ours]), self._total(wins * worth)),
                squash(self._total(to_win), self._total(worth)),
                (1.0 + np.asarray(actions)) / 2,
            ]
        )

    def _total(self, what: Floats) -> Floats:
        """`[E, C]`: sums of `[n]` over the requests of each flight and channel."""
        at = self._campaign[: len(what)] * self._channels + self._channel[: len(what)]
        size = self.num_flights * self._channels
        sums = np.bincount(at, what, size).astype(np.float64)
        return sums.reshape(self.num_flights, self._channels)

    def _next_tick(self) -> None:
        self.tick += 1
        mean = None if self.done else self._mean_requests[self.tick]
        drawn = [draw_tick(rng, self.world, mean, self._rivals.num_draws) for rng in self._rngs]
        draws = Draws(*map(np.concatenate, zip(*drawn, strict=True)))
        requests = requests_of(self.world, draws)
        number = [len(each.channel) for each in drawn]
        campaign = np.repeat(np.arange(self.num_flights), number)
        # Of each flight the same requests a second time, for the pacing rule alone.
        self._campaign = np.concatenate([campaign, campaign + self.num_flights])
        self._channel, self._visible = np.tile(requests.channel, 2), np.tile(draws.exposure, 2)
        self._probability, self._worth = (
            np.tile(requests.probability, 2),
            np.tile(requests.worth, 2),
        )
        if not self.done:
            tick = np.full(2 * self.num_flights, self.tick)
            self._prices = self._rivals.prices(
                np.tile(draws.values[:, :-1], (2, 1)), self._channel, self._campaign, tick
            )

    def _observe(self) -> NDArray[np.float32]:
        flights, world, goal = self.num_flights, self.world, self.world.goal
        ledgers, mean = self._ledgers, self.config.requests_per_tick
        count = goal.count(ledgers.total("conversions"), ledgers.total("value"))[:flights]
        allowed = goal.price * count if np.isfinite(goal.price) else np.zeros(flights)
        ours = slice(0, len(self._campaign) // 2)
        number, worth = self._total(np.ones(ours.stop)), self._total(self._worth[ours])
        requests = number.sum(axis=1)
        whole = [
            np.full(flights, 1.0 - self.tick / self.num_ticks),
            np.full(flights, 1.0 - self._planned[self.tick]),
            ledgers.budget_left[:flights],
            squash(self._pace[:flights], 1.0),
            squash(ledgers.total("spend")[:flights], allowed),
            squash(requests, mean),
        ]
        moved = np.log(self._state[0, :flights] / self._start)
        observation = np.concatenate(
            [
                np.stack(whole, axis=1),
                ratio(number, requests[:, None]),
                squash(worth, number * world.typical_worth),
                *self._last,
                ((1.0 + np.tanh(2.0 * moved)) / 2)[:, None],
            ],
            axis=1,
        )
        return np.clip(observation, 0.0, 1.0).astype(np.float32)

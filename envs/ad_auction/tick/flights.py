"""Many flights of tick mode side by side, for training: one array operation for all.

- `TickFlights`: E flights with actions around pacing, each bit by bit what an `AdCampaignEnv` with
  `actions="around_pacing"` and `reward="over_pacing"` is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.market.auctions import own_slot
from rllib_seq.envs.ad_auction.market.bidders import Population
from rllib_seq.envs.ad_auction.market.objective import score
from rllib_seq.envs.ad_auction.market.pacing import Report
from rllib_seq.envs.ad_auction.simulator.campaign import Groups, Ledgers
from rllib_seq.envs.ad_auction.tick.simulator import STREAMS
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
        self._exposure = np.append(world.exposure, 0.0)
        self._conversion_value = np.asarray(world.conversion_value)
        self._channels = len(world.channels)
        self._budget = world.budget * config.requests
        self.width = len(fields(world.channels, around_pacing=True))

    def reset(self, seeds: Sequence[np.random.SeedSequence]) -> NDArray[np.float32]:
        """Starts E flights, of these seeds; returns the first observations `[E, D]`."""
        self._rngs = [
            [
                np.random.default_rng(
                    np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, i))
                )
                for i in range(len(STREAMS))
            ]
            for seed in seeds
        ]
        regimes = STREAMS.index("regimes")
        rngs = [rngs[regimes] for rngs in self._rngs]
        again = [
            np.random.default_rng(
                np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, regimes))
            )
            for seed in seeds
        ]
        self._rivals.reset([*rngs, *again])
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
        floor = world.auctions.floor[self._channel]
        if len(world.exposure) == 1:
            won, price = world.auctions.clear(bids, self._prices[:, 0], self._channel)
            slot = np.where(won, 0, 1)
        else:
            slot, price = own_slot(bids, self._prices, floor)
            won = slot < len(world.exposure)
        seen = self._visible < self._exposure[slot]
        paid = np.where(seen, price, 0.0)
        groups = Groups.of(self._campaign, 2 * flights)
        made = ledgers.affordable(groups, bids, paid)
        won, seen, paid = won & made, seen & made, np.where(made, paid, 0.0)
        self._rivals.observe(np.where(made, bids, 0.0))
        conversions = np.where(seen, self._probability, 0.0)
        value = conversions * self._conversion_value[self._channel]
        remaining = self._budget - ledgers.total("spend")
        ledgers.add(groups, wins=won, spend=paid, conversions=conversions, value=value)
        spend = self._budget - ledgers.total("spend")
        spend = remaining - spend

        before, now = self._planned[self.tick], self._planned[self.tick + 1]
        plan = remaining * (now - before) / (1.0 - before)
        left = np.full(2 * flights, 1.0 - now)
        nothing = np.empty((0, 2 * flights))
        books = Report(spend, plan, ledgers.budget_left, left, nothing)
        self._state = world.pacing.following(self._state, books)
        self._pace = ratio(spend, plan)
        self._remember(won, paid, floor, actions)
        count = world.goal.count(ledgers.total("conversions"), ledgers.total("value"))
        new = np.array(score(count, ledgers.total("spend"), world.goal.price))  # not a view
        growth, self._score = new - self._score, new
        worth = world.goal.unit * (growth[:flights] - growth[flights:])
        self._next_tick()
        return self._observe(), PER_BUDGET * worth / self._budget

    def _remember(
        self, won: NDArray[np.bool_], paid: Floats, floor: Floats, actions: NDArray[np.floating]
    ) -> None:
        ours = slice(0, int((self._campaign < self.num_flights).sum()))
        worth, wins = self._worth[ours], won[ours].astype(np.float64)
        to_win = np.maximum(self._prices[ours, -1], floor[ours])
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
        world = self.world
        drawn: list[tuple[Any, ...]] = []
        for rngs in self._rngs:
            rng, n = dict(zip(STREAMS, rngs, strict=True)), 0
            if not self.done:
                noise = world.traffic_noise * rng["traffic"].standard_normal()
                noise -= world.traffic_noise**2 / 2
                n = int(rng["traffic"].poisson(self._mean_requests[self.tick] * np.exp(noise)))
            drawn.append(
                (
                    rng["channel"].random(n),
                    rng["values"].random((n, self._rivals.num_draws + 1)),
                    rng["exposure"].random(n),
                )
            )
        number = np.array([len(of_channel) for of_channel, *_ in drawn])
        which, uniforms, visible = map(np.concatenate, zip(*drawn, strict=True))
        share = np.cumsum(world.channel_share)[:-1]
        channel = np.searchsorted(share, which, side="right")
        campaign = np.repeat(np.arange(self.num_flights), number)
        own = world.own_values.draw(uniforms[:, [0, -1]], channel)[:, 0]
        probability = np.minimum(own, 1.0)
        counts = world.goal.count(probability, probability * self._conversion_value[channel])
        worth = world.goal.unit * counts
        # Of each flight the same requests a second time, for the pacing rule alone.
        self._campaign = np.concatenate([campaign, campaign + self.num_flights])
        self._channel, self._visible = np.tile(channel, 2), np.tile(visible, 2)
        self._probability, self._worth = np.tile(probability, 2), np.tile(worth, 2)
        if not self.done:
            tick = np.full(2 * self.num_flights, self.tick)
            self._prices = self._rivals.prices(
                np.tile(uniforms[:, :-1], (2, 1)), self._channel, self._campaign, tick
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

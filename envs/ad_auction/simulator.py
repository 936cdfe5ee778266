"""The simulator: one clock, one market, one budget, many users; the only place of a step.

Everything random is drawn at the reset, one uniform per user, request and purpose, each purpose
from a stream of its own. A bid therefore changes what happens to its user, never what any other
draw will be, and policies that play the same seed are paired request by request.

- `AuctionSimulator`: struct of arrays over the users; serves the pending requests in order.
- `Outcome`: what became of the requests of one step.
- `play`: one campaign under a bidding policy.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from envs.ad_auction import features, users
from envs.ad_auction.campaign import Ledger, affordable
from envs.ad_auction.market import AUCTIONS
from envs.ad_auction.presets import AuctionConfig
from envs.ad_auction.values import Regret

__all__ = ["AuctionSimulator", "BidPolicy", "Outcome", "play"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Each purpose has its own child of the seed; append new ones, never reorder.
_STREAMS = ("arrival", "gap", "channel", "price", "stage", "delay", *users.Draws._fields)
_NEVER = np.iinfo(np.int64).max
_NONE: NDArray[np.int64] = np.empty(0, np.int64)


class Outcome(NamedTuple):
    """What became of `n` requests, each `[n]`."""

    won: Bools
    paid: Floats
    clicked: Bools
    visited: Bools
    converted: Bools
    """Includes conversions that will happen later; the ledger counts them when they do."""
    churned: Bools
    conversion_probability: Floats
    """Given the hidden stage; for rewards and calibration, never for an observation."""


class AuctionSimulator:
    """A campaign in the multi-user ad auction.

    Args:
        config: the world and the experiment's choices.

    Example:
        >>> simulator = AuctionSimulator(AuctionConfig(num_users=3))
        >>> simulator.reset(seed=7)
        >>> while not simulator.done:
        ...     outcome = simulator.step(np.full(len(simulator.pending), 0.05))
        >>> simulator.ledger.requests
        71.0
    """

    def __init__(self, config: AuctionConfig) -> None:
        self.config = config
        self.preset = config.build_preset()
        self.num_users = config.num_users
        self.observation_space = features.observation_space(self.preset.users.channels)
        self.pending: Ints = _NONE
        """Users whose requests are due now, in the order in which they are served."""
        # An end of a journey is then a probability and not an event, see `AuctionConfig.reward`.
        self._nobody_leaves = config.reward != "sampled"
        self._regret = Regret(self.preset) if config.reward == "regret" else None
        self._clear = AUCTIONS[self.preset.auction]
        model = self.preset.users
        self._flight = self.preset.flight_hours
        if np.isinf(self._flight):  # when most users are through
            self._flight = model.arrival_hours + model.requests_per_user * model.mean_gap_hours

    def reset(self, seed: int | np.random.SeedSequence) -> None:
        """Starts a new campaign; the same seed gives the same campaign."""
        if not isinstance(seed, np.random.SeedSequence):
            seed = np.random.SeedSequence(seed)
        self.hour = 0.0
        model = self.preset.users
        shape = (self.num_users, model.requests_per_user)
        # Not seed.spawn(): it counts its calls, and a second reset would differ.
        draws = {
            name: np.random.default_rng(
                np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, i))
            ).random(shape)
            for i, name in enumerate(_STREAMS)
        }
        self._hours = model.request_hours(draws["arrival"][:, 0], draws["gap"][:, 1:])
        self._hours[self._hours >= self.preset.flight_hours] = _NEVER
        self._channel = _categorical(model.channel_share, draws["channel"])
        self._price = self.preset.prices.ppf(draws["price"])
        self._delay = np.zeros(shape) if model.delay is None else model.delay.ppf(draws["delay"])
        if self._nobody_leaves:
            draws["conversion"] = draws["churn"] = np.ones(shape)
        self._reaction_draws = users.Draws(*(draws[name] for name in users.Draws._fields))

        self.stage = _categorical(model.initial_share, draws["stage"][:, 0])
        """Hidden `[U]`: for oracles and analysis, never for a policy that is to be judged."""
        self.request = np.zeros(self.num_users, np.int64)
        """`[U]`: index of the user's next request."""
        self.ended = np.zeros(self.num_users, np.bool_)
        """`[U]`: the journey is over and everything it brought has been paid out."""
        self.ledger = Ledger(budget=self.preset.budget_per_user * self.num_users)
        self._clicked = np.zeros(self.num_users, np.bool_)
        self._visited = np.zeros(self.num_users, np.bool_)
        self._last_profit = np.zeros(self.num_users)
        self._reward = np.zeros(self.num_users)
        self._presence = np.ones(self.num_users)
        self._next_hour = self._hours[:, 0].copy()
        self._conversion_hour = np.full(self.num_users, np.inf)
        self.ended |= self._next_hour == _NEVER
        self._move_clock()

    @property
    def done(self) -> bool:
        """Whether every journey has ended."""
        return len(self.pending) == 0

    def channel(self, users: Ints) -> Ints:
        """`[n]`: channel of the users' next request; -1 where the journey has ended."""
        last = self.preset.users.requests_per_user - 1
        channel = self._channel[users, np.minimum(self.request[users], last)]
        return np.where(self._next_hour[users] == _NEVER, -1, channel)

    def observe(self, users: Ints) -> NDArray[np.float32]:
        """float32 `[n, D]`: what the bidder sees of the users' next requests."""
        paced = np.isfinite(self.ledger.budget)
        return features.build(
            self.channel(users),
            self._clicked[users],
            self._visited[users],
            self._last_profit[users],
            budget_left=self.ledger.budget_left,
            flight_left=max(0.0, 1.0 - self.hour / self._flight) if paced else 1.0,
            num_channels=len(self.preset.users.channels),
        )

    def take_rewards(self, users: Ints) -> Floats:
        """`[n]`: what the users brought since it was last asked, by the config's `reward`."""
        reward = self._reward[users]
        self._reward[users] = 0.0
        return reward

    def step(self, bids: Floats) -> Outcome:
        """Serves the first `n` pending requests.

        Args:
            bids: `[n]`, currency units; 0 means no bid.

        Raises:
            ValueError: if a bid is negative or not a number, or there are too many.
        """
        bids = np.asarray(bids, np.float64)
        if len(bids) > len(self.pending):
            raise ValueError(f"got {len(bids)} bids for {len(self.pending)} pending requests")
        if not (bids >= 0).all():
            bad = bids[~(bids >= 0)][0]
            raise ValueError(f"a bid is {bad}; bids are numbers of at least 0")
        who, self.pending = self.pending[: len(bids)], self.pending[len(bids) :]
        at = (who, self.request[who])

        price, floor = self._price[at], self.preset.floor
        won, paid = self._clear(bids, price, floor)
        presence = self._presence[who]
        made = affordable(presence * bids, presence * paid, self.ledger.remaining)
        bids, won, paid = np.where(made, bids, 0.0), won & made, np.where(made, paid, 0.0)
        draws = users.Draws(*(draw[at] for draw in self._reaction_draws))
        reaction = users.advance(self.preset.users, self.stage[who], self._channel[at], won, draws)
        self._book(who, bids, won, paid, reaction, self._delay[at])
        if len(self.pending) == 0:
            self._move_clock()
        return Outcome(
            won,
            paid,
            reaction.clicked,
            reaction.visited,
            reaction.converted,
            reaction.churned,
            reaction.conversion_probability,
        )

    def _book(
        self,
        who: Ints,
        bids: Floats,
        won: Bools,
        paid: Floats,
        reaction: users.Reaction,
        delay: Floats,
    ) -> None:
        """Writes one step's results into the users' state and the ledger."""
        ledger, preset = self.ledger, self.preset
        request, stage = self.request[who], self.stage[who]
        last = preset.users.requests_per_user - 1
        upcoming = self._hours[who, np.minimum(request + 1, last)]
        upcoming = np.where(request == last, _NEVER, upcoming)

        # How much these users count: the probability that they are still there, if nobody leaves.
        presence = self._presence[who]
        if self._nobody_leaves:
            self._presence[who] *= 1.0 - reaction.departure_probability
        ledger.requests += float(presence.sum())
        ledger.wins += float(presence @ won)
        ledger.spend += float(presence @ paid)
        ledger.clicks += float(presence @ reaction.clicked)
        ledger.visits += float(self._presence[who] @ reaction.visited)  # of those who stayed

        cost = (1.0 + preset.shadow_price) * paid
        in_flight = 1.0
        if preset.users.delay is not None:
            in_flight = float(preset.users.delay.cdf(preset.flight_hours - self.hour))
        if self._nobody_leaves:
            caused = presence * reaction.conversion_probability
            ledger.value += preset.value * in_flight * float(caused.sum())
            ledger.conversions += in_flight * float(caused.sum())
            ledger.censored += (1.0 - in_flight) * float(caused.sum())
        if self._regret is not None:
            channel, more = self._channel[who, request], upcoming != _NEVER
            regret = self._regret(bids, request, stage, channel, more, in_flight)
            self._reward[who] += presence * regret
        elif self._nobody_leaves:
            self._reward[who] += preset.value * in_flight * caused - presence * cost
        else:
            self._reward[who] -= cost

        self._last_profit[who] = -cost / preset.value
        self._clicked[who] = reaction.clicked
        self._visited[who] = reaction.visited
        self.stage[who] = reaction.stage
        self.request[who] += 1
        self._next_hour[who] = np.where(reaction.converted | reaction.churned, _NEVER, upcoming)

        happens = np.where(reaction.converted, self.hour + delay, np.inf)
        censored = reaction.converted & (happens > preset.flight_hours)
        ledger.censored += int(censored.sum())
        self._conversion_hour[who] = np.where(censored, np.inf, happens)
        waiting = reaction.converted & ~censored
        self.ended[who] = (self._next_hour[who] == _NEVER) & ~waiting
        if preset.users.delay is None:
            self._deliver(self.hour)

    def _deliver(self, until: float) -> None:
        """Pays out the conversions that happen up to this hour."""
        due = np.flatnonzero(np.isfinite(self._conversion_hour) & (self._conversion_hour <= until))
        if len(due) == 0:
            return
        value = self.preset.value
        self._conversion_hour[due] = np.inf
        self.ledger.conversions += len(due)
        self.ledger.value += value * len(due)
        self._reward[due] += value
        self.ended[due] = True

    def _move_clock(self) -> None:
        """Moves to the next hour that has requests; past the last, to the end of the flight."""
        upcoming = int(self._next_hour.min())
        if upcoming == _NEVER:
            self.pending = _NONE
            self._deliver(self.preset.flight_hours)
            return
        self.hour = float(upcoming)
        self._deliver(self.hour)
        self.pending = np.flatnonzero(self._next_hour == upcoming)


def _categorical(share: Floats, uniforms: Floats) -> Ints:
    """Index of the category in which each uniform falls."""
    return np.searchsorted(np.cumsum(share)[:-1], uniforms, side="right")


class BidPolicy(Protocol):
    """A bidding policy as `play` asks it."""

    name: str

    def start(self, simulator: AuctionSimulator) -> None:
        """A new campaign begins."""

    def bids(self, users: Ints) -> Floats:
        """`[n]` bids in currency units for the first n of these users, whose requests are due."""

    def update(self, users: Ints, outcome: Outcome) -> None:
        """What became of them."""


def play(
    simulator: AuctionSimulator, policy: BidPolicy, seed: int | np.random.SeedSequence
) -> Ledger:
    """Plays one campaign to its end and returns its ledger."""
    simulator.reset(seed)
    policy.start(simulator)
    while not simulator.done:
        bids = policy.bids(who := simulator.pending)
        policy.update(who[: len(bids)], simulator.step(bids))
    return simulator.ledger

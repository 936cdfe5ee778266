"""Competitors with values, budgets and pacing of their own, auctions x bidders in lockstep.

- `Bidder`: one competitor: how they pace, their budget, the scale of their values.
- `Population`: all of them in one market; a `competitors.Competitors`.

Within a tick their multipliers stand still; between ticks they see what they won and paid, which
depends on our earlier bids. `Constant` bidders without budgets have no memory at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.market.auctions import ChannelAuctions, gsp, top_two
from rllib_seq.envs.ad_auction.market.pacing import Constant, Pacing, Report
from rllib_seq.envs.ad_auction.market.valuations import Regimes, ValueModel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Bidder:
    """One competitor."""

    pacing: Pacing = field(default_factory=Constant)
    budget: float = math.inf
    """Hard limit on their spend: currency units per expected request of the flight."""
    value: float = 1.0
    """Factor on the values that the model draws for them."""

    def __post_init__(self) -> None:
        """Raises ValueError for a pacing rule that has nothing to pace."""
        if self.pacing.needs_budget and math.isinf(self.budget):
            raise ValueError(f"{self.pacing} paces a budget, and the bidder has none; give one")
        if not (self.budget > 0 and self.value >= 0):
            raise ValueError(
                f"budget is {self.budget} and value {self.value}; give a budget above 0 and a "
                "value of at least 0"
            )


class Population:
    """Bidders in one market, for E campaigns in lockstep; see `competitors.Competitors`.

    A competitor never overspends: it stops bidding for the rest of the tick before what they could
    have to pay in it at most, given what the others let it win, exceeds the budget. That
    bound does not depend on our bids. Requests may come in batches of any size: the result is the
    same to the last bit.

    Args:
        bidders: B of them.
        values: what requests are worth to them.
        auctions: the rules of the channels, when there is one slot.
        plan: `[T]`, share of the flight's expected requests in each tick.
        requests: expected requests of the flight, which scale the budgets.
        regimes: jumps of the values over the flight.
        exposure: `[S]`, probability that an ad in each slot is seen, and paid for. More than one
            slot is sold by GSP with the floors of `auctions`.

    Attributes:
        spent: `[E, B]`, spend in the flight so far.
        multiplier: `[E, B]`, of the current tick.

    Examples:
        >>> from rllib_seq.envs.ad_auction.market.valuations import UniformValues
        >>> rules = ChannelAuctions(np.zeros(1), np.zeros(1))
        >>> rivals = Population([Bidder(), Bidder()], UniformValues(), rules, np.ones(4) / 4, 8.0)
        >>> rivals.reset([np.random.default_rng(0)])
        >>> zero = np.zeros(2, np.int64)
        >>> rivals.prices(np.array([[0.1, 0.4], [0.8, 0.3]]), zero, zero, zero[:1])
        array([[0.4],
               [0.8]])
        >>> rivals.observe(np.array([0.2, 0.9]))
        >>> rivals.spent
        array([[0. , 0.2]])
    """

    def __init__(
        self,
        bidders: Sequence[Bidder],
        values: ValueModel,
        auctions: ChannelAuctions,
        plan: Floats,
        requests: float,
        regimes: Regimes | None = None,
        exposure: Sequence[float] = (1.0,),
    ) -> None:
        self.bidders = list(bidders)
        self.num_draws = values.num_draws(len(self.bidders))
        self.num_slots = len(exposure)
        self._values = values
        self._auctions = auctions
        self._planned = np.concatenate([[0.0], np.cumsum(plan)])  # by the start of each tick
        self._regimes = regimes
        self._exposure = np.asarray(exposure, np.float64)
        self._budget = np.array([bidder.budget * requests for bidder in self.bidders])
        self._scale = np.array([bidder.value for bidder in self.bidders])
        self._grids = {
            i: bidder.pacing.grid
            for i, bidder in enumerate(self.bidders)
            if len(bidder.pacing.grid)
        }
        if self._grids and self.num_slots > 1:
            learner = self.bidders[next(iter(self._grids))].pacing
            raise ValueError(
                f"{learner} learns the prices of one slot, and there are {self.num_slots}; give "
                "another rule"
            )

    def reset(self, rngs: Sequence[np.random.Generator], campaigns: Ints | None = None) -> None:
        """See `Competitors.reset`."""
        if campaigns is None:
            campaigns = np.arange(len(rngs))
            self._allocate(len(rngs))
        of_tick = (self._spent_before, self._could_pay, self._stopped)
        of_learners = (*self._gains.values(), *self._offered.values())
        for books in (self.spent, self._tick, *of_tick, *of_learners):
            books[campaigns] = 0
        for i, bidder in enumerate(self.bidders):
            self._states[i][:, campaigns] = bidder.pacing.start((len(campaigns),))
            self.multiplier[campaigns, i] = self._states[i][0, campaigns]
        if self._regimes is not None:
            for campaign, rng in zip(campaigns, rngs, strict=True):
                ticks, levels = self._regimes.draw(rng, len(self._planned) - 1, len(self.bidders))
                self._jumps[campaign], self._levels[campaign] = ticks, levels

    def prices(self, uniforms: Floats, channel: Ints, campaign: Ints, tick: Ints) -> Floats:
        """See `Competitors.prices`."""
        bids = self.bids(uniforms, channel, campaign, tick)
        if self.num_slots == 1:
            return self._top.best[:, None]
        return np.sort(bids, axis=1)[:, : -self.num_slots - 1 : -1]

    def bids(self, uniforms: Floats, channel: Ints, campaign: Ints, tick: Ints) -> Floats:
        """All competing bids `[n, B]`; `prices` are the highest of them."""
        self._close_books(np.asarray(tick))
        scale = np.broadcast_to(self._scale, self._shape)
        if self._regimes is not None:
            regime = (self._jumps <= self._tick[:, None]).sum(axis=1)
            scale = scale * self._levels[np.arange(len(regime)), regime]
        self._channel, self._campaign, self._level = channel, campaign, scale
        self._worth = self._values.draw(uniforms, channel)  # at level 1
        multiplier = np.where(self._stopped, 0.0, self.multiplier)
        self._factor = scale * multiplier
        self._bids = self._worth * self._rows(self._factor)
        if self.num_slots == 1:
            self._top = top_two(self._bids)
        if np.isfinite(self._budget).any():
            self._stop_before_broke()
        return self._bids

    @property
    def factor(self) -> Floats:
        """`[E, B]`, what each multiplies their values by in this tick; 0 once they have stopped."""
        return np.where(self._stopped, 0.0, self._factor)

    def observe(self, own_bids: Floats) -> None:
        """See `Competitors.observe`."""
        if self.num_slots > 1:
            floor = self._auctions.floor[self._channel]
            slots = gsp(np.column_stack([own_bids, self._bids]), self.num_slots, floor=floor)
            theirs = slots.bidder > 0
            paid = np.where(theirs, self._exposure * slots.price, 0.0)
            self._pay(np.where(theirs, slots.bidder - 1, 0), paid)
            return
        winner, best, runner_up = self._top
        _, paid = self._auctions.clear(best, np.maximum(runner_up, own_bids), self._channel)
        self._pay(winner[:, None], np.where(best > own_bids, paid, 0.0)[:, None])
        for i, grid in self._grids.items():
            others = np.maximum(np.where(winner == i, runner_up, best), own_bids)[:, None]
            worth = (self._worth[:, i] * self._rows(self._level)[:, i])[:, None]
            won, paid = self._auctions.clear(worth * grid, others, self._channel[:, None])  # (n, K)
            at = self._campaign[:, None] * len(grid) + np.arange(len(grid))
            _add(self._gains[i], at, won * worth - paid)
            _add(self._offered[i], self._campaign, worth)

    def _allocate(self, num_campaigns: int) -> None:
        self._shape = shape = num_campaigns, len(self.bidders)
        self.spent, self.multiplier = np.zeros(shape), np.zeros(shape)
        self._tick = np.zeros(num_campaigns, np.int64)
        self._states = [bidder.pacing.start((num_campaigns,)) for bidder in self.bidders]
        # Of the current tick:
        self._spent_before, self._could_pay = np.zeros(shape), np.zeros(shape)
        self._stopped = np.zeros(shape, np.bool_)
        self._gains = {i: np.zeros((num_campaigns, len(grid))) for i, grid in self._grids.items()}
        self._offered = {i: np.zeros(num_campaigns) for i in self._grids}
        if self._regimes is not None:
            self._jumps = np.zeros((num_campaigns, self._regimes.changes), np.int64)
            self._levels = np.zeros((num_campaigns, self._regimes.changes + 1, shape[1]))

    def _rows(self, table: Floats) -> Floats:
        """`[n, B]`, or what broadcasts to it, of a table `[E, B]`."""
        return table if len(table) == 1 else table[self._campaign]

    def _pay(self, bidder: Ints, paid: Floats) -> None:
        """Books payments `[n, S]` by these bidders."""
        _add(self.spent, self._campaign[:, None] * self._shape[1] + bidder, paid)

    def _stop_before_broke(self) -> None:
        """Takes back bids that could overspend, see the class; earlier requests come first."""
        left = self._budget - self._spent_before
        while True:
            if self.num_slots == 1:
                holder, most = self._top.winner[:, None], self._top.best[:, None]
            else:
                holder = np.argsort(-self._bids, axis=1)[:, : self.num_slots]
                most = np.take_along_axis(self._bids, holder, axis=1)
            could_pay = self._could_pay.copy()
            _add(could_pay, self._campaign[:, None] * self._shape[1] + holder, most)
            over = np.argwhere(could_pay > left)
            if len(over) == 0:
                self._could_pay = could_pay
                return
            for campaign, i in over:
                mine = self._campaign == campaign
                due = np.where((holder == i) & mine[:, None], most, 0.0).sum(axis=1)
                due[0] += self._could_pay[campaign, i]
                self._bids[mine & (np.cumsum(due) > left[campaign, i]), i] = 0.0
                self._stopped[campaign, i] = True
            if self.num_slots == 1:
                self._top = top_two(self._bids)

    def _close_books(self, tick: Ints) -> None:
        """Ends the tick of the campaigns whose clock has moved on; their bidders pace again."""
        closing = tick > self._tick
        if not closing.any():
            return
        before, now = self._planned[self._tick], self._planned[tick]
        share = ((now - before) / np.maximum(1.0 - before, 1e-9))[:, None]
        limited = np.isfinite(self._budget)
        budget = np.where(limited, self._budget, 1.0)  # any number: without, infinity is planned
        spend, left = self.spent - self._spent_before, budget - self._spent_before
        planned = np.where(limited, left * share, np.inf)
        budget_left = np.where(limited, (left - spend) / budget, 1.0)
        for i, bidder in enumerate(self.bidders):
            gains = np.empty((0, len(tick)))
            if i in self._grids:
                offered = np.where(self._offered[i] > 0, self._offered[i], 1.0)
                gains = self._gains[i].T / offered
                self._gains[i][closing] = 0.0
                self._offered[i][closing] = 0.0
            report = Report(spend[:, i], planned[:, i], budget_left[:, i], 1.0 - now, gains)
            state = self._states[i]
            self._states[i] = np.where(closing, bidder.pacing.following(state, report), state)
            self.multiplier[:, i] = self._states[i][0]
        self._could_pay[closing] = 0.0
        self._stopped[closing] = False
        self._spent_before[closing] = self.spent[closing]
        self._tick = np.where(closing, tick, self._tick)


def _add(sums: Floats, at: Ints, what: Floats) -> None:
    """Adds to the flat indices of an array one after the other: sums do not depend on batches."""
    np.add.at(sums.reshape(-1), at.ravel(), what.ravel())

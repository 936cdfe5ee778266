"""The simulator: one market, many users, campaigns side by side; the only place of a step.

Campaigns run in lockstep and independently: each has a clock, a budget and users of its own. Every
uniform has an address (see `draws`), so a bid changes what happens to its user, never what any
other draw will be, and policies that play the same seed are paired request by request.

- `AuctionSimulator`: struct of arrays over the users; serves the pending requests in order.
- `Outcome`: what became of the requests of one step.
- `play`: one campaign under a bidding policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from envs.ad_auction import features
from envs.ad_auction.campaign import Groups, Ledger, Ledgers
from envs.ad_auction.draws import Seed, categorical, uniforms
from envs.ad_auction.market import AUCTIONS
from envs.ad_auction.presets import AuctionConfig
from envs.ad_auction.schedule import OF_REQUESTS, PURPOSES, Schedule
from envs.ad_auction.state import NEVER, UserState
from envs.ad_auction.users import Draws, Reaction, Response, advance
from envs.ad_auction.values import Regret

__all__ = ["AuctionSimulator", "BidPolicy", "Outcome", "play"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


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
    """Campaigns in the multi-user ad auction.

    With one campaign a row is a user. With more, rows are `campaign * slots + slot`.

    Args:
        config: the world and the experiment's choices.
        num_campaigns: how many run side by side (E); each as it would alone.

    Attributes:
        hours: `[E]`, the campaigns' clocks.

    Example:
        >>> simulator = AuctionSimulator(AuctionConfig(num_users=3))
        >>> simulator.reset(seed=7)
        >>> while not simulator.done:
        ...     outcome = simulator.step(np.full(len(simulator.pending), 0.05))
        >>> simulator.ledger.requests
        53.0
    """

    def __init__(self, config: AuctionConfig, num_campaigns: int = 1) -> None:
        self.config = config
        self.preset = config.build_preset()
        self.num_users = config.num_users
        self.num_campaigns = num_campaigns
        self.slots = config.num_slots
        model = self.preset.users
        self.observation_space = features.observation_space(model.channels)
        self.state = UserState(num_campaigns * self.slots)
        # An end of a journey is then a probability and not an event, see `AuctionConfig.reward`.
        self._nobody_leaves = config.reward != "sampled"
        self._regret = Regret(self.preset) if config.reward == "regret" else None
        self._clear = AUCTIONS[self.preset.auction]
        self._worth = self.preset.value * model.audience.value_factor  # (K,)
        self._tick_hours = model.traffic.tick_hours
        self._flight = self.preset.flight_hours
        if np.isinf(self._flight):  # when most users are through
            traffic = model.traffic
            self._flight = traffic.arrival_hours + model.requests_per_user * traffic.mean_gap_hours
        unused = {"delay"} if model.delay is None else set()
        unused |= {"session"} if model.traffic.session_continues == 0 else set()
        unused |= {"back"} if model.comes_back is None else set()
        self._drawn = [name for name in OF_REQUESTS if name not in unused]
        self._drawn_keys = np.array([PURPOSES.index(name) for name in self._drawn])
        # Of the channel, that of the next request is drawn; it is seen before it is served.
        self._ahead = np.array([[name == "channel"] for name in self._drawn], np.int64)
        self._wears_out = model.effects_vary

        budget = self.preset.budget_per_user * self.num_users
        self.ledgers = Ledgers(num_campaigns, budget)
        self._schedule = Schedule(
            self.preset, self.num_users, self.slots, self.state, self._deliver
        )
        self.hours = self._schedule.hours
        self._rewards = np.zeros(num_campaigns)

    def reset(self, seed: Seed | Sequence[Seed], campaigns: Ints | None = None) -> None:
        """Starts new campaigns; the same seed gives the same campaign.

        Args:
            seed: of the only campaign, or one for each.
            campaigns: which to start; None: all.
        """
        which = np.arange(self.num_campaigns) if campaigns is None else campaigns
        seeds = [seed] if isinstance(seed, int | np.integer | np.random.SeedSequence) else seed
        if len(seeds) != len(which):
            raise ValueError(
                f"got {len(seeds)} seeds for {len(which)} campaigns; give one for each"
            )
        self.ledgers.clear(which)
        self._rewards[which] = 0.0
        self._schedule.start(which, seeds)

    @property
    def pending(self) -> Ints:
        """Rows whose requests are due now, in the order in which they are served."""
        return self._schedule.pending()

    def shown(self) -> Ints:
        """`[E]`: the row that is next in each campaign; its first when it is over."""
        return self._schedule.shown()

    @property
    def over(self) -> Bools:
        """`[E]`: whether every journey of a campaign has ended."""
        return self._schedule.over

    @property
    def done(self) -> bool:
        """Whether every journey of every campaign has ended."""
        return bool(self.over.all())

    @property
    def hour(self) -> float:
        """Clock of the first campaign."""
        return float(self.hours[0])

    @property
    def ledger(self) -> Ledger:
        """A copy of the ledger of the first campaign."""
        return self.ledgers.of(0)

    @property
    def stage(self) -> Ints:
        """See `UserState`; likewise the following."""
        return self.state.stage

    @property
    def request(self) -> Ints:
        """`[rows]`."""
        return self.state.request

    @property
    def ended(self) -> Bools:
        """`[rows]`."""
        return self.state.ended

    def channel(self, rows: Ints) -> Ints:
        """`[n]`: channel of the users' next request; -1 where the journey has ended."""
        state = self.state
        return np.where(state.next_tick[rows] == NEVER, -1, state.channel[rows])

    def response(self, rows: Ints, creatives: Ints) -> Response | None:
        """What multiplies the effect of a creative on these users now; None: nothing does.

        A function of what a bidder has seen of them.
        """
        if not self._wears_out:
            return None
        state, model = self.state, self.preset.users
        repeats = np.where(state.shown_creative[rows] == creatives, state.repeats[rows], 0)
        hour = self.hours[rows // self.slots]
        return model.response(
            state.segment[rows], state.device[rows], creatives, self._exposure(rows, hour), repeats
        )

    def _exposure(self, rows: Ints, hour: Floats) -> Floats:
        state, half_life = self.state, self.preset.users.creatives.half_life_hours
        return state.exposure[rows] * np.exp2((state.shown_hour[rows] - hour) / half_life)

    def observe(self, rows: Ints) -> NDArray[np.float32]:
        """float32 `[n, D]`: what the bidder sees of the users' next requests."""
        state, campaign = self.state, rows // self.slots
        paced = np.isfinite(self.ledgers.budget)
        return features.build(
            self.channel(rows),
            state.clicked[rows],
            state.visited[rows],
            state.last_profit[rows],
            budget_left=self.ledgers.budget_left[campaign],
            flight_left=np.maximum(0.0, 1.0 - self.hours[campaign] / self._flight)
            if paced
            else 1.0,
            num_channels=len(self.preset.users.channels),
        )

    def take_rewards(self, rows: Ints) -> Floats:
        """`[n]`: what the users brought since it was last asked, by the config's `reward`."""
        reward = self.state.reward[rows]
        self.state.reward[rows] = 0.0
        return reward

    def take_campaign_rewards(self) -> Floats:
        """`[E]`: what the campaigns brought since it was last asked; apart from `take_rewards`."""
        rewards, self._rewards = self._rewards, np.zeros(self.num_campaigns)
        return rewards

    def step(
        self, bids: Floats, creatives: Ints | None = None, rows: Ints | None = None
    ) -> Outcome:
        """Serves pending requests.

        Args:
            bids: `[n]`, currency units; 0 means no bid.
            creatives: `[n]`, what is shown where the bid wins; None: the first creative.
            rows: `[n]`, whose requests, the next of each campaign in order, campaign by campaign;
                None: the first `n` pending, with several campaigns all.

        Raises:
            ValueError: if a bid is negative or not a number, or there are too many.
        """
        bids = np.asarray(bids, np.float64)
        if rows is None:
            rows = self.pending
            if len(bids) > len(rows) or (self.num_campaigns > 1 and len(bids) < len(rows)):
                raise ValueError(f"got {len(bids)} bids for {len(rows)} pending requests")
            rows = rows[: len(bids)]
        if not (bids >= 0).all():
            bad = bids[~(bids >= 0)][0]
            raise ValueError(f"a bid is {bad}; bids are numbers of at least 0")
        if len(rows) == 0:
            nothing, never = np.zeros(0), np.zeros(0, np.bool_)
            return Outcome(never, nothing, never, never, never, never, nothing)
        state, model = self.state, self.preset.users
        if creatives is None:
            creatives = np.zeros(len(rows), np.int64)
        campaign = rows // self.slots
        groups = Groups.of(campaign, self.num_campaigns)

        words = uniforms(
            self._schedule.keys[self._drawn_keys[:, None], campaign],
            state.number[rows],
            state.request[rows] + self._ahead,
        )
        drawn = dict(zip(self._drawn, words, strict=True))
        price = self.preset.prices.ppf(drawn["price"])
        won, paid = self._clear(bids, price, self.preset.floor)
        presence = state.presence[rows]
        made = self.ledgers.affordable(groups, presence * bids, presence * paid)
        bids, won, paid = np.where(made, bids, 0.0), won & made, np.where(made, paid, 0.0)
        reaction_draws = Draws(*(drawn[name] for name in Draws._fields))
        if self._nobody_leaves:
            ones = np.ones(len(rows))
            reaction_draws = reaction_draws._replace(conversion=ones, churn=ones)
        response = self.response(rows, creatives)
        stage, channel = state.stage[rows], state.channel[rows]
        reaction = advance(model, stage, channel, won, reaction_draws, response)
        self._book(rows, campaign, groups, bids, won, paid, reaction, response, drawn)
        if self._wears_out:
            self._wear_out(rows[won], creatives[won], campaign[won])
        self._schedule.serve(groups)
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
        rows: Ints,
        campaign: Ints,
        groups: Groups,
        bids: Floats,
        won: Bools,
        paid: Floats,
        reaction: Reaction,
        response: Response | None,
        drawn: dict[str, Floats],
    ) -> None:
        """Writes one step's results into the users' state and the ledgers."""
        state, preset, model = self.state, self.preset, self.preset.users
        request, stage, channel = state.request[rows], state.stage[rows], state.channel[rows]
        hour, worth = self.hours[campaign], self._worth[state.segment[rows]]
        upcoming = model.traffic.next_tick(
            self._schedule.ticks[campaign], drawn["gap"], drawn.get("session", drawn["gap"])
        )
        more = (request < model.requests_per_user - 1) & (
            upcoming * self._tick_hours < preset.flight_hours
        )
        if model.comes_back is not None:
            more &= drawn["back"] < model.comes_back[request]

        # How much these users count: the probability that they are still there, if nobody leaves.
        presence = state.presence[rows]
        remains = presence
        if self._nobody_leaves:
            remains = presence * (1.0 - reaction.departure_probability)
            state.presence[rows] = remains
        spend = presence * paid
        cost = (1.0 + preset.shadow_price) * paid
        in_flight: Floats = np.ones(1)
        conversions: NDArray[np.generic]
        censored: NDArray[np.generic]
        if model.delay is not None:
            in_flight = model.delay.cdf(preset.flight_hours - hour)
        if self._nobody_leaves:
            caused = presence * reaction.conversion_probability
            conversions, censored = in_flight * caused, (1.0 - in_flight) * caused
        elif model.delay is None:
            conversions, censored = reaction.converted, np.zeros(len(rows))
        else:
            delay = model.delay.ppf(drawn["delay"])
            happens = np.where(reaction.converted, hour + delay, np.inf)
            late = reaction.converted & (happens > preset.flight_hours)
            state.conversion_hour[rows] = happens = np.where(late, np.inf, happens)
            self._schedule.expect(campaign, happens)
            conversions, censored = np.zeros(len(rows)), late
        value = worth * conversions.astype(np.float64)
        if self._regret is not None:
            segment = state.segment[rows]
            reward = presence * self._regret(
                bids, segment, request, stage, channel, more, in_flight, response
            )
        elif self._nobody_leaves:
            reward = value - presence * cost
        else:
            reward = value - cost
        state.reward[rows] += reward
        self._rewards[groups.campaigns] += groups.sums(reward)
        self.ledgers.add(
            groups,
            requests=presence,
            wins=presence * won,
            clicks=presence * reaction.clicked,
            visits=remains * reaction.visited,  # of those who stayed
            conversions=conversions,
            censored=censored,
            spend=spend,
            value=value,
        )

        state.last_profit[rows] = -cost / preset.value
        state.clicked[rows] = reaction.clicked
        state.visited[rows] = reaction.visited
        state.stage[rows] = reaction.stage
        state.request[rows] = request + 1
        state.channel[rows] = categorical(model.channel_share, drawn["channel"])
        goes_on = more & ~(reaction.converted | reaction.churned)
        state.next_tick[rows] = np.where(goes_on, upcoming, NEVER)
        state.ended[rows] = ~goes_on & ~np.isfinite(state.conversion_hour[rows])

    def _wear_out(self, rows: Ints, creatives: Ints, campaign: Ints) -> None:
        """Counts impressions that have been shown."""
        state, hour = self.state, self.hours[campaign]
        state.exposure[rows] = self._exposure(rows, hour) + 1.0
        state.shown_hour[rows] = hour
        again = state.shown_creative[rows] == creatives
        state.repeats[rows] = np.where(again, state.repeats[rows], 0) + 1
        state.shown_creative[rows] = creatives

    def _deliver(self, rows: Ints) -> None:
        """Pays out conversions that happen now."""
        groups = Groups.of(rows // self.slots, self.num_campaigns)
        value = self._worth[self.state.segment[rows]]
        self.ledgers.add(groups, conversions=np.ones(len(rows)), value=value)
        self._rewards[groups.campaigns] += groups.sums(value)
        self.state.reward[rows] += value


class BidPolicy(Protocol):
    """A bidding policy as `play` asks it."""

    name: str

    def start(self, simulator: AuctionSimulator) -> None:
        """A new campaign begins."""

    def bids(self, users: Ints) -> Floats:
        """`[n]` bids in currency units for the first n of these users, whose requests are due."""

    def update(self, users: Ints, outcome: Outcome) -> None:
        """What became of them."""


def play(simulator: AuctionSimulator, policy: BidPolicy, seed: Seed) -> Ledger:
    """Plays one campaign to its end and returns its ledger."""
    simulator.reset(seed)
    policy.start(simulator)
    while not simulator.done:
        bids = policy.bids(who := simulator.pending)
        policy.update(who[: len(bids)], simulator.step(bids))
    return simulator.ledger

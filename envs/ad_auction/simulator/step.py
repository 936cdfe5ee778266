"""The simulator: one market, many users, campaigns side by side; the only place of a step.

Campaigns run in lockstep and independently: each has a clock, a budget and users of its own. Every
uniform has an address (see `draws`), so a bid changes what happens to its user, never what any
other draw will be, and policies that play the same seed are paired request by request.

- `AuctionSimulator`: struct of arrays over the users; serves the pending requests in order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.draws import Seed, purpose_keys, uniforms
from rllib_seq.envs.ad_auction.journey import features
from rllib_seq.envs.ad_auction.journey.signals import Signals
from rllib_seq.envs.ad_auction.journey.users import Draws, Response, advance
from rllib_seq.envs.ad_auction.market.auctions import AUCTIONS
from rllib_seq.envs.ad_auction.simulator.accounting import Accounting, exposure
from rllib_seq.envs.ad_auction.simulator.campaign import Groups, Ledger
from rllib_seq.envs.ad_auction.simulator.schedule import OF_REQUESTS, PURPOSES, Schedule
from rllib_seq.envs.ad_auction.simulator.state import NEVER, Outcome, Served, UserState
from rllib_seq.envs.ad_auction.worlds.presets import EVENT_REWARDS, AuctionConfig

__all__ = ["AuctionSimulator"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class AuctionSimulator:
    """Campaigns in the multi-user ad auction.

    With one campaign a row is a user. With more, rows are `campaign * slots + slot`.

    Args:
        config: the world and the experiment's choices.
        num_campaigns: how many run side by side (E); each as it would alone.
        record: keep all events of the campaigns since the last reset.

    Attributes:
        hours: `[E]`, the campaigns' clocks.
        flight_hours: how long a campaign takes; without an end of the flight about.
        events: what is recorded, or None.

    Raises:
        ValueError: events are to be recorded where a reward makes chances of them.

    Examples:
        >>> simulator = AuctionSimulator(AuctionConfig(num_users=3))
        >>> simulator.reset(seed=7)
        >>> while not simulator.done:
        ...     outcome = simulator.step(np.full(len(simulator.pending), 0.05))
        >>> simulator.ledger.requests
        53.0
    """

    def __init__(self, config: AuctionConfig, num_campaigns: int = 1, record: bool = False) -> None:
        if record and config.reward not in EVENT_REWARDS:
            raise ValueError(
                f"reward is {config.reward!r}; only {' and '.join(EVENT_REWARDS)} have events to "
                "record"
            )
        self.config = config
        self.preset = config.build_preset()
        self.num_users = config.num_users
        self.num_campaigns = num_campaigns
        self.slots = config.num_slots
        model = self.preset.users
        self.layout = config.build_layout(self.preset)
        self.observation_space = features.observation_space(self.layout)
        self.state = UserState(num_campaigns * self.slots)
        self._accounting = Accounting(
            self.preset,
            self.num_users,
            config.reward,
            config.credits if config.reward == "attributed" else None,
            config.enforce_budget,
            self.state,
            num_campaigns,
            count=self.layout.kind != "raw",
            record=record,
        )
        self.ledgers, self.events = self._accounting.ledgers, self._accounting.events
        self._schedule = Schedule(
            self.preset,
            self.num_users,
            self.slots,
            self.state,
            self._accounting.deliver,
            self._accounting.forget,
        )
        self.hours = self._schedule.hours
        # An end of a journey is then a probability and not an event, see `AuctionConfig.reward`.
        self._nobody_leaves = config.reward not in EVENT_REWARDS
        self._clear = AUCTIONS[self.preset.auction]
        self.flight_hours = self.preset.length_hours
        unused = {"delay"} if model.delay is None else set()
        unused |= {"session"} if model.traffic.session_continues == 0 else set()
        unused |= {"back"} if model.return_probability is None else set()
        unused |= {"price"} if self.preset.rivals is not None else set()
        self._rivals_flight = np.zeros(num_campaigns, np.int64)  # in which the campaign began
        self._drawn = [name for name in OF_REQUESTS if name not in unused]
        self._drawn_keys = np.array([PURPOSES.index(name) for name in self._drawn])
        # Of the channel, that of the next request is drawn; it is seen before it is served.
        self._ahead = np.array([[name == "channel"] for name in self._drawn], np.int64)
        self._effects_vary = model.effects_vary

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
        self._accounting.clear(which)
        self._schedule.start(which, seeds)
        if self.preset.rivals is not None:
            keys, zero = self._schedule.keys[PURPOSES.index("rivals"), which], np.zeros_like(which)
            flight = uniforms(keys[None], zero, zero)[0] * self.preset.rivals.num_flights
            self._rivals_flight[which] = flight.astype(np.int64)

    def resample_future(self, seed: Seed) -> None:
        """Draws again, in all campaigns, what no one knows yet: the same present, another future.

        When and on which channel the next request of a user comes stays as it is.
        """
        self._schedule.keys[:] = purpose_keys(seed, len(PURPOSES))[:, None]

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
    def bytes_per_user(self) -> int:
        """Memory per slot: state, two queues and, if they are kept, counts."""
        queues = 2 * np.dtype(np.int64).itemsize
        tracker = self._accounting.tracker
        return self.state.bytes_per_user + queues + (tracker.bytes_per_user if tracker else 0)

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
        """See `UserState`; also the following."""
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
        if not self._effects_vary:
            return None
        state, model = self.state, self.preset.users
        repeats = np.where(state.shown_creative[rows] == creatives, state.repeats[rows], 0)
        hour = self.hours[rows // self.slots]
        return model.response(
            state.segment[rows],
            state.device[rows],
            creatives,
            exposure(state, self.preset, rows, hour),
            repeats,
        )

    def observe(self, rows: Ints) -> NDArray[np.float32]:
        """float32 `[n, D]`: what the bidder sees of the users' next requests."""
        state, campaign = self.state, rows // self.slots
        hour = self.hours[campaign]
        flight_left = np.ones(len(rows))
        if np.isfinite(self.ledgers.budget):
            flight_left = np.maximum(0.0, 1.0 - hour / self.flight_hours)
        counted = {}
        if self._accounting.tracker is not None:
            shown = exposure(state, self.preset, rows, hour)
            counted = self._accounting.tracker.signals(state, rows, campaign, hour, shown)
        signals = Signals(
            self.channel(rows),
            state.clicked[rows],
            state.visited[rows],
            state.last_profit[rows],
            self.ledgers.budget_left[campaign],
            flight_left,
            **counted,
        )
        return features.build(self.layout, signals)

    def take_rewards(self, rows: Ints) -> Floats:
        """`[n]`: what users brought since it was last asked, by `reward` and `reward_scale`."""
        reward = self.state.reward[rows] * self.config.reward_scale
        self.state.reward[rows] = 0.0
        return reward

    def take_campaign_rewards(self) -> Floats:
        """`[E]`: what the campaigns brought since it was last asked; apart from `take_rewards`."""
        rewards = self._accounting.rewards * self.config.reward_scale
        self._accounting.rewards[:] = 0.0
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
            return Outcome(never, nothing, never, never, never, never, nothing, nothing, nothing)
        served, drawn = self._serve(bids, creatives, rows)
        draws = Draws(*(drawn[name] for name in Draws._fields))
        if self._nobody_leaves:
            draws = draws._replace(conversion=np.ones(len(rows)), churn=np.ones(len(rows)))
        response = self.response(rows, served.creative)
        survival, model = self.state.survival[rows], self.preset.users
        reaction = advance(model, served.stage, served.channel, served.won, draws, response)
        tick = self._schedule.ticks[served.campaign]
        happens = self._accounting.settle(served, reaction, response, drawn, tick)
        self._schedule.expect(served.campaign, happens)
        self._schedule.serve(served.groups)
        return Outcome(
            served.won,
            served.paid,
            reaction.clicked,
            reaction.visited,
            reaction.converted,
            reaction.churned,
            reaction.conversion_probability,
            reaction.departure_probability,
            survival,
        )

    def _serve(
        self, bids: Floats, creatives: Ints | None, rows: Ints
    ) -> tuple[Served, dict[str, Floats]]:
        """Clears the auctions; what was served, and all that is drawn for these requests."""
        state, campaign = self.state, rows // self.slots
        groups = Groups.of(campaign, self.num_campaigns)
        request = state.request[rows]
        words = uniforms(
            self._schedule.keys[self._drawn_keys[:, None], campaign],
            state.number[rows],
            request + self._ahead,
        )
        drawn = dict(zip(self._drawn, words, strict=True))
        price = self._market_price(rows, drawn)
        won, paid = self._clear(bids, price, self.preset.floor)
        survival = state.survival[rows]
        made = self.ledgers.affordable(groups, survival * bids, survival * paid)
        served = Served(
            rows=rows,
            campaign=campaign,
            groups=groups,
            hour=self.hours[campaign],
            request=request,
            stage=state.stage[rows],
            channel=state.channel[rows],
            creative=np.zeros(len(rows), np.int64) if creatives is None else creatives,
            bid=np.where(made, bids, 0.0),
            market_price=price,
            won=won & made,
            paid=np.where(made, paid, 0.0),
        )
        return served, drawn

    def _market_price(self, rows: Ints, drawn: dict[str, Floats]) -> Floats:
        """`[n]`: the highest competing bids."""
        rivals, state, campaign = self.preset.rivals, self.state, rows // self.slots
        if rivals is None:
            return self.preset.prices.ppf(drawn["price"])
        return rivals.draw(
            self._schedule.keys[PURPOSES.index("price"), campaign][None],
            state.number[rows],
            state.request[rows],
            state.channel[rows],
            self._rivals_flight[campaign],
            self.hours[campaign],
        )

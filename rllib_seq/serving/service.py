"""From bid requests to bids, and from notices to books; no HTTP, no Ray.

- `BidService`: policy, sessions, budget and storage put together.

Nothing here waits: a call does its work and returns. Calls come one after the other; that, and that
no call asks twice for one user, keeps the requests of a user in order.
"""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rllib_seq.errors import UserError
from rllib_seq.serving.decisions import BidDecision, BidQuery, buy
from rllib_seq.serving.exported.policy import Policy, split_parts
from rllib_seq.serving.masking import CreativeChoice
from rllib_seq.serving.notices import ATTEMPTS, Notices
from rllib_seq.serving.openrtb.bid_ids import Bid, BidSealer
from rllib_seq.serving.openrtb.creatives import load_catalogue
from rllib_seq.serving.openrtb.eligibility import Eligibility
from rllib_seq.serving.openrtb.identity import Identities
from rllib_seq.serving.openrtb.terms import load_terms
from rllib_seq.serving.sessions import Sessions
from rllib_seq.serving.settings import Settings
from rllib_seq.serving.state.clock import BookClock, SteadyClock
from rllib_seq.serving.state.money import Money
from rllib_seq.serving.state.session_cache import CampaignClock, SessionCache
from rllib_seq.serving.state.storage import Change, Conflict, Hold, Storage

if TYPE_CHECKING:
    from rllib_seq.serving.trajectories import TrajectoryWriter

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_HOUR = 3600.0
_63_BITS = np.int64(2**63 - 1)


class BidService:
    """A bidder that remembers.

    Args:
        policy: that bids.
        settings: of the operator.
        storage: what must survive.
        clock: seconds since the epoch; None: a `SteadyClock`.

    Raises:
        UserError: the settings do not fit the policy's world.
    """

    def __init__(
        self,
        policy: Policy,
        settings: Settings,
        storage: Storage,
        clock: Callable[[], float] | None = None,
    ) -> None:
        clock = clock or SteadyClock()
        spec = policy.spec
        preset = spec.config.build_preset()
        self.settings = settings
        self.channels = spec.config.build_layout(preset).channels
        self.segments = preset.users.audience.segments
        self.devices = preset.users.audience.devices
        self.creatives = preset.users.creatives.names
        catalogue = load_catalogue(settings.creatives)
        self._choice = CreativeChoice.of(spec.config.actions, spec.action_sizes, self.creatives)
        shown = self.creatives if self._choice is not None else self.creatives[:1]
        strangers = sorted(catalogue.names - set(shown))
        if strangers:
            raise UserError(
                f"creatives {settings.creatives!r}: the policy never chooses {strangers[0]!r}; "
                f"choose from {', '.join(shown)}, or leave it out"
            )
        terms = load_terms(settings.currency, settings.deals, settings.rates, catalogue.crids)
        self.eligibility = Eligibility(
            *(catalogue, terms, self.channels, self.creatives),
            https=not settings.public_url.startswith("http://"),
        )
        self.identities = Identities(settings.ids, settings.user_secret)
        self.counts: Counter[str] = Counter()
        """Since the start: answers by why, notices by kind and what became of them."""
        self._policy = policy
        self._actions = spec.config.build_actions(preset)
        self._storage = storage
        self.state_errors: tuple[type[Exception], ...] = (Conflict, *storage.errors)
        """What calls raise that could not read or write the state."""
        self.clock = CampaignClock(
            clock, float(storage.constant("started", repr(clock()).encode()))
        )
        self._books = BookClock(clock, storage.last_written())
        budget = settings.budget if settings.budget is not None else spec.facts["budget"]
        ends = settings.flight_hours if settings.flight_hours is not None else preset.flight_hours
        self._knows_budget = spec.facts["budget"] is not None
        self._end_hour = self.clock.start_hour + ends
        self.money = Money(
            storage,
            math.inf if budget is None else budget,
            self.clock.start_hour,
            ends if math.isfinite(ends) else preset.length_hours,
            settings,
        )
        self.sessions = Sessions(
            *(spec, settings.max_users, settings.session_hours, settings.cap),
            guests=settings.max_batch,
        )
        self.memory = SessionCache(
            *(self.sessions, storage, self.money, settings.session_hours * _HOUR),
            self.clock.hour(),
        )
        self.sealer = BidSealer(storage.constant("secret", secrets.token_bytes(32)))
        self._random = np.random.default_rng()
        self._record = _record(settings, spec.facts)
        self._notices = Notices(
            *(self.memory, storage, self.sealer, settings, self.clock, self._books),
            *(spec.facts["conversion_value"], self.counts, self._record),
        )

    @property
    def policy(self) -> Policy:
        """That bids."""
        return self._policy

    def replace(self, policy: Policy) -> None:
        """Lets another policy bid from now on; sessions stay.

        Raises:
            UserError: it sees or does other things than the one before.
        """
        if not self._policy.spec.same_interface(policy.spec):
            raise UserError(
                "the new export has other spaces, window or world than the one that is served; "
                "start another server for it"
            )
        self._policy = policy

    @property
    def one_by_one(self) -> bool:
        """Whether all requests are steps of one stream."""
        return self._policy.spec.stream == "campaign"

    def answer(self, queries: Sequence[BidQuery]) -> list[BidDecision]:
        """Answers requests of different users.

        Raises:
            Conflict: others kept changing the same users (only with a shared storage).
        """
        now = self._books()
        self.memory.prune(now)
        for attempt in range(ATTEMPTS):
            try:
                answers = self._answer(queries, now)
                break
            except Conflict:
                if attempt == ATTEMPTS - 1:
                    raise
        for answer in answers:
            self.counts[answer.why] += 1
        return answers

    def _answer(self, queries: Sequence[BidQuery], now: float) -> list[BidDecision]:
        *columns, offers = zip(*queries, strict=True)
        asked = SimpleNamespace(**dict(zip(BidQuery._fields, map(np.array, columns), strict=False)))
        hour, keys = self.clock.hour(), asked.user
        rows = self.memory.claim(keys, hour, asked.remembered)
        self.money.pace(hour)
        # A policy that learned without a budget has seen 1 alone, whatever the budget is here.
        left = (1.0, 1.0)
        if self._knows_budget:
            left = self.money.budget_left(), self.money.flight_left(hour)
        observation = self.sessions.observe(rows, keys, asked, hour, *left)
        # Who may be shown some creatives alone gets the best action with one of these.
        few = None if self._choice is None else self._choice.allowed(asked.creatives)
        limits = {} if few is None else {"allowed": few}
        actions, memory = self._policy.act(
            observation, self.sessions.past(rows), self.sessions.memory(rows), **limits
        )
        actions = self._explored(actions, few)
        levels, creatives = self._decode(actions, asked.segment)
        amounts = levels * self.money.multiplier
        why = ["over" if hour >= self._end_hour else "bid"] * len(queries)
        for reason, refused in (  # whatever comes later overrules
            ("cap", self.sessions.cap.reached(rows, hour, self.settings.cap_hours)),
            ("floor", amounts < asked.floor),
            ("policy", levels <= 0),
        ):
            for place in refused.nonzero()[0].tolist():
                why[place] = reason
        requests = self.sessions.requests(rows)
        prices, shown = amounts.tolist(), creatives.tolist()
        bought = buy(offers, shown, prices, why)
        bids = self._bids(queries, requests.tolist(), prices, shown, why, now)
        self.sessions.step(rows, asked, observation, actions, memory, hour)
        if self.settings.cap:
            until = hour + self.settings.hold_seconds / _HOUR
            for place, bid in bids.items():
                self.sessions.cap.hold(int(rows[place]), bid.number, until)
        kept = asked.remembered.nonzero()[0]
        try:
            real = sum(not query.test for query in queries)
            made = sum(not bid.test for bid in bids.values())
            if real:
                totals = {"requests": float(real), "bids": float(made)}
                self.memory.write(rows[kept], keys[kept].tolist(), now, totals)
        except Conflict:
            self.money.free((bid.number for bid in bids.values()), now)
            raise
        if self._record is not None:
            episodes, now_hour = self.sessions.episodes(rows[kept]), self.clock.now() / _HOUR
            self._record.steps(episodes, requests[kept], now_hour, observation[kept], actions[kept])
        return [
            BidDecision(bids.get(place), reason, bought.get(place))
            for place, reason in enumerate(why)
        ]

    def _explored(self, actions: Ints, allowed: Bools | None) -> Ints:
        if self.settings.explore == 0:
            return actions
        number = math.prod(self._policy.spec.action_sizes)
        drawn = self._random.random(len(actions)) < self.settings.explore
        scores = self._random.random((len(actions), number))
        if allowed is not None:
            scores[~allowed] = -1.0
        return np.where(drawn, scores.argmax(axis=1), actions)

    def _decode(self, actions: Ints, segment: Ints) -> tuple[NDArray[np.float64], Ints]:
        parts = split_parts(actions, self._policy.spec.action_sizes)
        flat = parts[0] if len(parts) == 1 else np.stack(parts, axis=1)
        return self._actions.decode(flat, segment)

    def _bids(
        self,
        queries: Sequence[BidQuery],
        requests: list[int],
        prices: list[float],
        shown: list[int],
        why: list[str],
        now: float,
    ) -> dict[int, Bid]:
        """The bids that the budget allows, by place; changes `why` of the others."""
        until = now + self.settings.hold_seconds
        places = [place for place, reason in enumerate(why) if reason == "bid"]
        octets = secrets.token_bytes(8 * len(places))
        numbers = (np.frombuffer(octets, np.int64) & _63_BITS).tolist()
        bids = {}
        for place, number in zip(places, numbers, strict=True):
            query = queries[place]
            bids[place] = Bid(
                *(number, query.user, requests[place], query.channel, shown[place]),
                *(prices[place], until, query.remembered, query.test),
            )
        real = [place for place, bid in bids.items() if not bid.test]
        holds = [Hold(bids[place].number, bids[place].amount, until) for place in real]
        for place, is_made in zip(real, self.money.hold(holds, now), strict=True):
            if not is_made:
                why[place] = "budget"
                del bids[place]
        return bids

    def withdraw(self, bid: Bid) -> None:
        """Takes back a bid that has not left: its answer would be late."""
        self.counts["withdrawn"] += 1
        if bid.test:
            return
        row = self.sessions.find(bid.user) if bid.remembered else None
        if row is not None:
            self.sessions.cap.release(row, bid.number, None)
        self._storage.write(Change(self._books(), totals={"bids": -1.0}, release=bid.number))

    def notice(
        self,
        kind: str,
        bid_id: str | None = None,
        user: int | None = None,
        price: str | float | None = None,
        value: str | float | None = None,
        event: str = "",
    ) -> str:
        """Books what happened.

        Args:
            kind: one of `NOTICES`.
            bid_id: of the bid that it is about.
            user: without a bid, the user; for visits and conversions.
            price: of a win: the text of the notice, or currency units per impression. Booked is at
                most the bid, see `prices.PriceReader`.
            value: of a conversion: text or a number, currency units; None: as in the training.
            event: tells visits and conversions of one bid or user apart.

        Returns:
            "counted"; "known": it was counted before; "unknown": no such bid; or "ignored": no one
            pays for a win where billings are charged, and a bid has no conversions without a win,
            nor more than its share.

        Raises:
            Conflict: others kept changing the same user (only with a shared storage).
        """
        return self._notices.book(kind, bid_id, user, price, value, event)

    def log_bytes(self) -> int:
        """What is written and waits to be brought into the state file."""
        return self._storage.log_bytes()

    def check_state(self) -> None:
        """Raises one of `state_errors` if the state cannot be written."""
        self._storage.check()

    def clock_ahead(self) -> float:
        """Seconds by which the machine's clock was set forward since the start."""
        clock = self.clock.now
        return clock.ahead() if isinstance(clock, SteadyClock) else 0.0

    def forget(self, key: int) -> None:
        """Forgets all that is known of a user."""
        self.memory.forget(key)

    def close(self) -> None:
        """Writes what is left and lets go of the storage."""
        if self._record is not None:
            self._record.close()
        self._storage.close()


def _record(settings: Settings, facts: dict[str, Any]) -> TrajectoryWriter | None:
    """Loads pyarrow only where something is recorded."""
    if not settings.record:
        return None
    from rllib_seq.serving.trajectories import TrajectoryWriter

    return TrajectoryWriter(settings.record, facts, settings.record_gb * 1e9)

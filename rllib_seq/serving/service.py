"""From bid requests to bids, and from notices to books; no HTTP, no Ray.

- `BidService`: policy, sessions, budget and storage put together.
- `BidQuery`, `BidDecision`: one request and what is said to it.

Nothing here waits: a call does its work and returns. Calls come one after the other; that, and that
no call asks twice for one user, keeps the requests of a user in order.
"""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rllib_seq.errors import UserError
from rllib_seq.serving.notices import ATTEMPTS, Notices
from rllib_seq.serving.openrtb.bid_ids import Bid, BidSigner
from rllib_seq.serving.policy import Policy, split_parts
from rllib_seq.serving.sessions import Sessions
from rllib_seq.serving.settings import Settings
from rllib_seq.serving.state.clock import BookClock, SteadyClock
from rllib_seq.serving.state.money import Money
from rllib_seq.serving.state.session_cache import CampaignClock, SessionCache
from rllib_seq.serving.state.storage import Change, Conflict, Hold, Storage
from rllib_seq.serving.trajectories import TrajectoryWriter

__all__ = ["BidDecision", "BidQuery", "BidService"]

Ints = NDArray[np.int64]

_HOUR = 3600.0
_63_BITS = np.int64(2**63 - 1)


class BidQuery(NamedTuple):
    """A bid request, as far as it matters here."""

    user: int
    """See `openrtb.identity.user_key`."""
    channel: int
    segment: int
    device: int
    floor: float
    """Currency units per impression."""


class BidDecision(NamedTuple):
    """What is said to a request."""

    bid: Bid | None
    """None: no bid."""
    why: str
    """"bid", or why there is none: "policy", "floor", "cap", "budget", "over"."""


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
        self._end_hour = self.clock.start_hour + ends
        self.money = Money(
            storage,
            math.inf if budget is None else budget,
            self.clock.start_hour,
            ends if math.isfinite(ends) else preset.length_hours,
            settings,
        )
        self.sessions = Sessions(spec, settings.max_users, settings.session_hours, settings.cap)
        self.memory = SessionCache(
            *(self.sessions, storage, self.money, settings.session_hours * _HOUR),
            self.clock.hour(),
        )
        self._signer = BidSigner(storage.constant("secret", secrets.token_bytes(32)))
        self._random = np.random.default_rng()
        self._record = TrajectoryWriter(settings.record) if settings.record else None
        self._notices = Notices(
            *(self.memory, storage, self._signer, settings, self.clock, self._books),
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
        columns = [np.array(column) for column in zip(*queries, strict=True)]
        asked = SimpleNamespace(**dict(zip(BidQuery._fields, columns, strict=True)))
        hour, n = self.clock.hour(), len(queries)
        keys = asked.user
        rows = self.memory.claim(keys, hour)
        self.money.pace(hour)
        observation = self.sessions.observe(
            rows, keys, asked, hour, self.money.budget_left(), self.money.flight_left(hour)
        )
        actions, memory = self._policy.act(
            observation, self.sessions.past(rows), self.sessions.memory(rows)
        )
        actions = self._explored(actions)
        amounts, creatives = self._decode(actions, asked.segment)
        worthless, amounts = amounts <= 0, amounts * self.money.multiplier
        why = ["bid"] * n
        for reason, refused in (  # whatever comes later overrules
            ("over", np.full(n, hour >= self._end_hour)),
            ("cap", self.sessions.capped(rows, hour, self.settings.cap_hours)),
            ("floor", amounts < asked.floor),
            ("policy", worthless),
        ):
            for place in np.flatnonzero(refused).tolist():
                why[place] = reason
        requests = self.sessions.requests(rows)
        bids = self._bids(asked, requests, amounts, creatives, why, now)
        self.sessions.step(rows, asked, observation, actions, memory, hour)
        until = hour + self.settings.hold_seconds / _HOUR
        for place, bid in bids.items():
            self.sessions.hold(int(rows[place]), bid.number, hour, until)
        try:
            self.memory.write(rows, keys.tolist(), now, {"requests": n, "bids": len(bids)})
        except Conflict:
            self.money.free((bid.number for bid in bids.values()), now)
            raise
        if self._record is not None:
            self._record.steps(keys, requests, hour, observation, actions)
        return [BidDecision(bids.get(place), reason) for place, reason in enumerate(why)]

    def _explored(self, actions: Ints) -> Ints:
        if self.settings.explore == 0:
            return actions
        number = math.prod(self._policy.spec.action_sizes)
        drawn = self._random.random(len(actions)) < self.settings.explore
        return np.where(drawn, self._random.integers(number, size=len(actions)), actions)

    def _decode(self, actions: Ints, segment: Ints) -> tuple[NDArray[np.float64], Ints]:
        parts = split_parts(actions, self._policy.spec.action_sizes)
        flat = parts[0] if len(parts) == 1 else np.stack(parts, axis=1)
        return self._actions.decode(flat, segment)

    def _bids(
        self,
        asked: Any,
        requests: Ints,
        amounts: NDArray[np.float64],
        creatives: Ints,
        why: list[str],
        now: float,
    ) -> dict[int, Bid]:
        """The bids that the budget allows, by place; changes `why` of the others."""
        until = now + self.settings.hold_seconds
        places = [place for place, reason in enumerate(why) if reason == "bid"]
        octets = secrets.token_bytes(8 * len(places))
        columns = [
            column[places].tolist()
            for column in (asked.user, requests, asked.channel, creatives, amounts)
        ]
        numbers = (np.frombuffer(octets, np.int64) & _63_BITS).tolist()
        wanted = [Bid._make((*values, until)) for values in zip(numbers, *columns, strict=True)]
        holds = [Hold(bid.number, bid.amount, until) for bid in wanted]
        bids = {}
        for place, bid, is_made in zip(places, wanted, self.money.hold(holds, now), strict=True):
            if is_made:
                bids[place] = bid
            else:
                why[place] = "budget"
        return bids

    def sign(self, bid: Bid) -> str:
        """The id of a bid."""
        return self._signer.sign(bid)

    def withdraw(self, bid: Bid) -> None:
        """Takes back a bid that has not left: its answer would be late."""
        self.counts["withdrawn"] += 1
        row = self.sessions.find(bid.user)
        if row is not None:
            self.sessions.release(row, bid.number, None)
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
            "counted"; "known": it was counted before; "unknown": no such bid; or "ignored": nobody
            pays for a win where billings are charged, and a bid has no conversions without a win,
            nor more than its share.

        Raises:
            Conflict: others kept changing the same user (only with a shared storage).
        """
        return self._notices.book(kind, bid_id, user, price, value, event)

    def log_bytes(self) -> int:
        """What is written and waits to be brought into the state file."""
        return self._storage.log_bytes()

    def clock_ahead(self) -> float:
        """Seconds by which the machine's clock was set forward since the start."""
        clock = self.clock.now
        return clock.ahead() if isinstance(clock, SteadyClock) else 0.0

    def close(self) -> None:
        """Writes what is left and lets go of the storage."""
        if self._record is not None:
            self._record.close()
        self._storage.close()

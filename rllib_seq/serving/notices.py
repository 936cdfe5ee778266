"""Wins, losses, views, clicks, visits, conversions: booked once each, bounded by the bid.

- `Notices`: what a notice changes.
- `NOTICES`: their kinds.

A notice comes from outside, and a bid's id stands in public pages. So a win costs at most what was
bid, a bid has one click and a bounded number of visits and conversions, and none of those without a
win. What is odd about a notice is flagged and counted, see `prices.FLAGS`.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from rllib_seq.serving.openrtb.bid_ids import Bid, BidSealer
from rllib_seq.serving.openrtb.prices import Booked, PriceReader
from rllib_seq.serving.sessions import Sessions
from rllib_seq.serving.settings import Settings
from rllib_seq.serving.state.clock import BookClock
from rllib_seq.serving.state.session_cache import CampaignClock, SessionCache
from rllib_seq.serving.state.storage import Conflict, Notice, Storage

if TYPE_CHECKING:
    from rllib_seq.serving.trajectories import TrajectoryWriter

NOTICES = ("win", "billing", "loss", "view", "click", "visit", "conversion")
"""A view is given by the pixel of an ad: it is counted, and changes nothing else."""
ATTEMPTS = 3
"""At a change that other servers get in the way of."""
_HOUR, _DAY = 3600.0, 86_400.0
_MOST_VISITS = 100  # of a bid
_WON = "won"  # whichever of win and billing comes first is the impression


class Notices:
    """Books notices.

    Args:
        memory: of the users.
        storage: which notices are known.
        sealer: of bids.
        settings: of the operator.
        clock: of the campaign.
        books: the clock of the books.
        values: of a conversion by segment, currency units.
        counts: notices by kind and what became of them; is changed.
        record: of trajectories, or None.
    """

    def __init__(
        self,
        memory: SessionCache[Sessions],
        storage: Storage,
        sealer: BidSealer,
        settings: Settings,
        clock: CampaignClock,
        books: BookClock,
        values: list[float],
        counts: Counter[str],
        record: TrajectoryWriter | None,
    ) -> None:
        self._memory, self._storage, self._sealer = memory, storage, sealer
        self._charge = settings.charge
        self._known_seconds = settings.notice_days * _DAY
        self._most = {"visit": _MOST_VISITS, "conversion": settings.max_conversions}
        self._most_value = settings.max_conversion_value or 10.0 * max(values) or math.inf
        self._prices = PriceReader(settings.price_unit, settings.price_keys)
        self._clock, self._books, self._values = clock, books, values
        self._counts, self._record = counts, record

    def book(
        self,
        kind: str,
        bid_id: str | None,
        user: int | None,
        price: str | float | None,
        value: str | float | None,
        event: str,
    ) -> str:
        """Books a notice, see `BidService.notice`."""
        bid = None if bid_id is None else self._sealer.read(bid_id)
        if bid is None and user is None:
            return self._noticed(kind, "unknown")
        if bid is not None and bid.test:
            return self._noticed(kind, "ignored")
        subject = f"u{user}" if bid is None else f"{bid.number}"
        name = _WON if kind in ("win", "billing") else kind
        if kind in self._most:
            name = f"{kind}:{event}"
        if bid is None:
            if self._storage.known(subject, name):
                return self._noticed(kind, "known")
        else:
            names = self._storage.names_of(subject)
            if name in names:
                return self._noticed(kind, "known")
            why = self._ignored(kind, bid, names)
            if why:
                self._counts[f"ignored:{why}"] += 1
                return self._noticed(kind, "ignored")
        key = bid.user if bid is not None else int(user or 0)
        booked = self._booked(kind, bid, key, price, value)
        for attempt in range(ATTEMPTS):
            try:
                fresh = self._book(kind, (subject, name), key, bid, booked)
                break
            except Conflict:
                if attempt == ATTEMPTS - 1:
                    raise
        if fresh and booked.flag:
            self._counts[f"flag:{booked.flag}"] += 1
        return self._noticed(kind, "counted" if fresh else "known")

    def _ignored(self, kind: str, bid: Bid, names: list[str]) -> str:
        """Why a notice about a bid is not booked; "" if it is."""
        if self._books() > bid.until + self._known_seconds:
            return "expired"  # whether it was reported before is no longer known
        if kind == "win" and self._charge == "billing":
            return "charge"
        if kind == "loss" and _WON in names:
            return "won"
        if kind == "conversion" and _WON not in names:
            return "no_win"
        if kind in self._most:
            reported = sum(name.startswith(f"{kind}:") for name in names)
            return "limit" if reported >= self._most[kind] else ""
        return ""

    def _booked(
        self,
        kind: str,
        bid: Bid | None,
        key: int,
        price: str | float | None,
        value: str | float | None,
    ) -> Booked:
        """What is spent on a win or earned by a conversion, currency units; 0 for all others."""
        if kind in ("win", "billing"):
            assert bid is not None
            return self._prices.booked(price, bid.amount)
        if kind != "conversion":
            return Booked(0.0, "")
        try:
            worth = math.nan if value in (None, "") else float(value or 0.0)
            flag = "" if value in (None, "") or not math.isnan(worth) else "value"
        except ValueError:
            worth, flag = math.nan, "value"
        if math.isnan(worth):
            return Booked(math.nan, flag)  # as in the training, see `_book`
        bounded = min(max(worth, 0.0), self._most_value)
        return Booked(bounded, "" if bounded == worth else "value")

    def _book(
        self, kind: str, which: tuple[str, str], key: int, bid: Bid | None, booked: Booked
    ) -> bool:
        now, hour = self._books(), self._clock.hour()
        remembered = bid is None or bid.remembered
        rows = self._memory.claim(np.array([key]), hour, np.array([remembered]))
        row, sessions = int(rows[0]), self._memory.sessions
        totals: dict[str, float] = {}
        release, reward, amount = None, 0.0, booked.amount
        if kind in ("win", "billing"):
            assert bid is not None
            sessions.win(row, hour, bid.request, bid.channel, bid.creative, amount)
            sessions.cap.release(row, bid.number, hour)
            totals, release = {"wins": 1.0, "spend": amount}, bid.number
            reward = sessions.reward_of_spend(amount)
        elif kind == "loss":
            assert bid is not None
            sessions.cap.release(row, bid.number, None)
            totals, release = {"losses": 1.0}, bid.number
        elif kind == "click":
            assert bid is not None
            sessions.click(row, hour, bid.request)
            totals = {"clicks": 1.0}
        elif kind == "visit":
            sessions.visit(row, hour)
            totals = {"visits": 1.0}
        elif kind == "conversion":
            if math.isnan(amount):
                amount = min(self._values[sessions.segment(row)], self._most_value)
            reward = amount
            sessions.convert(row, hour, reward)
            totals = {"conversions": 1.0, "value": reward}
        if kind == "loss":  # is soon of no interest, and most bids lose
            until = now + _HOUR
        else:
            until = (now if bid is None else bid.until) + self._known_seconds
        notice = Notice(*which, until, self._clock.now(), amount, booked.flag)
        written = (rows, [key]) if remembered else (rows[:0], [])
        if not self._memory.write(*written, now, totals, notice, release):
            return False  # and what was changed here is read again, see `SessionCache.claim`
        if self._record is not None and reward and remembered:
            # A price belongs to the bid that paid it, a conversion to all that came before.
            last = sessions.last_request(row)
            step = last if kind == "conversion" or bid is None else bid.request
            if step <= last:  # else they were forgotten since
                episode = int(sessions.episodes(rows)[0])
                self._record.reward(episode, step, self._clock.now() / _HOUR, reward)
        return True

    def _noticed(self, kind: str, what: str) -> str:
        self._counts[f"{kind}:{what}"] += 1
        return what

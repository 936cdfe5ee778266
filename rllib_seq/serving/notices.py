"""Wins, losses, clicks, visits and conversions, booked once each.

- `Notices`: what a notice changes.
- `NOTICES`: their kinds.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from rllib_seq.serving.openrtb.bid_ids import Bid, BidSigner
from rllib_seq.serving.settings import Settings
from rllib_seq.serving.state.session_cache import CampaignClock, SessionCache
from rllib_seq.serving.state.storage import Conflict, Storage
from rllib_seq.serving.trajectories import TrajectoryWriter

__all__ = ["ATTEMPTS", "NOTICES", "Notices"]

NOTICES = ("win", "billing", "loss", "click", "visit", "conversion")
ATTEMPTS = 3
"""At a change that other servers get in the way of."""
_HOUR = 3600.0


class Notices:
    """Books notices.

    Args:
        memory: of the users.
        storage: which notices are known.
        signer: of bids.
        settings: of the operator.
        clock: of the campaign.
        values: of a conversion by segment, currency units.
        counts: notices by kind and what became of them; is changed.
        record: of trajectories, or None.
    """

    def __init__(
        self,
        memory: SessionCache,
        storage: Storage,
        signer: BidSigner,
        settings: Settings,
        clock: CampaignClock,
        values: list[float],
        counts: Counter[str],
        record: TrajectoryWriter | None,
    ) -> None:
        self._memory, self._storage, self._signer = memory, storage, signer
        self._charge = settings.charge
        self._kept_seconds = settings.session_hours * _HOUR
        self._clock, self._values = clock, values
        self._counts, self._record = counts, record

    def book(
        self,
        kind: str,
        bid_id: str | None,
        user: int | None,
        price: float | None,
        value: float | None,
        event: str,
    ) -> str:
        """Books a notice, see `BidService.notice`."""
        bid = None if bid_id is None else self._signer.read(bid_id)
        if bid is None and user is None:
            return self._noticed(kind, "unknown")
        if kind == "win" and self._charge == "billing":
            return self._noticed(kind, "ignored")
        subject = f"u{user}" if bid is None else f"{bid.number}"
        # Whichever of win and billing comes first is the impression.
        name = f"{subject}:{'won' if kind in ('win', 'billing') else kind}:{event}"
        if self._storage.known(name):
            return self._noticed(kind, "known")
        key = bid.user if bid is not None else int(user or 0)
        for attempt in range(ATTEMPTS):
            try:
                fresh = self._book(kind, name, key, bid, price, value)
                break
            except Conflict:
                if attempt == ATTEMPTS - 1:
                    raise
        return self._noticed(kind, "counted" if fresh else "known")

    def _book(
        self,
        kind: str,
        name: str,
        key: int,
        bid: Bid | None,
        price: float | None,
        value: float | None,
    ) -> bool:
        now, hour = self._clock.now(), self._clock.hour()
        rows = self._memory.claim(np.array([key]), hour)
        row, sessions = int(rows[0]), self._memory.sessions
        totals: dict[str, float] = {}
        release, reward = None, 0.0
        if kind in ("win", "billing"):
            assert bid is not None and price is not None
            if price > bid.amount * (1 + 1e-9):
                self._counts["overcharged"] += 1
            sessions.win(row, hour, bid.request, bid.channel, bid.creative, price)
            sessions.release(row, bid.number, hour)
            totals, release = {"wins": 1.0, "spend": price}, bid.number
            reward = sessions.reward_of_spend(price)
        elif kind == "loss":
            assert bid is not None
            sessions.release(row, bid.number, None)
            totals, release = {"losses": 1.0}, bid.number
        elif kind == "click":
            assert bid is not None
            sessions.click(row, hour, bid.request)
            totals = {"clicks": 1.0}
        elif kind == "visit":
            sessions.visit(row, hour)
            totals = {"visits": 1.0}
        else:
            reward = self._values[sessions.segment(row)] if value is None else value
            sessions.convert(row, hour, reward)
            totals = {"conversions": 1.0, "value": reward}
        # A loss is soon of no interest, and most bids lose.
        until = now + (_HOUR if kind == "loss" else self._kept_seconds)
        if not self._memory.write(rows, [key], now, totals, (name, until), release):
            return False  # and what was changed here is read anew, see `SessionCache.claim`
        if self._record is not None and reward:
            self._record.reward(key, sessions.last_request(row), hour, reward)
        return True

    def _noticed(self, kind: str, what: str) -> str:
        self._counts[f"{kind}:{what}"] += 1
        return what

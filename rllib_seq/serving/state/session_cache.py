"""Sessions in memory and in the storage, kept the same.

- `SessionCache`: users come from the storage when they are needed, and every change is written at
  once. Of a user whom this server has written last it needs nothing: should another server have
  written since, the storage refuses the next change, and the user is read again.
- `CampaignClock`: hours as the simulator counts them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from rllib_seq.serving.sessions import Sessions
from rllib_seq.serving.state.storage import Change, Notice, Storage
from rllib_seq.serving.streams.sessions import StreamSessions

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_HOUR, _WEEK = 3600.0, 7 * 86400.0
_MONDAY = 4 * 86400.0  # 5 January 1970 was one
_PRUNE_SECONDS = 600.0


class Totals(Protocol):
    """The totals as they were last written, see `state.money.Money`."""

    totals: dict[str, float]


class CampaignClock:
    """Time of a campaign.

    Args:
        clock: seconds since the epoch.
        started: when the campaign was served first, the same.

    Attributes:
        start_hour: when that was, in hours since the Monday midnight (UTC) before.
    """

    def __init__(self, clock: Callable[[], float], started: float) -> None:
        self.now = clock
        self._monday = _MONDAY + (started - _MONDAY) // _WEEK * _WEEK
        self.start_hour = (started - self._monday) / _HOUR

    def hour(self) -> float:
        """Now, in hours since the Monday midnight (UTC) before the campaign was served first."""
        return (self.now() - self._monday) / _HOUR


_Kept = TypeVar("_Kept", Sessions, StreamSessions)


class SessionCache(Generic[_Kept]):
    """What the server remembers.

    Args:
        sessions: in memory.
        storage: forever.
        money: whose totals change with what is written.
        ttl_seconds: how long a user is remembered who does not come back.
        hour: now, see `CampaignClock`.
    """

    def __init__(
        self,
        sessions: _Kept,
        storage: Storage,
        money: Totals,
        ttl_seconds: float,
        hour: float,
    ) -> None:
        self.sessions: _Kept = sessions
        self._storage, self._money, self._ttl = storage, money, ttl_seconds
        self._pruned = -np.inf
        self._as_written = np.zeros(sessions.rows, np.bool_)  # rows that no one is changing
        campaign = storage.load_campaign()
        if campaign is not None:
            sessions.unpack_campaign(campaign, hour)

    def claim(self, keys: Ints, hour: float, remembered: Bools | None = None) -> Ints:
        """Rows of different users `[n]`, with what the storage remembers of them, to be changed.

        Who is claimed and not written, whatever the reason, is read again by the next claim.

        Args:
            keys: of the users, `[n]`.
            hour: now.
            remembered: `[n]`, who is; the others are without a past, and are not to be written.
        """
        if remembered is not None and not remembered.all():
            rows = np.empty(len(keys), np.int64)
            rows[~remembered] = self.sessions.guests(int((~remembered).sum()))
            if remembered.any():
                rows[remembered] = self.claim(keys[remembered], hour)
            return rows
        rows, new = self.sessions.claim(keys, hour)
        places = np.flatnonzero(new | ~self._as_written[rows])
        self._as_written[rows] = False
        if not len(places):
            return rows
        found = self._storage.load(keys[places].tolist())
        here = [i for i, state in zip(places, found, strict=True) if state is not None]
        gone = [i for i, state in zip(places, found, strict=True) if state is None]
        if here:
            self.sessions.unpack(rows[here], [state for state in found if state is not None], hour)
        if gone:
            self.sessions.reset(rows[gone])
        return rows

    def write(
        self,
        rows: Ints,
        keys: list[int],
        now: float,
        totals: dict[str, float],
        notice: Notice | None = None,
        release: int | None = None,
    ) -> bool:
        """Writes users who have changed, and what changed with them; see `storage.Change`.

        Args:
            rows: of the users, `[n]`.
            keys: of the users, `[n]`.
            now: seconds since the epoch.
            totals: what is added to the totals of the campaign.
            notice: see `Change`.
            release: see `Change`.

        Returns:
            False if the notice was known; then nothing is written.

        Raises:
            Conflict: see `Storage.write`.
        """
        versions = self.sessions.versions(rows)
        self.sessions.changed(rows)
        states = self.sessions.pack(rows)
        campaign = None if self._storage.shared else self.sessions.pack_campaign()
        users = dict(zip(keys, zip(versions, states, strict=True), strict=True))
        after = self._storage.write(Change(now, users, totals, campaign, notice, release))
        if after is None:
            return False
        self._money.totals = after
        self._as_written[rows] = True
        return True

    def forget(self, key: int) -> None:
        """Forgets a user, here and in the storage."""
        self.sessions.forget(key)
        self._storage.forget(key)

    def prune(self, now: float) -> None:
        """Lets the storage forget what is too old, every ten minutes."""
        if now - self._pruned >= _PRUNE_SECONDS:
            self._pruned = now
            self._storage.prune(now, now - self._ttl)

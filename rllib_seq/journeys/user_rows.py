"""Which row of a table belongs to which user, in bounded memory.

- `UserRows`: integer keys to rows; who is too old, else the least recently used, makes room.
- `user_keys`: names of users to integer keys.

Users are found by binary search in a sorted array of keys; no call loops over users in Python.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rllib_seq.errors import UserError

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class UserRows:
    """Rows of up to `capacity` users.

    Args:
        capacity: most users at a time, and rows.
        ttl: a user who was last seen longer ago is forgotten.
        seen: `[capacity]` or more, when the user of each row was last seen; the caller writes it.
    """

    def __init__(self, capacity: int, ttl: float, seen: NDArray[np.float64]) -> None:
        self.capacity, self.ttl, self._seen = capacity, ttl, seen
        self.evicted_lru = 0
        """Users forgotten to make room."""
        self.evicted_ttl = 0
        """Users forgotten because they were older than `ttl`."""
        self.users = 0
        """Users now."""
        self.clock = 0
        """Of uses: every call that names a user is one tick."""
        self.arrays: dict[str, Ints] = {
            "used": np.zeros(capacity, np.int64),
            # The first `users` entries: keys, ascending, and the row of each; then the free rows.
            "keys": np.zeros(capacity, np.int64),
            "rows": np.arange(capacity),
        }
        """What there is to be kept."""

    def find(self, keys: Ints) -> tuple[Ints, Bools]:
        """`[B]` rows, and whether the user is known (else the row means nothing)."""
        if not self.users:
            return np.zeros(len(keys), np.int64), np.zeros(len(keys), np.bool_)
        index = self.arrays["keys"][: self.users]
        at = index.searchsorted(keys)
        np.minimum(at, self.users - 1, out=at)
        return self.arrays["rows"][at], index[at] == keys

    def use(self, rows: Ints) -> None:
        """Notes that the users of rows were named now."""
        self.clock += 1
        self.arrays["used"][rows] = self.clock

    def claim(self, keys: Ints, now: float) -> tuple[Ints, Bools]:
        """Rows of users, who are all known afterwards.

        Args:
            keys: `[K]`, different.
            now: users who were last seen more than `ttl` before it start again.

        Returns:
            Rows `[K]`, and who was unknown `[K]`.

        Raises:
            UserError: there are more users than `capacity`.
        """
        self.clock += 1
        if len(keys) > self.capacity:
            raise UserError(
                f"{len(keys)} different users at once, but capacity is {self.capacity}; append "
                "fewer at a time or make a larger store"
            )
        row, known = self.find(keys)
        expired = known & (self._seen[row] < now - self.ttl)
        self.evicted_ttl += int(np.count_nonzero(expired))
        used = self.arrays["used"]
        if known.all():
            used[row] = self.clock
            return row, expired
        used[row[known]] = self.clock  # anyone who is named now stays
        new = np.sort(keys[~known])
        lacking = self.users + len(new) - self.capacity
        if lacking > 0:
            self._evict(lacking, now)
        n = self.users
        index, rows = self.arrays["keys"], self.arrays["rows"]
        row_of_new = rows[n : n + len(new)].copy()
        self.users = n + len(new)
        at = np.searchsorted(index[:n], new)
        rows[: self.users] = np.insert(rows[:n], at, row_of_new)
        index[: self.users] = np.insert(index[:n], at, new)
        used[row_of_new] = self.clock
        return self.find(keys)[0], expired | ~known

    def forget(self, rows: Ints) -> None:
        """Frees different rows of users."""
        own = self.arrays["rows"][: self.users]
        self._keep(~np.isin(own, rows))

    def _evict(self, lacking: int, now: float) -> None:
        """Forgets at least `lacking` users: all that are too old, else the least recently used."""
        rows = self.arrays["rows"][: self.users]
        used = self.arrays["used"][rows]
        gone = (self._seen[rows] < now - self.ttl) & (used < self.clock)
        self.evicted_ttl += int(gone.sum())
        more = lacking - int(gone.sum())
        if more > 0:
            rank = np.where(gone, np.iinfo(np.int64).max, used)
            # A sixteenth at a time: the cost of finding them is shared by many appends.
            spare = int((rank < self.clock).sum())
            more = min(max(more, self.capacity // 16), spare)
            gone[np.argpartition(rank, more - 1)[:more]] = True
            self.evicted_lru += more
        self._keep(~gone)

    def _keep(self, stays: Bools) -> None:
        """Closes the gaps of those who go, and puts their rows behind."""
        rows, keys = self.arrays["rows"], self.arrays["keys"]
        count = int(stays.sum())
        own = rows[: self.users].copy()
        keys[:count] = keys[: self.users][stays]
        rows[: self.users] = np.concatenate([own[stays], own[~stays]])
        self.users = count


def user_keys(names: Sequence[str] | NDArray[np.str_]) -> Ints:
    """`[B]` names to `[B]` integers: FNV-1a over the UTF-8 bytes, then a final mix.

    The same in every process. Two of a million users share a key with a chance of 3e-8.

    >>> user_keys(["a", "b"]).tolist() == user_keys(["a", "bb", "b"])[[0, 2]].tolist()
    True
    """
    if not len(names):
        return np.zeros(0, np.int64)
    coded = np.char.encode(np.asarray(names, np.str_), "utf-8")
    octets = coded.view(np.uint8).reshape(len(coded), -1)
    key = np.full(len(coded), 0xCBF29CE484222325, np.uint64)
    for column in octets.T:  # over the letters of a name, not over names
        mixed = (key ^ column) * np.uint64(0x100000001B3)
        key = np.where(column > 0, mixed, key)
    key ^= key >> np.uint64(33)
    key *= np.uint64(0xFF51AFD7ED558CCD)
    key ^= key >> np.uint64(33)
    return key.view(np.int64)

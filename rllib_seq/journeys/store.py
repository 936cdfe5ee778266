"""Per-user sequences in bounded memory: append steps, fetch windows, for many users at once.

- `SequenceStore`: the last L steps of up to `capacity` users.
- `StoredWindow`: what a fetch returns.
- `user_keys`: names of users to the integers that the store wants.

All memory is set aside when the store is made (and taken from the system as users come); no call
loops over users in Python. Users are found by binary search in a sorted array of keys. When a new
user needs room, users whose last step is older than `ttl` go first, then the ones used least
recently. Time is the caller's (simulated or real); the store never reads a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rllib_seq.errors import UserError

__all__ = ["SequenceStore", "StoredWindow", "user_keys"]

Ints = NDArray[np.int64]
_SETTINGS = ("capacity", "window_length", "state_dim", "ttl")
_STEPS = ("states", "actions", "rewards", "timestamps")
_COUNTERS = ("evicted_lru", "evicted_ttl", "_clock", "_users")


class StoredWindow(NamedTuple):
    """The last steps of B users, right-aligned, oldest first; zeros where not valid."""

    states: NDArray[np.float32]
    """`[B, L, state_dim]`."""
    actions: NDArray[np.int32]
    """`[B, L]`."""
    rewards: NDArray[np.float32]
    """`[B, L]`."""
    timestamps: NDArray[np.float64]
    """`[B, L]`."""
    valid: NDArray[np.bool_]
    """`[B, L]`: True where the slot is filled; all False for an unknown or expired user."""


class SequenceStore:
    """The last `window_length` steps of the users seen most recently.

    >>> store = SequenceStore(capacity=2, window_length=3, state_dim=1)
    >>> for t in range(2):
    ...     store.append([7, 9], [[t], [-t]], actions=[t, t], rewards=[0, 1], timestamps=[t, t])
    >>> window = store.fetch([9, 8])
    >>> window.states[0, :, 0].tolist(), window.valid.tolist()
    ([0.0, 0.0, -1.0], [[False, True, True], [False, False, False]])
    >>> store.append([8], [[5]], [0], [0], [2])
    >>> len(store), store.evicted_lru, store.bytes_per_user
    (2, 1, 100)

    Args:
        capacity: most users at a time.
        window_length: steps kept per user (L).
        state_dim: numbers in a state.
        ttl: a user whose last step is older than this is forgotten, in the unit of the timestamps.
        blank: what else is kept of each user, as it is for a new one: one structured value.
        spare: rows for steps of no one, see `spare_rows`.
    """

    def __init__(
        self,
        capacity: int,
        window_length: int,
        state_dim: int,
        ttl: float = float("inf"),
        blank: np.void | None = None,
        spare: int = 0,
    ) -> None:
        for name, number in (
            ("capacity", capacity),
            ("window_length", window_length),
            ("state_dim", state_dim),
            ("ttl", ttl),
        ):
            if not number > 0:
                raise UserError(f"{name} is {number}; give a number above 0")
        self.capacity, self.window_length, self.state_dim = capacity, window_length, state_dim
        self.ttl = ttl
        self.evicted_lru = 0
        """Users forgotten to make room."""
        self.evicted_ttl = 0
        """Users forgotten because they were older than `ttl`."""
        self._blank = np.zeros((), np.dtype([])) if blank is None else blank
        self._users = 0
        self._clock = 0  # of uses: every call that names a user is one tick
        fields: list[tuple[Any, ...]] = [
            ("records", self._blank.dtype),
            # Steps that a user has had; step i is at place i % L of their ring.
            ("count", np.int64),
            ("seen", np.float64),
            ("timestamps", np.float64, (window_length,)),
            ("states", np.float32, (window_length, state_dim)),
            ("actions", np.int32, (window_length,)),
            ("rewards", np.float32, (window_length,)),
        ]
        # All that is known of a user stands in one place: they are packed, and cached, as a whole.
        self._users_kept = np.zeros(capacity + spare, np.dtype(fields, align=True))
        self._arrays: dict[str, NDArray[Any]] = {
            **{name: self._users_kept[name] for name, *_ in fields},
            "used": np.zeros(capacity, np.int64),
            # The first `_users` entries: keys, ascending, and the row of each; then the free rows.
            "keys": np.zeros(capacity, np.int64),
            "rows": np.arange(capacity),
        }

    def __len__(self) -> int:
        return self._users

    @property
    def records(self) -> NDArray[np.void]:
        """`[capacity + spare]`: what else is kept, by row (see `claim`); to read and to write."""
        return self._arrays["records"]

    @property
    def nbytes(self) -> int:
        """All memory of the store in bytes; constant."""
        return sum(array.nbytes for array in self._arrays.values())

    @property
    def bytes_per_user(self) -> int:
        """Bytes that one user takes, 40 for the index included."""
        return self.nbytes // self.capacity

    def append(
        self,
        users: ArrayLike,
        states: ArrayLike,
        actions: ArrayLike,
        rewards: ArrayLike,
        timestamps: ArrayLike,
    ) -> None:
        """Adds steps; those of one user in the order given.

        Args:
            users: `[B]` integer keys (see `user_keys`); a user may come several times.
            states: `[B, state_dim]`.
            actions: `[B]` integers.
            rewards: `[B]`.
            timestamps: `[B]`; the latest is taken for now.

        Raises:
            UserError: a shape is wrong, or there are more different users than `capacity`.
        """
        keys = np.asarray(users, np.int64)
        step: dict[str, NDArray[Any]] = {
            "states": np.asarray(states, np.float32),
            "actions": np.asarray(actions, np.int32),
            "rewards": np.asarray(rewards, np.float32),
            "timestamps": np.asarray(timestamps, np.float64),
        }
        for name, values in step.items():
            expected = (len(keys), self.state_dim) if name == "states" else (len(keys),)
            if values.shape != expected:
                raise UserError(f"{name} have shape {values.shape}; expected {expected}")
        if not len(keys):
            return
        now = float(step["timestamps"].max())
        # Steps by user, and the how-maniest step of its user each one is.
        order = np.argsort(keys, kind="stable")
        distinct, first, count = np.unique(keys[order], return_index=True, return_counts=True)
        rank = np.arange(len(keys)) - np.repeat(first, count)
        row = self._claim(distinct, now)[0]
        had = self._arrays["count"]
        place = np.repeat(had[row], count) + rank
        # Of more steps than a ring holds only the last ones stay.
        stays = rank >= np.repeat(count, count) - self.window_length
        at = np.repeat(row, count)[stays], place[stays] % self.window_length
        for name, values in step.items():
            self._arrays[name][at] = values[order][stays]
        had[row] += count
        self._arrays["seen"][row] = np.maximum.reduceat(step["timestamps"][order], first)
        self._arrays["used"][row] = self._clock

    def append_claimed(
        self,
        rows: Ints,
        states: NDArray[np.float32],
        actions: Ints,
        rewards: NDArray[Any],
        timestamps: NDArray[np.float64],
    ) -> None:
        """Adds one step each of different users whose rows are claimed; unchecked, but fast.

        Args:
            rows: `[B]`, see `claim`.
            states: `[B, state_dim]`; the others `[B]`.
            actions: the same.
            rewards: the same.
            timestamps: the same.
        """
        had = self._arrays["count"]
        at = rows, had[rows] % self.window_length
        for name, values in zip(_STEPS, (states, actions, rewards, timestamps), strict=True):
            self._arrays[name][at] = values
        had[rows] += 1
        self._arrays["seen"][rows] = timestamps

    def fetch(self, users: ArrayLike, now: float = -np.inf) -> StoredWindow:
        """The windows of users; a fetch counts as a use.

        Args:
            users: `[B]` integer keys.
            now: users older than `ttl` before it are unknown.
        """
        keys = np.asarray(users, np.int64)
        row, known = self._find(keys)
        known &= self._arrays["seen"][row] >= now - self.ttl
        self._clock += 1
        self._arrays["used"][row[known]] = self._clock
        return self._windows(row, known)

    def fetch_claimed(self, rows: Ints) -> StoredWindow:
        """The windows of users whose rows `[B]` are claimed."""
        return self._windows(rows, np.ones(len(rows), np.bool_))

    def _windows(self, row: Ints, known: NDArray[np.bool_]) -> StoredWindow:
        age = np.arange(self.window_length)[::-1]
        step = self._arrays["count"][row][:, None] - 1 - age  # [B, L]
        valid = known[:, None] & (step >= 0)
        at = row[:, None], step % self.window_length

        def filled(name: str) -> NDArray[Any]:
            values = self._arrays[name][at]
            values[~valid] = 0
            return values

        return StoredWindow(
            filled("states"), filled("actions"), filled("rewards"), filled("timestamps"), valid
        )

    def claim(self, users: ArrayLike, now: float) -> tuple[Ints, NDArray[np.bool_]]:
        """The rows of users, who are all known afterwards; a row is theirs until the next claim.

        Args:
            users: `[B]` different integer keys.
            now: they are seen now; users older than `ttl` before it start again.

        Returns:
            Rows `[B]`, and whether a user was unknown, `[B]`.

        Raises:
            UserError: there are more users than `capacity`.
        """
        keys = np.asarray(users, np.int64)
        order = np.argsort(keys)
        row, new = np.empty(len(keys), np.int64), np.empty(len(keys), np.bool_)
        row[order], new[order] = self._claim(keys[order], now)
        self._arrays["seen"][row] = now
        return row, new

    def spare_rows(self, count: int) -> Ints:
        """Blank rows `[count]` that belong to no user; used again by the next call.

        Raises:
            UserError: there are not as many.
        """
        first = self.capacity
        if count > len(self._users_kept) - first:
            raise UserError(f"{count} spare rows, but there are {len(self._users_kept) - first}")
        rows = np.arange(first, first + count)
        self.reset(rows)
        return rows

    def forget(self, users: ArrayLike) -> None:
        """Removes users and overwrites what was kept of them; those who are unknown, too."""
        row, known = self._find(np.asarray(users, np.int64))
        free = np.unique(row[known])
        self._users_kept[free] = np.zeros((), self._users_kept.dtype)
        rows = self._arrays["rows"][: self._users]
        kept = np.flatnonzero(~np.isin(rows, free))
        self._arrays["keys"][: len(kept)] = self._arrays["keys"][kept]
        self._arrays["rows"][: self._users] = np.concatenate([rows[kept], free])
        self._users = len(kept)

    def find(self, users: ArrayLike) -> tuple[Ints, NDArray[np.bool_]]:
        """Rows of users `[B]`, and whether they are known `[B]` (else the row means nothing)."""
        return self._find(np.asarray(users, np.int64))

    def credit(self, rows: Ints, rewards: ArrayLike) -> None:
        """Adds to the rewards of the last steps of different users.

        Args:
            rows: `[B]`; a user without a step gets nothing.
            rewards: `[B]`.
        """
        count = self._arrays["count"][rows]
        some = count > 0
        at = rows[some], (count[some] - 1) % self.window_length
        self._arrays["rewards"][at] += np.asarray(rewards, np.float32)[some]

    def pack(self, rows: Ints) -> list[bytes]:
        """Everything that is kept of users, for `unpack`; records first."""
        packed, size = self._users_kept[rows].tobytes(), self._users_kept.itemsize
        return [packed[start : start + size] for start in range(0, len(packed), size)]

    def unpack(self, rows: Ints, packed: Sequence[bytes]) -> None:
        """Puts users back as they were packed, by a store with the same settings.

        Args:
            rows: `[B]`, claimed for them.
            packed: `[B]`, as `pack` returns them.

        Raises:
            ValueError: the length of one is wrong.
        """
        size = self._users_kept.itemsize
        for each in packed:
            if len(each) != size:
                raise ValueError(f"a packed user has {len(each)} bytes, not {size}")
        self._users_kept[rows] = np.frombuffer(b"".join(packed), self._users_kept.dtype)

    def reset(self, rows: Ints) -> None:
        """Forgets everything of users, who stay known."""
        self._arrays["count"][rows] = 0
        self._arrays["records"][rows] = self._blank

    def save(self, path: Path) -> None:
        """Writes the store to one file; a crash on the way leaves the old file whole."""
        part = path.with_name(path.name + ".part")
        content: dict[str, Any] = {
            "settings": np.array([getattr(self, name) for name in _SETTINGS], np.float64),
            "counters": np.array([getattr(self, name) for name in _COUNTERS], np.int64),
            **self._arrays,
        }
        with part.open("wb") as file:
            np.savez(file, **content)
        part.replace(path)

    @classmethod
    def restore(cls, path: Path) -> SequenceStore:
        """Reads what `save` wrote; of a store without records.

        Raises:
            UserError: there is no such file, or it is not a store.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                capacity, length, dim, ttl = file["settings"].tolist()
                store = cls(int(capacity), int(length), int(dim), ttl)
                for name, number in zip(_COUNTERS, file["counters"].tolist(), strict=True):
                    setattr(store, name, number)
                for name, array in store._arrays.items():
                    array[:] = file[name]
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"cannot restore a sequence store from {str(path)!r}: {error}"
            ) from error
        return store

    def _find(self, keys: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """`[B]` rows, and whether the user is known (else the row means nothing)."""
        index = self._arrays["keys"][: self._users]
        at = np.minimum(np.searchsorted(index, keys), max(self._users - 1, 0))
        known = index[at] == keys if self._users else np.zeros(len(keys), np.bool_)
        return self._arrays["rows"][at], known

    def _claim(self, keys: Ints, now: float) -> tuple[Ints, NDArray[np.bool_]]:
        """`[K]` rows of distinct ascending keys, making room for the unknown; who was unknown."""
        self._clock += 1
        if len(keys) > self.capacity:
            raise UserError(
                f"{len(keys)} different users at once, but capacity is {self.capacity}; append "
                "fewer at a time or make a larger store"
            )
        row, known = self._find(keys)
        expired = known & (self._arrays["seen"][row] < now - self.ttl)
        self.reset(row[expired])  # they come back as a new user
        self.evicted_ttl += int(expired.sum())
        self._arrays["used"][row[known]] = self._clock  # anyone who is named now stays
        new = keys[~known]
        if not len(new):
            return row, expired
        lacking = self._users + len(new) - self.capacity
        if lacking > 0:
            self._evict(lacking, now)
        n = self._users
        index, rows = self._arrays["keys"], self._arrays["rows"]
        row_of_new = rows[n : n + len(new)].copy()
        self.reset(row_of_new)
        self._users = n + len(new)
        at = np.searchsorted(index[:n], new)
        rows[: self._users] = np.insert(rows[:n], at, row_of_new)
        index[: self._users] = np.insert(index[:n], at, new)
        self._arrays["used"][row_of_new] = self._clock
        return self._find(keys)[0], expired | ~known

    def _evict(self, lacking: int, now: float) -> None:
        """Forgets at least `lacking` users: all that are too old, else the least recently used."""
        rows = self._arrays["rows"][: self._users]
        used = self._arrays["used"][rows]
        too_old = (self._arrays["seen"][rows] < now - self.ttl) & (used < self._clock)
        self.evicted_ttl += int(too_old.sum())
        gone = too_old
        more = lacking - int(too_old.sum())
        if more > 0:
            rank = np.where(too_old, np.iinfo(np.int64).max, used)
            # A sixteenth at a time: the cost of finding them is shared by many appends.
            spare = int((rank < self._clock).sum())
            more = min(max(more, self.capacity // 16), spare)
            gone = too_old.copy()
            gone[np.argpartition(rank, more - 1)[:more]] = True
            self.evicted_lru += more
        kept = np.flatnonzero(~gone)
        free = rows[gone]
        self._arrays["keys"][: len(kept)] = self._arrays["keys"][kept]
        self._arrays["rows"][: self._users] = np.concatenate([rows[kept], free])
        self._users = len(kept)


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

"""Per-user sequences in bounded memory: append steps, fetch windows, for many users at once.

- `SequenceStore`: the last L steps of up to `capacity` users.
- `StoredWindow`: what a fetch returns.

All memory is set aside when the store is made (and taken from the system as users come); no call
loops over users in Python. Who makes room for new users is up to `user_rows`. Time is the caller's
(simulated or real); the store never reads a clock. Rings of plain steps, not the tensors of
`nn.encoders.windows`: a server has no torch, and writes one step where a tensor is made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rllib_seq.errors import UserError
from rllib_seq.journeys.user_rows import UserRows

Ints = NDArray[np.int64]
_SETTINGS = ("capacity", "window_length", "state_dim", "ttl")
_STEPS = ("states", "actions", "rewards", "timestamps")
_COUNTERS = ("evicted_lru", "evicted_ttl", "clock", "users")


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
        self.capacity, self.window_length, self.state_dim = capacity, window_length, state_dim
        self.ttl = ttl
        for name in _SETTINGS:
            if not getattr(self, name) > 0:
                raise UserError(f"{name} is {getattr(self, name)}; give a number above 0")
        self._blank = np.zeros((), np.dtype([])) if blank is None else blank
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
        self._back = np.arange(window_length, 0, -1)  # steps from the next one, oldest first
        self._users_kept = np.zeros(capacity + spare, np.dtype(fields, align=True))
        self._rows = UserRows(capacity, ttl, self._users_kept["seen"])
        self._arrays: dict[str, NDArray[Any]] = {
            **{name: self._users_kept[name] for name, *_ in fields},
            **self._rows.arrays,
        }

    def __len__(self) -> int:
        return self._rows.users

    @property
    def evicted_lru(self) -> int:
        """Users forgotten to make room."""
        return self._rows.evicted_lru

    @property
    def evicted_ttl(self) -> int:
        """Users forgotten because they were older than `ttl`."""
        return self._rows.evicted_ttl

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
        """Of one user, 40 for the index included."""
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
            users: `[B]` integer keys (see `user_rows.user_keys`); a user may come several times.
            states: `[B, state_dim]`.
            actions: `[B]` integers.
            rewards: `[B]`.
            timestamps: `[B]`; the latest is taken for now.

        Raises:
            UserError: a shape is wrong, or there are more users than `capacity`.
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
        stays = rank >= np.repeat(count, count) - self.window_length
        at = np.repeat(row, count)[stays], place[stays] % self.window_length
        for name, values in step.items():
            self._arrays[name][at] = values[order][stays]
        had[row] += count
        self._arrays["seen"][row] = np.maximum.reduceat(step["timestamps"][order], first)

    def append_claimed(
        self,
        rows: Ints,
        states: NDArray[np.float32],
        actions: Ints,
        rewards: NDArray[Any],
        timestamps: NDArray[np.float64],
    ) -> None:
        """Adds one step each of different users whose rows are claimed; unchecked, but fast.

        See `append`, with rows `[B]` of `claim` in place of users.
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
        row, known = self._rows.find(keys)
        known &= self._arrays["seen"][row] >= now - self.ttl
        self._rows.use(row[known])
        return self._windows(row, known)

    def fetch_claimed(self, rows: Ints) -> StoredWindow:
        """The windows of users whose rows `[B]` are claimed."""
        return self._windows(rows, None)

    def _windows(self, row: Ints, known: NDArray[np.bool_] | None) -> StoredWindow:
        """The windows of rows; None: all of them are users'."""
        step = self._arrays["count"][row][:, None] - self._back  # [B, L]
        valid = step >= 0
        if known is not None:
            valid &= known[:, None]
        at = row[:, None], step % self.window_length
        empty = None if valid.all() else ~valid

        def filled(name: str) -> NDArray[Any]:
            values = self._arrays[name][at]
            if empty is not None:
                values[empty] = 0
            return values

        return StoredWindow(valid=valid, **{name: filled(name) for name in _STEPS})

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
        row, new = self._claim(np.asarray(users, np.int64), now)
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
        row, known = self.find(users)
        free = np.unique(row[known])
        self._users_kept[free] = np.zeros((), self._users_kept.dtype)
        self._rows.forget(free)

    def find(self, users: ArrayLike) -> tuple[Ints, NDArray[np.bool_]]:
        """Rows of users `[B]`, and whether they are known `[B]` (else the row means nothing)."""
        return self._rows.find(np.asarray(users, np.int64))

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

    def _claim(self, keys: Ints, now: float) -> tuple[Ints, NDArray[np.bool_]]:
        """`[K]` rows of different keys, and who was unknown."""
        row, new = self._rows.claim(keys, now)
        if new.any():
            self.reset(row[new])
        return row, new

    def save(self, path: Path) -> None:
        """Writes the store to one file; a crash on the way leaves the old file whole."""
        part = path.with_name(path.name + ".part")
        content: dict[str, Any] = {
            "settings": np.array([getattr(self, name) for name in _SETTINGS], np.float64),
            "counters": np.array([getattr(self._rows, name) for name in _COUNTERS], np.int64),
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
                    setattr(store._rows, name, number)
                for name, array in store._arrays.items():
                    array[:] = file[name]
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"cannot restore a sequence store from {str(path)!r}: {error}"
            ) from error
        return store

"""What a server of streams remembers of every session, in bounded memory.

- `StreamSessions`: states of up to `capacity` sessions
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_seq.journeys.store import SequenceStore

Ints = NDArray[np.int64]


class StreamSessions:
    """The memory of a server of streams; sessions are what users are to a bid server.

    Args:
        fields: shape and type of everything that is kept, by name; zeros for a new session.
        capacity: sessions in memory at a time; who was seen least recently makes room.
        ttl_hours: a session that was not seen for so long begins again.
        guests: most requests at a time without a session.
    """

    def __init__(
        self, fields: Mapping[str, Any], capacity: int, ttl_hours: float, guests: int
    ) -> None:
        kept = [(name, part["dtype"], tuple(part["shape"])) for name, part in fields.items()]
        blank: Any = np.zeros((), [("version", np.int64), *kept])[()]
        self._names = list(fields)
        self._store = SequenceStore(capacity, 1, 1, ttl_hours, blank, guests)
        self.rows = capacity + guests
        """Of sessions and guests."""

    def __len__(self) -> int:
        return len(self._store)

    @property
    def nbytes(self) -> int:
        """Memory of as many sessions as there can be; constant."""
        return self._store.nbytes

    @property
    def evicted(self) -> int:
        """Sessions that made room."""
        return self._store.evicted_lru + self._store.evicted_ttl

    def claim(self, keys: Ints, hour: float) -> tuple[Ints, NDArray[np.bool_]]:
        """Rows of different sessions `[n]`, and which were not in memory `[n]`."""
        return self._store.claim(keys, hour)

    def guests(self, count: int) -> Ints:
        """Rows `[count]` without a past, which are gone after the next call."""
        return self._store.spare_rows(count)

    def forget(self, key: int) -> None:
        """Removes a session."""
        self._store.forget([key])

    def reset(self, rows: Ints) -> None:
        """Makes new sessions of them."""
        self._store.reset(rows)

    def begin(self, rows: Ints) -> None:
        """The same sessions without a past."""
        versions = self.versions(rows)
        self._store.reset(rows)
        self._store.records["version"][rows] = versions

    def pack(self, rows: Ints) -> list[bytes]:
        """All that is remembered of sessions; begins with the version, eight bytes."""
        return self._store.pack(rows)

    def unpack(self, rows: Ints, packed: list[bytes], hour: float) -> None:
        """Sessions as they were packed."""
        self._store.unpack(rows, packed)

    def versions(self, rows: Ints) -> list[int]:
        """How often each was changed."""
        return list(self._store.records["version"][rows].tolist())

    def changed(self, rows: Ints) -> None:
        """Raises the versions."""
        self._store.records["version"][rows] += 1

    def pack_campaign(self) -> bytes:
        """Nothing is remembered beside sessions."""
        return b""

    def unpack_campaign(self, packed: bytes, hour: float) -> None:
        """See `pack_campaign`."""

    def get(self, rows: Ints) -> dict[str, NDArray[Any]]:
        """What is kept of sessions, `[n, ...]` by name."""
        return {name: self._store.records[name][rows] for name in self._names}

    def put(self, rows: Ints, values: Mapping[str, NDArray[Any]]) -> None:
        """Keeps something else."""
        for name, value in values.items():
            self._store.records[name][rows] = value

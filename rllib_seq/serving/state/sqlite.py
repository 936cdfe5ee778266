"""State in one SQLite file, for one server.

- `SQLiteStorage`: see `storage.Storage`.

In WAL mode a commit is in the file (not yet on the disk) when it returns: it survives the end of
the process, kill -9 included. Losing power may cost the last seconds; a thread of its own brings
the log onto the disk once a second, so that no bid waits for it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import math
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rllib_seq.errors import UserError
from rllib_seq.serving.state.storage import TOTALS, Change, Hold

__all__ = ["SQLiteStorage"]

_LOG = logging.getLogger(__name__)
_CHECKPOINT_SECONDS = 1.0
_SWEEP_SECONDS = 1.0
_PRUNED_AT_ONCE = 500
_TABLES = """
CREATE TABLE IF NOT EXISTS constants (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sessions (user INTEGER PRIMARY KEY, seen REAL NOT NULL, state BLOB);
CREATE TABLE IF NOT EXISTS holds (bid INTEGER PRIMARY KEY, amount REAL NOT NULL, until REAL);
CREATE INDEX IF NOT EXISTS holds_until ON holds (until);
CREATE TABLE IF NOT EXISTS notices (notice TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS notices_until ON notices (until);
CREATE TABLE IF NOT EXISTS campaign (id INTEGER PRIMARY KEY, totals TEXT NOT NULL, signals BLOB);
"""


class SQLiteStorage:
    """One file, or memory.

    Args:
        path: of the file, or `:memory:`.

    Raises:
        UserError: it cannot be opened, or another server has it.
    """

    shared = False
    errors: tuple[type[Exception], ...] = (sqlite3.Error,)

    def __init__(self, path: str) -> None:
        self._lock = None
        if path != ":memory:":
            self._lock = _locked(path)
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute("PRAGMA wal_autocheckpoint=0")
            self._db.executescript(_TABLES)
            totals = json.dumps(dict.fromkeys(TOTALS, 0.0))
            self._db.execute("INSERT OR IGNORE INTO campaign VALUES (0, ?, NULL)", (totals,))
            row = self._db.execute("SELECT totals, signals FROM campaign").fetchone()
            self._totals: dict[str, float] = json.loads(row[0])
            self._held = self._sum_of_holds()
        except (sqlite3.Error, ValueError) as error:
            raise UserError(f"cannot open state {path!r}: {error}") from error
        self._swept = 0.0
        self._stop = threading.Event()
        self._to_prune: tuple[float, float] | None = None
        self._thread: threading.Thread | None = None
        if path != ":memory:":
            self._thread = threading.Thread(
                target=self._behind, args=(path,), name="sqlite-behind", daemon=True
            )
            self._thread.start()

    def constant(self, name: str, value: bytes) -> bytes:
        """See `Storage`; likewise the following."""
        self._db.execute("INSERT OR IGNORE INTO constants VALUES (?, ?)", (name, value))
        query = "SELECT value FROM constants WHERE name = ?"
        return bytes(self._db.execute(query, (name,)).fetchone()[0])

    def load(self, keys: Sequence[int]) -> list[bytes | None]:
        """Users."""
        marks = ",".join("?" * len(keys))
        query = f"SELECT user, state FROM sessions WHERE user IN ({marks})"
        found = dict(self._db.execute(query, list(keys)).fetchall())
        return [found.get(key) for key in keys]

    def load_campaign(self) -> bytes | None:
        """Signals of the campaign."""
        row = self._db.execute("SELECT signals FROM campaign").fetchone()
        return None if row[0] is None else bytes(row[0])

    def totals(self) -> dict[str, float]:
        """A copy."""
        return dict(self._totals)

    def held(self, now: float) -> float:
        """Currency units."""
        self._sweep(now)
        return self._held

    def hold(self, holds: Sequence[Hold], budget: float, now: float) -> list[bool]:
        """One after the other."""
        self._sweep(now)
        free = budget - self._totals["spend"] - self._held
        made = []
        for hold in holds:
            made.append(hold.amount <= free)
            if made[-1]:
                free -= hold.amount
        rows = [hold for hold, is_made in zip(holds, made, strict=True) if is_made]
        with self._transaction():
            self._db.executemany("INSERT INTO holds VALUES (?, ?, ?)", rows)
        self._held += math.fsum(hold.amount for hold in rows)
        return made

    def known(self, notice: str) -> bool:
        """Whether it was written."""
        query = "SELECT 1 FROM notices WHERE notice = ?"
        return self._db.execute(query, (notice,)).fetchone() is not None

    def write(self, change: Change) -> dict[str, float] | None:
        """One transaction."""
        totals = dict(self._totals)
        for name, amount in change.totals.items():
            totals[name] += amount
        released = 0.0
        with self._transaction():
            if change.notice is not None:
                insert = "INSERT OR IGNORE INTO notices VALUES (?, ?)"
                if self._db.execute(insert, change.notice).rowcount == 0:
                    return None
            if change.release is not None:
                released = self._free("bid = ?", change.release)
            self._db.executemany(
                "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?)",
                [(key, change.now, state) for key, (_, state) in change.sessions.items()],
            )
            self._db.execute(
                "UPDATE campaign SET totals = ?, signals = coalesce(?, signals)",
                (json.dumps(totals), change.campaign),
            )
        self._totals = totals
        self._held = max(0.0, self._held - released)
        return dict(totals)

    def prune(self, now: float, seen_before: float) -> None:
        """Looks through a file in the thread of the checkpoints, so that no bid waits for it."""
        if self._thread is None:
            _prune(self._db, now, seen_before)
        else:
            self._to_prune = (now, seen_before)

    def close(self) -> None:
        """Ends the thread and the connection."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._db.close()
        if self._lock is not None:
            self._lock.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _sweep(self, now: float) -> None:
        """Frees what is held no longer."""
        if now - self._swept < _SWEEP_SECONDS:
            return
        self._swept = now
        if self._free("until <= ?", now):
            self._held = self._sum_of_holds()  # anew, lest rounding add up

    def _free(self, which: str, value: float) -> float:
        query = f"DELETE FROM holds WHERE {which} RETURNING amount"
        return math.fsum(row[0] for row in self._db.execute(query, (value,)).fetchall())

    def _sum_of_holds(self) -> float:
        query = "SELECT coalesce(sum(amount), 0.0) FROM holds"
        return float(self._db.execute(query).fetchone()[0])

    def _behind(self, path: str) -> None:
        """Brings the log into the file and forgets what is old, behind the back of the bids."""
        db = sqlite3.connect(path, isolation_level=None)
        while not self._stop.wait(_CHECKPOINT_SECONDS):
            try:
                db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                if self._to_prune is not None:
                    _prune(db, *self._to_prune)
                    self._to_prune = None
            except sqlite3.Error as error:
                _LOG.error("cannot write the log into the state file: %s", error)
        db.close()


def _prune(db: sqlite3.Connection, now: float, seen_before: float) -> None:
    """Few at a time, because writers wait for each other."""
    for query, delete, limit in (
        ("SELECT notice FROM notices WHERE until < ?", "notices WHERE notice", now),
        ("SELECT user FROM sessions WHERE seen < ?", "sessions WHERE user", seen_before),
    ):
        old = db.execute(query, (limit,)).fetchall()
        for start in range(0, len(old), _PRUNED_AT_ONCE):
            keys = [row[0] for row in old[start : start + _PRUNED_AT_ONCE]]
            marks = ",".join("?" * len(keys))
            db.execute(f"DELETE FROM {delete} IN ({marks})", keys)


def _locked(path: str) -> IO[str]:
    """A lock that ends with the process."""
    try:
        lock = Path(path + ".lock").open("w")
    except OSError as error:
        raise UserError(f"cannot open state {path!r}: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise UserError(
            f"state {path!r} is in use by another server; give another --state, or redis:// for "
            "several servers"
        ) from None
    return lock

"""State in one SQLite file, for one server.

- `SQLiteStorage`: see `storage.Storage`.

In WAL mode a commit is in the file (not yet on the disk) when it returns: it survives the end of
the process, kill -9 included. Losing power may cost the last seconds; a thread of its own brings
the log onto the disk once a second, so that no bid waits for it, see `sqlite_file`.
"""

from __future__ import annotations

import json
import math
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

from rllib_seq.errors import UserError
from rllib_seq.serving.state.sqlite_file import MOST_LOG_BYTES, Checkpoints, StateFile
from rllib_seq.serving.state.storage import TOTALS, Adjustment, Change, Hold, Notice

__all__ = ["SQLiteStorage"]

_SWEEP_SECONDS = 1.0
_LOG_ATTEMPTS = 100
_PRUNED_AT_ONCE = 500
_INSERTED_AT_ONCE = 128
_PAGE_BYTES = 2048
_TABLES = """
CREATE TABLE IF NOT EXISTS constants (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sessions (user INTEGER PRIMARY KEY, seen REAL NOT NULL, state BLOB);
CREATE TABLE IF NOT EXISTS holds (bid INTEGER PRIMARY KEY, amount REAL NOT NULL, until REAL);
CREATE INDEX IF NOT EXISTS holds_until ON holds (until);
CREATE TABLE IF NOT EXISTS bookings (subject TEXT, name TEXT, until REAL, at REAL, amount REAL,
    flag TEXT, PRIMARY KEY (subject, name)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS bookings_until ON bookings (until);
CREATE TABLE IF NOT EXISTS books (id INTEGER PRIMARY KEY, totals TEXT NOT NULL, signals BLOB,
    written REAL);
CREATE TABLE IF NOT EXISTS adjustments (at REAL, total TEXT, amount REAL, reason TEXT);
CREATE TRIGGER IF NOT EXISTS adjustments_stay BEFORE UPDATE ON adjustments
    BEGIN SELECT RAISE(ABORT, 'adjustments are never changed'); END;
CREATE TRIGGER IF NOT EXISTS adjustments_last BEFORE DELETE ON adjustments
    BEGIN SELECT RAISE(ABORT, 'adjustments are never deleted'); END;
"""


class SQLiteStorage:
    """One file, or memory.

    Args:
        path: of the file, or `:memory:`.
        make: whether the file may be made.
        most_log_bytes: bound of the log, see `Checkpoints`.

    Raises:
        UserError: it cannot be opened, or another server has it.
    """

    shared = False
    errors: tuple[type[Exception], ...] = (sqlite3.Error,)

    def __init__(self, path: str, make: bool = True, most_log_bytes: int = MOST_LOG_BYTES) -> None:
        self._file = None if path == ":memory:" else StateFile(path, make)
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            # Of a new file: a batch changes a page for each of its users, and writes all of it.
            self._db.execute(f"PRAGMA page_size={_PAGE_BYTES}")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute("PRAGMA wal_autocheckpoint=0")
            self._db.executescript(_TABLES)
            totals = json.dumps(dict.fromkeys(TOTALS, 0.0))
            self._db.execute("INSERT OR IGNORE INTO books VALUES (0, ?, NULL, NULL)", (totals,))
            row = self._db.execute("SELECT totals FROM books").fetchone()
            self._totals: dict[str, float] = json.loads(row[0])
            self._held = self._sum_of_holds()
        except (sqlite3.Error, ValueError) as error:
            if self._file is not None:
                self._file.close()
            raise UserError(f"cannot open state {path!r}: {error}") from error
        self._swept = -math.inf
        self._to_prune: tuple[float, float] | None = None
        self._behind = None
        if self._file is not None:
            self._behind = Checkpoints(self._file, most_log_bytes, self._prune_behind)

    def constant(self, name: str, value: bytes) -> bytes:
        """See `Storage`; also the following."""
        self._db.execute("INSERT OR IGNORE INTO constants VALUES (?, ?)", (name, value))
        query = "SELECT value FROM constants WHERE name = ?"
        return bytes(self._db.execute(query, (name,)).fetchone()[0])

    def known_constant(self, name: str) -> bool:
        """Whether a value was set."""
        query = "SELECT 1 FROM constants WHERE name = ?"
        return self._db.execute(query, (name,)).fetchone() is not None

    def load(self, keys: Sequence[int]) -> list[bytes | None]:
        """Users."""
        marks = ",".join("?" * len(keys))
        query = f"SELECT user, state FROM sessions WHERE user IN ({marks})"
        found = dict(self._db.execute(query, list(keys)).fetchall())
        return [found.get(key) for key in keys]

    def load_campaign(self) -> bytes | None:
        """Signals of the campaign."""
        row = self._db.execute("SELECT signals FROM books").fetchone()
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
            self._insert("INSERT INTO holds", rows)
        self._held += math.fsum(hold.amount for hold in rows)
        return made

    def known(self, subject: str, name: str) -> bool:
        """Whether it was written."""
        query = "SELECT 1 FROM bookings WHERE subject = ? AND name = ?"
        return self._db.execute(query, (subject, name)).fetchone() is not None

    def names_of(self, subject: str) -> list[str]:
        """Of all its notices."""
        query = "SELECT name FROM bookings WHERE subject = ?"
        return [row[0] for row in self._db.execute(query, (subject,)).fetchall()]

    def write(self, change: Change) -> dict[str, float] | None:
        """One transaction."""
        totals = dict(self._totals)
        for name, amount in change.totals.items():
            totals[name] += amount
        released = 0.0
        with self._transaction():
            if change.notice is not None:
                insert = "INSERT OR IGNORE INTO bookings VALUES (?, ?, ?, ?, ?, ?)"
                if self._db.execute(insert, change.notice).rowcount == 0:
                    return None
            if change.release is not None:
                released = self._free("bid = ?", change.release)
            self._insert(
                "INSERT OR REPLACE INTO sessions",
                [(key, change.now, state) for key, (_, state) in change.sessions.items()],
            )
            self._db.execute(
                "UPDATE books SET totals = ?, signals = coalesce(?, signals), written = ?",
                (json.dumps(totals), change.campaign, change.now),
            )
        self._totals = totals
        self._held = max(0.0, self._held - released)
        return dict(totals)

    def forget(self, key: int) -> None:
        """Overwrites what was deleted, and empties the log, which may have it still."""
        self._db.execute("PRAGMA secure_delete=ON")
        try:
            with self._transaction():
                self._db.execute("DELETE FROM sessions WHERE user = ?", (key,))
                self._db.execute("DELETE FROM bookings WHERE subject = ?", (f"u{key}",))
            self._empty_log()
        finally:
            self._db.execute("PRAGMA secure_delete=OFF")

    def _empty_log(self) -> None:
        for _ in range(_LOG_ATTEMPTS):  # the thread of the checkpoints may be at it
            busy = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            if not busy:
                return
            time.sleep(0.01)
        raise sqlite3.OperationalError("the log of the state is busy; forget the user again")

    def prune(self, now: float, seen_before: float) -> None:
        """Looks through a file in the thread of the checkpoints, so that no bid waits for it."""
        if self._behind is None:
            _prune(self._db, now, seen_before)
        else:
            self._to_prune = (now, seen_before)

    def last_written(self) -> float | None:
        """`Change.now` of the last change."""
        written = self._db.execute("SELECT written FROM books").fetchone()[0]
        return None if written is None else float(written)

    def check(self) -> None:
        """One transaction."""
        if self._behind is not None and not self._behind.alive:
            raise sqlite3.OperationalError("nothing brings its log into the file any more")
        with self._transaction():
            # Something else every time: SQLite does not write what is there already.
            row = ("checked", secrets.token_bytes(8))
            self._db.execute("INSERT OR REPLACE INTO constants VALUES (?, ?)", row)

    def log_bytes(self) -> int:
        """Of the write-ahead log."""
        return 0 if self._behind is None else self._behind.log_bytes()

    def adjust(self, adjustment: Adjustment) -> dict[str, float]:
        """One transaction."""
        totals = dict(self._totals)
        totals[adjustment.total] += adjustment.amount
        with self._transaction():
            self._db.execute("INSERT INTO adjustments VALUES (?, ?, ?, ?)", adjustment)
            self._db.execute("UPDATE books SET totals = ?", (json.dumps(totals),))
        self._totals = totals
        return dict(totals)

    def adjustments(self) -> list[Adjustment]:
        """All of them, oldest first."""
        rows = self._db.execute("SELECT * FROM adjustments ORDER BY rowid").fetchall()
        return [Adjustment(*row) for row in rows]

    def notices(self) -> Iterator[Notice]:
        """By subject."""
        for row in self._db.execute("SELECT * FROM bookings"):
            yield Notice(*row)

    def close(self) -> None:
        """Ends the thread and the connection; closing again does nothing."""
        if self._behind is not None:
            self._behind.close()
        self._db.close()
        if self._file is not None:
            self._file.close()
        self._file = self._behind = None

    def _insert(self, where: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Rows of three columns, in as few steps as can be.

        After every step SQLite takes the interpreter back, and may have to wait for it until the
        event loop lets go.
        """
        for start in range(0, len(rows), _INSERTED_AT_ONCE):
            some = rows[start : start + _INSERTED_AT_ONCE]
            marks = ", ".join(["(?, ?, ?)"] * len(some))
            self._db.execute(f"{where} VALUES {marks}", list(chain.from_iterable(some)))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._behind is not None and self._behind.moved:
            raise sqlite3.OperationalError("the state file was moved or deleted")
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk may have ended it
                self._db.execute("ROLLBACK")
            raise
        if self._behind is not None:
            self._behind.written(self._db)

    def _sweep(self, now: float) -> None:
        """Frees what is held no longer."""
        if now - self._swept < _SWEEP_SECONDS:
            return
        self._swept = now
        if self._free("until <= ?", now):
            self._held = self._sum_of_holds()  # again, lest rounding add up

    def _free(self, which: str, value: float) -> float:
        query = f"DELETE FROM holds WHERE {which} RETURNING amount"
        return math.fsum(row[0] for row in self._db.execute(query, (value,)).fetchall())

    def _sum_of_holds(self) -> float:
        query = "SELECT coalesce(sum(amount), 0.0) FROM holds"
        return float(self._db.execute(query).fetchone()[0])

    def _prune_behind(self, db: sqlite3.Connection) -> None:
        if self._to_prune is not None:
            _prune(db, *self._to_prune)
            self._to_prune = None


def _prune(db: sqlite3.Connection, now: float, seen_before: float) -> None:
    """Few at a time, because writers wait for each other."""
    for table, keys, limit in (
        ("bookings WHERE until", ("subject", "name"), now),
        ("sessions WHERE seen", ("user",), seen_before),
    ):
        old = db.execute(f"SELECT {', '.join(keys)} FROM {table} < ?", (limit,)).fetchall()
        which = " AND ".join(f"{key} = ?" for key in keys)
        delete = f"DELETE FROM {table.split()[0]} WHERE {which}"
        for start in range(0, len(old), _PRUNED_AT_ONCE):
            db.execute("BEGIN IMMEDIATE")
            db.executemany(delete, old[start : start + _PRUNED_AT_ONCE])
            db.execute("COMMIT")

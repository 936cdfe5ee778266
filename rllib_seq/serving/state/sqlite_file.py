"""The file of an SQLite state: private, of one server, with a bounded log beside it.

- `StateFile`: the file, locked.
- `Checkpoints`: the thread that brings the log (WAL) into the file and bounds it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from pathlib import Path

from rllib_seq.errors import UserError
from rllib_seq.serving.quiet_log import OncePerSecond

MOST_LOG_BYTES = 64 * 2**20
"""Of the write-ahead log; a server that writes faster than the disk waits for it from there on."""
_LOG = logging.getLogger(__name__)
_LOG.addFilter(OncePerSecond())
_SECONDS = 1.0
_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_ours: set[tuple[int, int]] = set()  # files that this process has locked, see `StateFile`


class StateFile:
    """A file that one server has, whatever name it is opened by.

    The lock is on the file itself. A process that closes a file loses all its locks on it, those of
    SQLite, too, so a file that this process has already is never opened a second time.

    Args:
        path: is made if it is not there.
        make: whether it may be made.

    Raises:
        UserError: it cannot be opened, another server has it, or it has a second name.
    """

    def __init__(self, path: str, make: bool = True) -> None:
        self.path = Path(path)
        self.log_path = Path(f"{self.path.resolve()}-wal")
        """Of the write-ahead log, which SQLite names after the file that a link leads to."""
        try:
            if self.path.exists() and self._identity() in _ours:
                raise _in_use(path)
            flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if make else 0)
            self._file = os.open(path, flags, stat.S_IRUSR | stat.S_IWUSR)
            try:
                self.identity = self._taken(path)
                self._make_private()
            except BaseException:
                os.close(self._file)
                raise
        except OSError as error:
            raise UserError(f"cannot open state {path!r}: {error}") from error
        _ours.add(self.identity)

    def in_place(self) -> bool:
        """Whether the file can still be found by its name."""
        try:
            return self._identity() == self.identity
        except OSError:
            return False

    def close(self) -> None:
        """Lets go; after SQLite has."""
        _ours.discard(self.identity)
        os.close(self._file)

    def _identity(self) -> tuple[int, int]:
        found = self.path.stat()
        return found.st_dev, found.st_ino

    def _taken(self, path: str) -> tuple[int, int]:
        found = os.fstat(self._file)
        if not stat.S_ISREG(found.st_mode):
            raise UserError(f"state {path!r} is not a file; give the path of one")
        if found.st_nlink > 1:
            # Of which name the log is, decides what is read after a crash.
            raise UserError(
                f"state {path!r} has {found.st_nlink} names (hard links), and SQLite's log belongs "
                "to one of them; remove the others, or give another --state"
            )
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use(path) from None
        return found.st_dev, found.st_ino

    def _make_private(self) -> None:
        """The file and what an earlier server left beside it."""
        for each in (self.path.resolve(), self.log_path, Path(f"{self.path.resolve()}-shm")):
            if each.exists() and each.stat().st_mode & _OPEN_TO_OTHERS:
                each.chmod(stat.S_IRUSR | stat.S_IWUSR)


class Checkpoints:
    """Brings the log into the file once a second, behind the back of the bids, and bounds it.

    A checkpoint beside a writer reaches the end of the log hardly ever, and a log whose end is not
    reached only grows. So at half of its bound the writer is kept waiting for one that does, and
    empties the log; what is left for it is little, because the one before came far.

    Args:
        file: of the state.
        most_bytes: of the log.
        also: what else is done on the connection of the thread, each time.
    """

    def __init__(
        self, file: StateFile, most_bytes: int, also: Callable[[sqlite3.Connection], None]
    ) -> None:
        self._file, self._most, self._also = file, most_bytes, also
        self._wake, self._stopping = threading.Event(), False
        self._turn = threading.Lock()  # SQLite refuses a checkpoint beside another
        self.moved = False
        """The file is no longer where it was: what is written is lost to the next server."""
        self._thread = threading.Thread(target=self._run, name="sqlite-checkpoints", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    def log_bytes(self) -> int:
        """Of the log, now."""
        try:
            return self._file.log_path.stat().st_size
        except OSError:
            return 0

    def written(self, db: sqlite3.Connection) -> None:
        """After a commit: wakes the thread in time; at the bound, empties the log itself."""
        size = self.log_bytes()
        if size >= self._most:
            with self._turn:
                self._bring(db, "TRUNCATE")
        elif size >= self._most // 4:
            self._wake.set()

    def close(self) -> None:
        """Ends the thread."""
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        db = sqlite3.connect(self._file.path, isolation_level=None, timeout=1.0)
        while not self._stopping:
            self._wake.wait(_SECONDS)
            self._wake.clear()
            self.moved = not self._file.in_place()
            if self.moved:
                _LOG.error("state %r was moved or deleted; stop the server", str(self._file.path))
            with self._turn:
                self._bring(db, "PASSIVE")
                if self.log_bytes() >= self._most // 2:
                    self._bring(db, "TRUNCATE")
            try:
                self._also(db)
            except sqlite3.Error as error:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                _LOG.error("cannot delete what is too old from the state: %s", error)
        db.close()

    def _bring(self, db: sqlite3.Connection, how: str) -> None:
        """One checkpoint. What was committed is safe in the log even if this fails."""
        try:
            db.execute(f"PRAGMA wal_checkpoint({how})").fetchall()
        except sqlite3.Error as error:
            _LOG.error("cannot bring the log into the state file: %s", error)


def _in_use(path: str) -> UserError:
    return UserError(
        f"state {path!r} is in use by another server; give another --state, or redis:// for "
        "several servers"
    )

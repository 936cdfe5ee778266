"""The event log: its schema, and the log in memory.

- `SCHEMA`: the columns of a log.
- `EventLog`: checked events as numpy columns, sorted by user and time.
- `load_events`: reads any log that `reading` knows.

A row has a `timestamp`, a `user_id` and an `event`; the other columns may be absent or empty.
Documented behaviour (tested):

- Times with an offset or zone become UTC; times without are UTC; numbers are Unix seconds.
- Unsorted rows are sorted; equal times keep the order of the file. Rows that are equal in every
  column count once.
- Missing and NaN prices and values are missing. Negative, infinite and unreadable ones are lost and
  counted; their events stay.
- A file without any good row is an error; a file of one user is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rllib_seq.errors import UserError
from rllib_seq.journeys.local_time import to_local
from rllib_seq.journeys.reading.bad_rows import BadRows
from rllib_seq.journeys.reading.events import EventReader
from rllib_seq.journeys.reading.formats import Format, find_format
from rllib_seq.journeys.reading.paths import PathReader
from rllib_seq.journeys.reading.schema import EVENTS, NAMES, NUMBERS, LogSchema, ReadingOptions
from rllib_seq.journeys.reading.sources import Source, find_sources

__all__ = ["EVENTS", "NUMBERS", "SCHEMA", "EventLog", "load_events"]

SCHEMA = pa.schema(
    [
        pa.field("timestamp", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("event", pa.string(), nullable=False),
        *(pa.field(name, pa.string()) for name in NAMES),
        *(pa.field(name, pa.float64()) for name in NUMBERS),
    ]
)
"""price: our bid; market_price: the highest competing bid; floor: the least that wins; value: of a
conversion. One currency and unit per file."""

_DAY = 86_400_000_000  # microseconds


@dataclass(frozen=True, eq=False)
class EventLog:
    """n events, sorted by user and time; about 37 bytes each."""

    time: NDArray[np.int64]
    """`[n]` microseconds since 1970, UTC."""
    user: NDArray[np.integer]
    """`[n]` number of the user, below `num_users`."""
    event: NDArray[np.int8]
    """`[n]` index into `EVENTS`."""
    channel: NDArray[np.integer]
    """`[n]` index into `names["channel"]`; so are segment, device and creative."""
    segment: NDArray[np.integer]
    device: NDArray[np.integer]
    creative: NDArray[np.integer]
    price: NDArray[np.float32]
    """`[n]`, NaN where missing; so are market_price, floor and value."""
    market_price: NDArray[np.float32]
    floor: NDArray[np.float32]
    value: NDArray[np.float32]
    names: dict[str, list[str]]
    """The words behind the indices of channel, segment, device and creative."""
    num_users: int
    duplicates: int
    """Rows that were dropped because they repeat another."""
    bad: BadRows
    """What was left out or lost, and what has to be known about the reading."""
    format: str
    """"events", "ipinyou" or "paths"."""
    has_clock: bool = True
    """False where the file has dates alone, or no times: hours, peaks and delays mean nothing."""
    timezone: str = "UTC"
    """IANA name of the zone whose days, hours and weekdays count."""

    def __len__(self) -> int:
        return len(self.time)

    @property
    def local_time(self) -> NDArray[np.int64]:
        """`[n]` microseconds since 1970 on the wall clock of `timezone`; dates stay as they are."""
        return to_local(self.time, self.timezone) if self.has_clock else self.time

    @property
    def timed(self) -> bool:
        """Whether the file has real times."""
        return self.format != "paths"

    def is_event(self, *kinds: str) -> NDArray[np.bool_]:
        """`[n]`: whether the event is one of `kinds`."""
        return np.isin(self.event, [EVENTS.index(kind) for kind in kinds])


def load_events(
    path: Path | str | Sequence[Path | str],
    strict: bool = False,
    progress: Callable[[float], None] | None = None,
    options: ReadingOptions | None = None,
) -> EventLog:
    """Reads a log, one batch of rows at a time.

    Args:
        path: a file, a folder, a pattern such as `logs/*.csv`, or several; together they are one
            log. Event logs (CSV, JSON lines, Parquet), iPinYou rows or journey paths.
        strict: stop at the first bad row.
        progress: is given the share of the log that has been read.
        options: how columns, events and times are named.

    Raises:
        UserError: no such file, an unknown format, no good row, or a bad row with `strict`.
    """
    schema = (options or ReadingOptions()).load()
    paths = [path] if isinstance(path, str | Path) else list(path)
    sources = find_sources(paths)
    bad = BadRows(sources[0].path, strict)
    bad.many = len(sources) > 1
    read = _Reading(bad, progress, sum(source.size for source in sources))
    for source in sources:
        read.file(source, schema)
    bad.path = Path(paths[0])
    return read.log(schema)


class _Reading:
    """The files of a log, as far as they are read."""

    def __init__(self, bad: BadRows, progress: Callable[[float], None] | None, size: int) -> None:
        self.bad, self._progress, self._size = bad, progress, size
        self.reader = EventReader(bad)
        self.kinds: list[str] = []
        self.files: list[list[dict[str, NDArray[Any]]]] = []
        self.users = 0
        """Of journey paths."""
        self._read = 0

    def file(self, source: Source, schema: LogSchema) -> None:
        """Reads one file."""
        self.bad.begin(source.path)
        found = find_format(source, schema)
        self.kinds.append(found.kind)
        if (found.kind == "paths") != (self.kinds[0] == "paths"):
            raise UserError(f"{str(source.path)!r} and another file are not both journey paths")
        parts: list[dict[str, NDArray[Any]]] = []
        bad_before = self.bad.count
        for new, done in self._parts(source, found):
            parts += [part for part in new if len(part) and len(part["time"])]
            if not parts and self.bad.count > bad_before:
                raise UserError(_nothing(self.bad, source))
            pa.default_memory_pool().release_unused()
            if self._progress is not None:
                self._progress((self._read + done * source.size) / max(self._size, 1))
        if not parts and self.bad.count > bad_before:
            raise UserError(_nothing(self.bad, source))
        self._read += source.size
        if len(found.schema.rules) == 1 and _newest_first(parts):
            parts = [{name: v[::-1] for name, v in part.items()} for part in reversed(parts)]
        self.files.append(parts)

    def _parts(self, source: Source, found: Format) -> Any:
        """The parts of the log from each batch, and the share of the file that is read."""
        if found.kind == "paths":
            paths = PathReader(self.reader, found.schema, self.users)
            for batch in found.batches(source, self.bad):
                yield paths.read(batch), batch.done
            self.users = paths.users
            return
        for batch in found.batches(source, self.bad):
            yield [self.reader.read(batch, found.schema, source.constants)], batch.done

    def log(self, schema: LogSchema) -> EventLog:
        """The whole log, sorted."""
        # Where times are equal, files of causes come before files of effects.
        files = sorted(
            (parts for parts in self.files if parts),
            key=lambda parts: min(int(part["event"].min()) for part in parts),
        )
        parts = [part for file in files for part in file]
        if not parts:
            raise UserError(f"{str(self.bad.path)!r} has no event")
        columns: dict[str, Any] = {}
        for name in list(parts[0]):
            columns[name] = np.concatenate([part.pop(name) for part in parts])
        kind, duplicates, has_clock = self.kinds[0], 0, False
        users = self.users
        if kind != "paths":
            time = columns["time"]
            has_clock = len(time) == 1 or bool((time % _DAY).any())
            if has_clock and schema.timezone != "UTC":
                local = to_local(time, schema.timezone)
                has_clock = bool((local % _DAY).any())
                columns["time"] = time if has_clock else local
            duplicates = _sort(columns, has_clock)
            users = len(self.reader.vocabularies["user_id"].words)
            _take_notes(self.bad, schema, has_clock)
        names = {name: self.reader.vocabularies[name].words.to_pylist() for name in NAMES}
        return EventLog(
            **columns,
            names=names,
            num_users=users,
            duplicates=duplicates,
            bad=self.bad,
            format=kind,
            has_clock=has_clock,
            timezone=schema.timezone,
        )


def _nothing(bad: BadRows, source: Source) -> str:
    return (
        f"{str(source.path)!r} has no event; the first of {bad.count} bad rows, "
        f"{bad.first}{bad.hint()}"
    )


def _take_notes(bad: BadRows, schema: LogSchema, has_clock: bool) -> None:
    if not has_clock:
        bad.note(
            "the times are dates without a clock: hours, peaks and delays are left out, and equal "
            "rows are not taken for repeats"
        )
    if schema.timezone != "UTC":
        bad.note(
            f"days and hours are those of {schema.timezone}; a time without an offset is read as "
            f"{schema.times.zone}"
        )
    if schema.times.origin:
        begin = np.datetime64(schema.times.origin, "us").astype("datetime64[s]")
        bad.note(f"times count from {begin} UTC (--time-origin)")
    if bad.ignored:
        words = ", ".join(f"{word} ({n:,})" for word, n in bad.ignored.most_common(8))
        bad.note(f"rows of other events were left out, as the schema says: {words}")


def _newest_first(parts: list[dict[str, NDArray[Any]]]) -> bool:
    """Whether a file is written from its end: its equal times are in reverse, too."""
    falls, before = False, None
    for part in parts:
        time = part["time"] if before is None else np.append(before, part["time"])
        steps = np.diff(time)
        if (steps > 0).any():
            return False
        falls |= bool((steps < 0).any())
        before = time[-1]
    return falls


def _sort(columns: dict[str, NDArray[Any]], drop_repeats: bool) -> int:
    """Sorts columns in place by user and time; returns how many repeats it dropped.

    Equal times keep their order.
    """
    order = np.lexsort([columns["time"], columns["user"]])
    same = _equals_before([columns[name] for name in ("user", "time")], order)
    # Few rows tie in user and time; only these can repeat another.
    tied = same.copy()
    tied[:-1] |= same[1:]
    ties = order[tied]
    dropped = 0
    if drop_repeats and len(ties):
        # Numbers are not negative: -1 is a missing one, so that it equals another.
        keys = [np.nan_to_num(columns[name][ties], nan=-1.0) for name in NUMBERS]
        keys += [columns[name][ties] for name in (*NAMES, "event", "time", "user")]
        ranked = np.lexsort([ties, *keys])
        repeats = ties[ranked[_equals_before(keys, ranked)]]
        dropped = len(repeats)
        keep = np.ones(len(order), np.bool_)
        keep[repeats] = False
        order = order[keep[order]]
    for name in columns:
        columns[name] = columns[name][order]
    return dropped


def _equals_before(keys: Sequence[NDArray[Any]], order: NDArray[np.int64]) -> NDArray[np.bool_]:
    """`[n]`: whether a row equals the one before it in all keys."""
    same = np.ones(len(order), np.bool_)
    same[:1] = False
    for key in keys:
        ordered = key[order]
        same[1:] &= ordered[1:] == ordered[:-1]
    return same

"""The event log: its schema, its checks, and the log in memory.

- `SCHEMA`: the columns of a log.
- `EventLog`: checked events as numpy columns, sorted by user and time.
- `load_events`: reads any known file (see `converters`).

A row has a `timestamp`, a `user_id` and an `event`; the other columns may be absent or empty.
Documented behaviour (tested):

- Times with an offset or zone become UTC; times without are UTC; numbers are Unix seconds.
- Unsorted rows are sorted. Rows equal in time, user, event, channel and creative count once.
- Missing and NaN prices and values are missing, not bad. Negative and infinite ones are bad.
- A file without any good row is an error; a file of one user is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rllib_seq.errors import UserError
from rllib_seq.journeys.bad_rows import BadRows
from rllib_seq.journeys.converters import open_events
from rllib_seq.journeys.local_time import to_local
from rllib_seq.journeys.reading import Batch

__all__ = ["EVENTS", "NUMBERS", "SCHEMA", "EventLog", "load_events"]

EVENTS = ("request", "impression", "click", "visit", "conversion")
"""Kinds of event, in the order in which they happen at one instant."""
_NAMES = ("channel", "segment", "device", "creative")
NUMBERS = ("price", "market_price", "floor", "value")

SCHEMA = pa.schema(
    [
        pa.field("timestamp", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("event", pa.string(), nullable=False),
        *(pa.field(name, pa.string()) for name in _NAMES),
        *(pa.field(name, pa.float64()) for name in NUMBERS),
    ]
)
"""price: our bid; market_price: the highest competing bid; floor: the least that wins; value: of a
conversion. One currency and unit per file."""

_EARLIEST = np.datetime64("1990-01-01", "us").astype(np.int64)
_LATEST = np.datetime64("2100-01-01", "us").astype(np.int64)
_NONE = "(none)"
_MISSING = pa.array(["null", "NULL", "NA", "NaN", "nan", "None"])


@dataclass(frozen=True, eq=False)
class EventLog:
    """n events, sorted by user, time and kind; about 37 bytes each."""

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


class _Vocabulary:
    """Words to numbers in order of first appearance, a batch at a time."""

    def __init__(self) -> None:
        self.words = pa.array([], pa.large_string())

    def encode(self, values: Any) -> NDArray[np.integer]:
        """`[n]` strings to `[n]` numbers, of 16 bits as long as these suffice."""
        coded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
        words = coded.dictionary.cast(pa.large_string())
        known = pc.index_in(words, value_set=self.words)
        new = known.is_null().to_numpy(zero_copy_only=False)
        number = known.fill_null(0).to_numpy(zero_copy_only=False).copy()
        number[new] = len(self.words) + np.arange(new.sum())
        self.words = pa.concat_arrays([self.words, words.filter(pa.array(new))])
        small = np.int16 if len(self.words) < 1 << 15 else np.int32
        return number.astype(small)[coded.indices.to_numpy(zero_copy_only=False)]


def load_events(
    path: Path, strict: bool = False, progress: Callable[[float], None] | None = None
) -> EventLog:
    """Reads a log, one batch of rows at a time.

    Args:
        path: an event log (CSV or Parquet), iPinYou rows or journey paths.
        strict: stop at the first bad row.
        progress: is told the share of the file that has been read.

    Raises:
        UserError: no such file, an unknown format, no good row, or a bad row with `strict`.
    """
    bad = BadRows(path, strict)
    kind, batches = open_events(path, bad, tuple(SCHEMA.names))
    vocabularies = {name: _Vocabulary() for name in ("user_id", *_NAMES)}
    parts: list[dict[str, NDArray[Any]]] = []
    for batch in batches:
        parts.append(_check(batch, bad, vocabularies))
        pa.default_memory_pool().release_unused()
        if progress is not None:
            progress(batch.done)
    columns: dict[str, Any] = {}
    for name in list(parts[0]) if parts else ():
        columns[name] = np.concatenate([part.pop(name) for part in parts])
    if not columns or not len(columns["time"]):
        first = f"; the first of {bad.count} bad rows, {bad.examples[0]}" if bad.count else ""
        raise UserError(f"{str(path)!r} has no event{first}")
    duplicates = _sort(columns)
    return EventLog(
        **columns,
        names={name: vocabularies[name].words.to_pylist() for name in _NAMES},
        num_users=len(vocabularies["user_id"].words),
        duplicates=duplicates,
        bad=bad,
        format=kind,
        has_clock=kind != "paths",
    )


def _check(
    batch: Batch, bad: BadRows, vocabularies: dict[str, _Vocabulary]
) -> dict[str, NDArray[Any]]:
    """Numpy columns of the good rows; the others are counted."""
    n = len(batch.lines)
    faults: list[tuple[NDArray[np.bool_], Callable[[int], str]]] = []

    def shown(name: str) -> Callable[[int], Any]:
        return lambda row: batch.columns[name][row].as_py()

    time = _microseconds(batch.columns["timestamp"])
    what = shown("timestamp")
    faults.append(
        (
            ~((time >= _EARLIEST) & (time < _LATEST)),
            lambda row: f"timestamp {_text(what(row))} is not a time from 1990 to 2099",
        )
    )
    user = _strings(batch.columns["user_id"])
    faults.append((_mask(pc.or_kleene(user.is_null(), pc.equal(user, ""))), lambda _: "no user_id"))
    event = _mask_fill(pc.index_in(_strings(batch.columns["event"]), value_set=pa.array(EVENTS)))
    kind = shown("event")
    faults.append((event < 0, lambda row: f"event {kind(row)!r} is none of {', '.join(EVENTS)}"))
    numbers = {}
    for name in NUMBERS:
        values = batch.columns.get(name)
        if values is None:
            numbers[name] = np.full(n, np.nan, np.float32)
            continue
        numbers[name], wrong = _floats(values)
        faults.append((wrong, _number_fault(name, shown(name))))

    good = ~np.logical_or.reduce([wrong for wrong, _ in faults])
    if not good.all():
        rows = np.flatnonzero(~good)
        reasons = [
            next(say(row) for wrong, say in faults if wrong[row]) for row in rows[:5].tolist()
        ]
        bad.add(batch.lines[rows].tolist(), reasons)
    keep = pa.array(good)
    columns: dict[str, NDArray[Any]] = {"time": time[good]}
    columns["user"] = vocabularies["user_id"].encode(user.filter(keep))
    columns["event"] = event[good].astype(np.int8)
    for name in _NAMES:
        values = batch.columns.get(name, pa.nulls(n, pa.string()))
        words = pc.fill_null(_strings(values).filter(keep), _NONE)
        columns[name] = vocabularies[name].encode(words)
    for name in NUMBERS:
        columns[name] = numbers[name][good]
    return columns


def _number_fault(name: str, value: Callable[[int], Any]) -> Callable[[int], str]:
    return lambda row: f"{name} {_text(value(row))} is not a number of at least 0"


def _text(value: Any) -> str:
    return repr(value) if isinstance(value, str) else str(value)


def _sort(columns: dict[str, NDArray[Any]]) -> int:
    """Sorts columns in place by user, time and the rest; returns how many repeats it dropped."""
    order = np.lexsort([columns["time"], columns["user"]])
    same = _equals_before(columns, ("user", "time"), order)
    # Few rows tie in user and time; only these need the other keys.
    tied = same.copy()
    tied[:-1] |= same[1:]
    keys = ("creative", "channel", "event", "time", "user")
    ties = order[tied]
    order[tied] = ties[np.lexsort([columns[name][ties] for name in keys])]
    same[tied] = _equals_before(columns, keys, order[tied])
    order = order[~same]
    for name in columns:
        columns[name] = columns[name][order]
    return int(same.sum())


def _equals_before(
    columns: dict[str, NDArray[Any]], keys: Sequence[str], order: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """`[n]`: whether a row equals the one before it in all keys."""
    same = np.ones(len(order), np.bool_)
    same[:1] = False
    for key in keys:
        ordered = columns[key][order]
        same[1:] &= ordered[1:] == ordered[:-1]
    return same


def _strings(values: Any) -> Any:
    if pa.types.is_dictionary(values.type) or pa.types.is_string(values.type):
        return values
    return values.cast(pa.string())


def _mask(values: Any) -> NDArray[np.bool_]:
    return pc.fill_null(values, True).to_numpy(zero_copy_only=False)


def _mask_fill(index: Any) -> NDArray[np.int32]:
    return pc.fill_null(index, -1).to_numpy(zero_copy_only=False)


def _floats(values: Any) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """`[n]` numbers, NaN where missing, and whether each is bad."""
    if pa.types.is_string(values.type):
        values = pc.if_else(
            pc.is_in(values, value_set=_MISSING), pa.scalar(None, pa.string()), values
        )
    cast = _cast_or_null(values, pa.float64())
    numbers = pc.fill_null(cast, np.nan).to_numpy(zero_copy_only=False)
    unreadable = pc.and_(values.is_valid(), cast.is_null()).to_numpy(zero_copy_only=False)
    return numbers.astype(np.float32), unreadable | (numbers < 0) | np.isinf(numbers)


def _microseconds(values: Any) -> NDArray[np.int64]:
    """`[n]` microseconds since 1970 in UTC; 0 where there is no time."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_string(values.type):
        values = _parse_times(values)
    elif pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        seconds = values.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
        good = np.abs(seconds) < 1e11  # so that microseconds fit into 64 bits
        return (np.where(good, seconds, 0.0) * 1e6).round().astype(np.int64)
    micros = values.cast(pa.timestamp("us", getattr(values.type, "tz", None)), safe=False)
    return micros.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)


def _parse_times(text: Any) -> Any:
    """ISO 8601 with or without offset, or Unix seconds, to times in UTC; null where neither."""
    zoned, naive = pa.timestamp("us", "UTC"), pa.timestamp("us")
    for form in (naive, zoned):  # a file usually holds one form only
        try:
            return text.cast(form).cast(naive)
        except pa.ArrowInvalid:
            continue
    nothing = pa.scalar(None, pa.string())
    number = pc.match_substring_regex(text, r"^\d+(\.\d+)?$")
    offset = pc.match_substring_regex(text, r":\d\d.*(Z|[+-]\d\d:?\d\d)$")
    seconds = _cast_or_null(pc.if_else(number, text, nothing), pa.float64())
    micros = pc.round(pc.multiply(seconds, 1e6)).cast(pa.int64(), safe=False).cast(naive)
    aware = _cast_or_null(pc.if_else(offset, text, nothing), zoned).cast(naive)
    plain = pc.if_else(pc.or_(number, offset), nothing, text)
    return pc.coalesce(micros, aware, _cast_or_null(plain, naive))


def _cast_or_null(values: Any, form: Any) -> Any:
    """Casts an array; what cannot be cast becomes null (found by halving)."""
    try:
        return values.cast(form)
    except pa.ArrowInvalid:
        if len(values) == 1:
            return pa.nulls(1, form)
        half = len(values) // 2
        return pa.concat_arrays(
            [_cast_or_null(values[:half], form), _cast_or_null(values[half:], form)]
        )

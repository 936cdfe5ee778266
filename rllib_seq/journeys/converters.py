"""Which file is it, and how do its rows become events.

- `open_events`: any file that we know, as batches of the event schema (see `event_log`).
- `ipinyou_events`: raw rows of the iPinYou auction logs.
- `path_events`: aggregated journey paths, `"a > b > c",conversions,value,nulls`.

The file's first line decides: a header with `timestamp`, `user_id` and `event` (or a Parquet file)
is an event log; a header with `path` is journey paths; at least 24 values between tabs are iPinYou
rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rllib_seq.errors import UserError
from rllib_seq.journeys.bad_rows import BadRows
from rllib_seq.journeys.reading import Batch, csv_batches, first_line, is_parquet, parquet_batches

__all__ = ["REQUIRED", "ipinyou_events", "open_events", "path_events"]

REQUIRED = ("timestamp", "user_id", "event")

# 0-based columns of iPinYou's rows (https://github.com/wnzhang/make-ipinyou-data, its schema.txt):
# the fourth is the id of the bid, the seventh the user's.
_CLICK, _TIMESTAMP, _USER, _AGENT, _REGION, _EXCHANGE = 0, 4, 6, 7, 9, 11
_FLOOR, _CREATIVE, _BID, _PAID = 20, 21, 22, 23

_PATH_NAMES = {
    "conversions": ("total_conversions", "conversions"),
    "value": ("total_conversion_value", "value"),
    "nulls": ("total_null", "nulls"),
}
_JOURNEYS = 1 << 17  # per batch of unfolded paths
_DAY = 86_400_000_000  # microseconds
_EPOCH = 946_684_800_000_000  # 2000-01-01


def open_events(path: Path, bad: BadRows, wanted: tuple[str, ...]) -> tuple[str, Iterator[Batch]]:
    """Finds out what a file is and opens it.

    Args:
        path: of the file.
        bad: counts rows that cannot be used.
        wanted: the columns of the event schema.

    Returns:
        Its format ("events", "ipinyou" or "paths") and its rows as events.

    Raises:
        UserError: there is no such file, it is empty or it is none of these.
    """
    if not path.is_file():
        raise UserError(f"no event file {str(path)!r}; give a CSV or Parquet file")
    if path.stat().st_size == 0:
        raise UserError(f"event file {str(path)!r} is empty")
    if is_parquet(path):
        return "events", _checked(path, parquet_batches(path, wanted))
    line = first_line(path)
    names = [name.strip().strip('"') for name in line.split(",")]
    if "path" in names:
        return "paths", path_events(path, bad, names)
    if len(line.split("\t")) > _PAID:
        return "ipinyou", ipinyou_events(path, bad, line)
    if all(name in names for name in REQUIRED):
        return "events", csv_batches(path, bad)
    raise UserError(
        f"{str(path)!r} begins with {line[:60]!r}; expected a header with "
        f"{', '.join(REQUIRED)}, or one with path, or iPinYou rows (see docs/guides/discover.md)"
    )


def _checked(path: Path, batches: Iterator[Batch]) -> Iterator[Batch]:
    for batch in batches:
        missing = [name for name in REQUIRED if name not in batch.columns]
        if missing:
            raise UserError(
                f"{str(path)!r} has no column {missing[0]!r}; see docs/guides/discover.md"
            )
        yield batch


def ipinyou_events(path: Path, bad: BadRows, line: str) -> Iterator[Batch]:
    """Rows of iPinYou: an impression each, and a click on top where the first value is 1.

    Times are China's (UTC+8) and become UTC. Channel is the ad exchange, segment the region, device
    the user agent; prices are as in the file, per thousand impressions; price is our bid.

    Args:
        path: of the file.
        bad: counts bad rows.
        line: the file's first line.
    """
    names = [str(i) for i in range(len(line.split("\t")))]
    header = not line[0].isdigit()
    for batch in csv_batches(path, bad, "\t", names, header, quotes=False):
        column = [batch.columns[name] for name in names]
        kind = pc.if_else(
            pc.is_in(column[_CLICK], value_set=pa.array(["0", "1"])),
            "impression",
            pc.binary_join_element_wise("click=", column[_CLICK], ""),
        )
        user = column[_USER]
        events = {
            "timestamp": _china_time(column[_TIMESTAMP]),
            "user_id": pc.if_else(pc.equal(user, "null"), pa.scalar(None, pa.string()), user),
            "event": kind,
            "channel": column[_EXCHANGE],
            "segment": column[_REGION],
            "device": column[_AGENT],
            "creative": column[_CREATIVE],
            "price": column[_BID],
            "market_price": column[_PAID],
            "floor": column[_FLOOR],
        }
        yield Batch(events, batch.lines, batch.done)
        clicked = pc.fill_null(pc.equal(column[_CLICK], "1"), False)
        # A bad row is told once, with its impression.
        clicked = pc.and_(clicked, pc.is_valid(events["user_id"]))
        clicks = {name: pc.filter(values, clicked) for name, values in events.items()}
        clicks["event"] = pa.array(["click"] * len(clicks["event"]), pa.string())
        yield Batch(clicks, batch.lines[clicked.to_numpy(zero_copy_only=False)], batch.done)


def _china_time(text: Any) -> Any:
    """From yyyyMMddHHmmssSSS to ISO 8601 with its offset."""
    cut = [(0, 4), (4, 6), (6, 8), (8, 10), (10, 12), (12, 14), (14, 17)]
    parts = [pc.utf8_slice_codeunits(text, start, stop) for start, stop in cut]
    date = pc.binary_join_element_wise(*parts[:3], "-")
    clock = pc.binary_join_element_wise(*parts[3:6], ":")
    fraction = pc.binary_join_element_wise(parts[6], "+08:00", "")
    return pc.binary_join_element_wise(pc.binary_join_element_wise(date, clock, "T"), fraction, ".")


def path_events(path: Path, bad: BadRows, header: list[str]) -> Iterator[Batch]:
    """Journey paths: every counted journey becomes a user with a visit per touchpoint.

    A row stands for `conversions` journeys that ended with a conversion, each worth `value /
    conversions` (1 without a value column), and `nulls` that did not. The file has no times: its
    touchpoints are put one day apart so that decay by time means decay by touchpoint.

    Args:
        path: of the file.
        bad: counts bad rows.
        header: names in the file's header.

    Raises:
        UserError: the header has no count of conversions.
    """
    columns = {
        name: next((known for known in options if known in header), None)
        for name, options in _PATH_NAMES.items()
    }
    if columns["conversions"] is None:
        raise UserError(f"{str(path)!r} has a path but no column 'total_conversions'")
    users = 0
    for batch in csv_batches(path, bad):
        rows = _PathRows(batch, columns, bad)
        for first in range(0, rows.journeys, _JOURNEYS):
            last = min(first + _JOURNEYS, rows.journeys)
            events, lines = rows.unfold(first, last, users)
            done = batch.done * last / rows.journeys
            yield Batch(events, lines, done)
        users += rows.journeys


class _PathRows:
    """The good rows of one batch of journey paths."""

    def __init__(self, batch: Batch, columns: dict[str, str | None], bad: BadRows) -> None:
        n = len(batch.lines)
        conversions = _counts(batch, columns["conversions"], n)
        nulls = _counts(batch, columns["nulls"], n)
        value = _numbers(batch, columns["value"], n, missing=np.nan)
        value = np.where(np.isnan(value), conversions, value) / np.maximum(conversions, 1)
        exists = batch.columns["path"].is_valid().to_numpy(zero_copy_only=False)
        good = exists & (conversions >= 0) & (nulls >= 0) & (value >= 0)
        wrong = np.flatnonzero(~good)
        shown = [batch.columns["path"][int(i)].as_py() for i in wrong[:5]]
        bad.add(
            batch.lines[wrong].tolist(),
            [f"path {path!r} needs a path, counts and a value of at least 0" for path in shown],
        )
        self.lines = batch.lines[good]
        names = pc.split_pattern(pc.filter(batch.columns["path"], pa.array(good)), ">")
        self.names = pc.utf8_trim_whitespace(pc.list_flatten(names))
        self.length = pc.list_value_length(names).to_numpy().astype(np.int64)
        self.offset = np.cumsum(self.length) - self.length
        self.value = value[good]
        # Journey numbers of a row: first its conversions, then its nulls.
        self.conversions = conversions[good].astype(np.int64)
        counts = self.conversions + nulls[good].astype(np.int64)
        self.end = np.cumsum(counts)
        self.begin = self.end - counts
        self.journeys = int(counts.sum())

    def unfold(self, first: int, last: int, users: int) -> tuple[dict[str, Any], NDArray[np.int64]]:
        """Events of journeys `first ... last`, and the line of each."""
        number = np.arange(first, last)
        row = np.searchsorted(self.end, number, side="right")
        converts = number - self.begin[row] < self.conversions[row]
        size = self.length[row] + converts
        journey = np.repeat(np.arange(len(number)), size)
        step = np.arange(len(journey)) - np.repeat(np.cumsum(size) - size, size)
        of = row[journey]
        ends = step == self.length[of]  # the conversion, at the time of the last touchpoint
        touch = step - ends
        micros = _EPOCH + touch * _DAY
        value = np.where(ends, self.value[of], np.nan)
        return {
            "timestamp": pa.array(micros).cast(pa.timestamp("us")),
            "user_id": pa.array(users + number[journey]).cast(pa.string()),
            "event": pa.DictionaryArray.from_arrays(
                pa.array(ends.astype(np.int8)), pa.array(["visit", "conversion"])
            ),
            "channel": self.names.take(pa.array(self.offset[of] + touch)),
            "value": pa.array(value),
        }, self.lines[of]


def _counts(batch: Batch, name: str | None, n: int) -> NDArray[np.float64]:
    counts = _numbers(batch, name, n, missing=0.0)
    return np.where(counts == np.floor(counts), counts, -1.0)


def _numbers(batch: Batch, name: str | None, n: int, missing: float) -> NDArray[np.float64]:
    """`[n]` numbers, `missing` where there is none and -1 where it cannot be read."""
    if name is None:
        return np.full(n, missing)
    text = batch.columns[name]
    number = pc.match_substring_regex(text, r"^\s*\d+(\.\d*)?([eE][+-]?\d+)?\s*$")
    parsed = pc.cast(
        pc.utf8_trim_whitespace(pc.if_else(number, text, pa.scalar(None, pa.string()))),
        pa.float64(),
    )
    values = pc.if_else(pc.is_null(text), missing, pc.fill_null(parsed, -1.0))
    return values.to_numpy(zero_copy_only=False)

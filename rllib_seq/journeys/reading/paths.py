"""Journey paths, `"a > b > c",conversions,value,nulls`, to events.

- `PathReader`: every counted journey becomes a user with a visit per touchpoint.

A row stands for `conversions` journeys that ended with a conversion, each worth `value /
conversions` (1 without a value column), and `nulls` that did not. The file has no times: its
touchpoints are put one day apart so that decay by time means decay by touchpoint. The events come
in order, users and all: millions of journeys need neither a vocabulary nor a sort.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rllib_seq.journeys.reading.bad_rows import BadRows
from rllib_seq.journeys.reading.batches import Batch
from rllib_seq.journeys.reading.columns import find_column, text, to_numbers
from rllib_seq.journeys.reading.events import NO_NAME, EventReader, decimal_hint
from rllib_seq.journeys.reading.formats import path_sources
from rllib_seq.journeys.reading.schema import EVENTS, NUMBERS, LogSchema

_JOURNEYS = 1 << 17  # per part
_DAY = 86_400_000_000  # microseconds
_EPOCH = 946_684_800_000_000  # 2000-01-01
_VISIT, _CONVERSION = EVENTS.index("visit"), EVENTS.index("conversion")


class PathReader:
    """Turns rows of journey paths into events.

    Args:
        reader: holds the words of the log.
        schema: how the columns are called.
        users: number of the first user.
    """

    def __init__(self, reader: EventReader, schema: LogSchema, users: int = 0) -> None:
        self.bad: BadRows = reader.bad
        self.users = users
        self._channels = reader.vocabularies["channel"]
        self._none = {
            name: vocabulary.numbers(pa.array([NO_NAME], pa.large_string()))[0]
            for name, vocabulary in reader.vocabularies.items()
            if name not in ("user_id", "channel")
        }
        self._schema = schema

    def read(self, batch: Batch) -> list[dict[str, NDArray[Any]]]:
        """Parts of the log, each with the columns of `EventLog`, in order of user and time."""
        n = len(batch.lines)
        conversions = _counts(self._numbers(batch, "conversions", n, missing=0.0))
        nulls = _counts(self._numbers(batch, "nulls", n, missing=0.0))
        value = self._numbers(batch, "value", n, missing=np.nan)
        value = np.where(np.isnan(value), conversions, value) / np.maximum(conversions, 1)
        names = pc.split_pattern(_words(self._column(batch, "path"), n), ">")
        touch = pc.utf8_trim_whitespace(pc.list_flatten(names))
        row = pc.list_parent_indices(names).to_numpy()
        full = pc.not_equal(touch, "").to_numpy(zero_copy_only=False)
        touch, row = touch.filter(pa.array(full)), row[full]
        length = np.bincount(row, minlength=n)
        good = (length > 0) & (conversions >= 0) & (nulls >= 0) & (value >= 0)
        self.bad.rows += n
        self._refuse(batch, good)
        keep = good[row]
        coded = touch.filter(pa.array(keep)).dictionary_encode()
        words = coded.dictionary.cast(pa.large_string())
        channel = self._channels.numbers(words)[coded.indices.to_numpy(zero_copy_only=False)]
        rows = _Paths(
            channel, length[good], conversions[good], conversions[good] + nulls[good], value[good]
        )
        parts = []
        for first in range(0, rows.journeys, _JOURNEYS):
            last = min(first + _JOURNEYS, rows.journeys)
            part = rows.unfold(first, last)
            part["user"] = (part["user"] + self.users).astype(np.int32)
            size = len(part["user"])
            part |= {name: np.full(size, code, np.int16) for name, code in self._none.items()}
            parts.append(part)
        self.users += rows.journeys
        return parts

    def _column(self, batch: Batch, name: str) -> Any:
        found = (find_column(batch.columns, c) for c in path_sources(self._schema, name))
        return next((values for values in found if values is not None), None)

    def _numbers(self, batch: Batch, name: str, n: int, missing: float) -> NDArray[np.float64]:
        return _numbers(self._column(batch, name), n, missing, self._schema.decimal)

    def _refuse(self, batch: Batch, good: NDArray[np.bool_]) -> None:
        wrong = np.flatnonzero(~good)
        paths = _words(self._column(batch, "path"), len(good))
        shown = [paths[int(i)].as_py() for i in wrong[:5]]
        for row in wrong[:5].tolist():
            for name in ("conversions", "value", "nulls"):
                values = self._column(batch, name)
                hint = decimal_hint(values[row].as_py()) if values is not None else ""
                if hint:
                    self.bad.hints[hint.removeprefix("; ")] += 1
        self.bad.add(
            batch.lines[wrong].tolist(),
            [f"path {path!r} needs a path, counts and a value of at least 0" for path in shown],
        )


class _Paths:
    """The good rows of a batch: J journeys in all.

    Args:
        channel: of every touchpoint, row after row.
        length: `[n]` touchpoints of a row.
        conversions: `[n]` journeys of it that convert; they come first.
        count: `[n]` journeys of it.
        value: `[n]` of one conversion.
    """

    def __init__(
        self,
        channel: NDArray[np.int32],
        length: NDArray[np.int64],
        conversions: NDArray[np.float64],
        count: NDArray[np.float64],
        value: NDArray[np.float64],
    ) -> None:
        self.channel, self.length, self.value = channel, length, value
        self.offset = np.cumsum(length) - length
        self.conversions = conversions.astype(np.int64)
        self.end = np.cumsum(count.astype(np.int64))
        self.begin = self.end - count.astype(np.int64)
        self.journeys = int(self.end[-1]) if len(self.end) else 0

    def unfold(self, first: int, last: int) -> dict[str, NDArray[Any]]:
        """Events of the journeys `first ... last`, numbered from the batch's first journey."""
        number = np.arange(first, last)
        row = np.searchsorted(self.end, number, side="right")
        converts = number - self.begin[row] < self.conversions[row]
        size = self.length[row] + converts
        journey = np.repeat(np.arange(len(number)), size)
        step = np.arange(len(journey)) - np.repeat(np.cumsum(size) - size, size)
        of = row[journey]
        ends = step == self.length[of]  # the conversion, at the time of the last touchpoint
        touch = step - ends
        empty = np.full(len(journey), np.nan, np.float32)
        return {
            "time": _EPOCH + touch * _DAY,
            "user": number[journey],
            "event": np.where(ends, _CONVERSION, _VISIT).astype(np.int8),
            "channel": self.channel[self.offset[of] + touch].astype(np.int32),
            **dict.fromkeys(NUMBERS, empty),
            "value": np.where(ends, self.value[of], np.nan).astype(np.float32),
        }


def _words(values: Any, n: int) -> Any:
    if values is None:
        return pa.nulls(n, pa.string()).fill_null("")
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    return pc.fill_null(text(values, "path"), "")


def _counts(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(counts == np.floor(counts), counts, -1.0)


def _numbers(values: Any, n: int, missing: float, decimal: str | None) -> NDArray[np.float64]:
    """`[n]` numbers, `missing` where there is none and -1 where it cannot be read."""
    if values is None:
        return np.full(n, missing)
    numbers, lost = to_numbers(values, "value", decimal or ".", decimal is not None)
    found = np.where(np.isnan(numbers), missing, numbers)
    return np.where(lost, -1.0, found)

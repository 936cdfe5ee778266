"""Rows of a file to checked events as numpy columns.

- `EventReader`: holds the words of a log; `read` turns a batch into events.

Every row is judged by itself. A bad time, user or event makes a bad row; a bad number is lost, and
its event stays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rllib_seq.journeys.reading.bad_rows import BadRows
from rllib_seq.journeys.reading.batches import Batch
from rllib_seq.journeys.reading.columns import Words, find_column, to_numbers
from rllib_seq.journeys.reading.schema import (
    EVENTS,
    IGNORE,
    NAMES,
    NUMBERS,
    REQUIRED,
    LogSchema,
    Rule,
)
from rllib_seq.journeys.reading.times import NO_TIME, time_hint, to_micros

NO_NAME = "(none)"
_UNKNOWN, _IGNORED = -1, -2
_EXAMPLES = 5


class Vocabulary:
    """Words to numbers in order of first appearance, a batch at a time."""

    def __init__(self) -> None:
        self.words = pa.array([], pa.large_string())

    def encode(self, column: Words, rows: NDArray[np.bool_]) -> NDArray[np.integer]:
        """Numbers of the marked rows, of 16 bits as long as these suffice."""
        index = column.index[rows]
        used = np.zeros(len(column.words) + 1, np.bool_)
        used[index] = True
        words = column.words.cast(pa.large_string())
        number = np.zeros(len(used), np.int32)
        number[:-1][used[:-1]] = self.numbers(words.filter(pa.array(used[:-1])))
        if used[-1]:
            number[-1] = self.numbers(pa.array([NO_NAME], pa.large_string()))[0]
        if len(self.words) < 1 << 15:
            return number.astype(np.int16)[index]
        return number[index]

    def numbers(self, words: Any) -> NDArray[np.int32]:
        """Numbers of distinct words."""
        known = pc.index_in(words, value_set=self.words)
        new = known.is_null().to_numpy(zero_copy_only=False)
        number: NDArray[np.int32] = known.fill_null(0).to_numpy(zero_copy_only=False).copy()
        number[new] = len(self.words) + np.arange(new.sum())
        self.words = pa.concat_arrays([self.words, words.filter(pa.array(new))])
        return number


class EventReader:
    """Turns rows into events.

    Args:
        bad: counts what cannot be used.
    """

    def __init__(self, bad: BadRows) -> None:
        self.bad = bad
        self.vocabularies = {name: Vocabulary() for name in ("user_id", *NAMES)}

    def read(
        self, batch: Batch, schema: LogSchema, constants: dict[str, str | None]
    ) -> dict[str, NDArray[Any]]:
        """Events of a batch, in the order of its rows.

        Args:
            batch: rows of one file.
            schema: how they become events.
            constants: columns that hold one value in the whole file.

        Returns:
            Columns of `EventLog`.

        Raises:
            UserError: a column is of a type that cannot be read, or a row is bad and that is not
                allowed.
        """
        n = len(batch.lines)
        columns = dict(batch.columns)
        for name, value in constants.items():
            columns.setdefault(name, pa.array([value], pa.string()).take(pa.array([0] * n)))
        rows = _Rows(columns, batch.lines, schema)
        filled = rows.filled()
        self.bad.rows += int(filled.sum())
        reasons: dict[int, str] = {}
        wrong = np.zeros(n, np.bool_)
        parts = []
        fits = np.zeros(n, np.bool_)
        for rule in schema.rules:
            mask = filled & rows.where(rule)
            fits |= mask
            if mask.any():
                part, bad_rows = self._events(rows.take(mask), rule, reasons)
                wrong[bad_rows] = True
                parts.append(part)
        self.bad.count_words(self.bad.ignored, ["(no rule fits)"], [int((filled & ~fits).sum())])
        found = np.flatnonzero(wrong)
        if len(found):
            known = [reasons[row] for row in found[:_EXAMPLES].tolist() if row in reasons]
            self.bad.add(batch.lines[found].tolist(), known)
        if len(parts) == 1:
            parts[0].pop("row")
            return parts[0]
        if not parts:
            return {}
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        order = np.argsort(joined.pop("row"), kind="stable")
        return {name: values[order] for name, values in joined.items()}

    def _events(
        self, rows: _Rows, rule: Rule, reasons: dict[int, str]
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
        """Good events of the rows, and which rows are bad."""
        n = len(rows.lines)
        time = to_micros(rows.required("timestamp", rule), rows.schema.times)
        user = rows.user(rule)
        kind, words = self._kinds(rows, rule)
        used = kind != _IGNORED
        faults = [time == NO_TIME, user.index < 0, kind == _UNKNOWN]
        bad = used & np.logical_or.reduce(faults)
        good = used & ~bad
        for row in np.flatnonzero(bad)[:_EXAMPLES].tolist():
            which = next(i for i, fault in enumerate(faults) if fault[row])
            reasons.setdefault(int(rows.index[row]), rows.reason(which, row, rule))
        self._hint(rows, rule, bad & faults[0])
        unknown = np.flatnonzero(bad & faults[2] & ~faults[0] & (words.index >= 0))
        if len(unknown):
            word = words.words[int(words.index[unknown[0]])].as_py()
            if len(word) <= 40:
                hint = f"name its kind: --event '{word}=KIND'"
                self.bad.hints[hint] += len(unknown)
        self._count(kind, words, good)
        part: dict[str, NDArray[Any]] = {"time": time[good]}
        part["user"] = self.vocabularies["user_id"].encode(user, good)
        part["event"] = kind[good].astype(np.int8)
        for name in NAMES:
            values = rows.optional(name, rule)
            part[name] = self.vocabularies[name].encode(Words(values, name), good)
        for name in NUMBERS:
            part[name] = self._numbers(name, rows, rule, good)
        part["row"] = rows.index[good]
        return part, rows.index[bad] if n else rows.index

    def _kinds(self, rows: _Rows, rule: Rule) -> tuple[NDArray[np.int64], Words]:
        """`[n]` indices into `EVENTS`, or `_UNKNOWN` or `_IGNORED`, and the words."""
        n = len(rows.lines)
        if rule.event is not None:
            constant = pa.array([rule.event], pa.string()).take(pa.array(np.zeros(n, np.int64)))
            words = Words(constant, "event", lower=True)
        else:
            words = Words(rows.required("event", rule), "event", lower=True)
        schema = rows.schema
        known, rest = list(EVENTS), _UNKNOWN
        codes = list(range(len(EVENTS)))
        if rule.event is None:
            known = list(dict.fromkeys([*EVENTS, *schema.events]))
            codes = [_code(schema.kind(word)) for word in known]
            rest = _code(schema.kind("*"))
        place = pc.index_in(words.words, value_set=pa.array(known, pa.string()))
        place = place.fill_null(len(known)).to_numpy(zero_copy_only=False)
        of_word = np.append(np.array([*codes, rest], np.int64)[place], _UNKNOWN)
        return of_word[words.index], words

    def _count(self, kind: NDArray[np.int64], words: Words, good: NDArray[np.bool_]) -> None:
        size = len(words.words) + 1
        seen = np.bincount(words.index + 1, minlength=size)[1:]
        kept = np.bincount(words.index[good | (kind == _IGNORED)] + 1, minlength=size)[1:]
        ignored = np.bincount(words.index[kind == _IGNORED] + 1, minlength=size)[1:]
        most = np.argsort(-seen, kind="stable")[:100]
        names = words.words.take(pa.array(most)).to_pylist()
        for counter, counts in (
            (self.bad.seen, seen),
            (self.bad.kept, kept),
            (self.bad.ignored, ignored),
        ):
            self.bad.count_words(counter, names, counts[most].tolist())

    def _hint(self, rows: _Rows, rule: Rule, wrong: NDArray[np.bool_]) -> None:
        places = np.flatnonzero(wrong)
        if len(places):
            values = rows.required("timestamp", rule)
            hints = [time_hint(values[row].as_py()) for row in places[:_EXAMPLES].tolist()]
            hint = max(hints, key=len)
            if hint:
                self.bad.hints[hint] += len(places)

    def _numbers(
        self, name: str, rows: _Rows, rule: Rule, good: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        values = rows.column(name, rule)
        if values is None:
            return np.full(int(good.sum()), np.nan, np.float32)
        schema = rows.schema
        numbers, lost = to_numbers(values, name, schema.decimal or ".", bool(schema.decimal))
        lost &= good
        self.bad.numbers[name] += int((good & (lost | ~np.isnan(numbers))).sum())
        if lost.any():
            value = values[int(np.flatnonzero(lost)[0])].as_py()
            example = f"{name} {_shown(value)} is not a number of at least 0"
            example += decimal_hint(value)
            self.bad.lose(name, rows.lines[lost].tolist(), example)
        return numbers[good].astype(np.float32)


class _Rows:
    """Rows of a batch, and their columns by our names."""

    def __init__(
        self,
        columns: dict[str, Any],
        lines: NDArray[np.int64],
        schema: LogSchema,
        index: NDArray[np.int64] | None = None,
    ) -> None:
        self.columns, self.lines, self.schema = columns, lines, schema
        self.index = np.arange(len(lines)) if index is None else index

    def take(self, mask: NDArray[np.bool_]) -> _Rows:
        """The marked rows."""
        if mask.all():
            return self
        keep = pa.array(mask)
        columns = {name: values.filter(keep) for name, values in self.columns.items()}
        return _Rows(columns, self.lines[mask], self.schema, self.index[mask])

    def filled(self) -> NDArray[np.bool_]:
        """`[n]`: rows in which there is anything at all."""
        filled = np.zeros(len(self.lines), np.bool_)
        for values in self.columns.values():
            filled |= values.is_valid().to_numpy(zero_copy_only=False)
            if filled.all():
                break
        return filled

    def where(self, rule: Rule) -> NDArray[np.bool_]:
        """`[n]`: rows for which the rule holds."""
        holds = np.ones(len(self.lines), np.bool_)
        for name, words in rule.when.items():
            values = find_column(self.columns, name)
            if values is None:
                holds &= "" in words
                continue
            found = pc.fill_null(Words(values, name, lower=True).array(), "")
            found = pc.replace_substring_regex(found, r"^(\d+)\.0+$", r"\1")
            wanted = pa.array([word.lower() for word in words], pa.string())
            within = pc.is_in(found, value_set=wanted).to_numpy(zero_copy_only=False)
            if "*" in words:
                within |= pc.not_equal(found, "").to_numpy(zero_copy_only=False)
            holds &= within
        return holds

    def column(self, name: str, rule: Rule) -> Any:
        """A column by our name; the first of several that has a value; None if there is none."""
        found = []
        for source in self.schema.sources(name, rule):
            values = find_column(self.columns, source)
            if values is not None:
                found.append(values)
        flat = [values for values in found if not pa.types.is_nested(values.type)]
        found = flat or found[:1]
        if len(found) < 2:
            return found[0] if found else None
        return pc.coalesce(*(Words(values, name).array() for values in found))

    def required(self, name: str, rule: Rule) -> Any:
        """A column that must be there; nulls where a batch has none of it."""
        values = self.column(name, rule)
        return pa.nulls(len(self.lines), pa.string()) if values is None else values

    optional = required

    def user(self, rule: Rule) -> Words:
        """Ids of users; every row is a user where the log has none."""
        if self.schema.sources("user_id", rule):
            return Words(self.required("user_id", rule), "user_id")
        return Words(pa.array(self.lines).cast(pa.string()), "user_id")

    def reason(self, which: int, row: int, rule: Rule) -> str:
        """What is wrong with a row."""
        name = REQUIRED[which]
        value = self.required(name, rule)[row].as_py() if name != "user_id" else None
        value = value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
        if name == "timestamp":
            return f"timestamp {_shown(value)} is not a time from 1990 to 2099"
        if name == "user_id":
            return "no user_id"
        return f"event {_shown(value)} is none of {', '.join(EVENTS)}"


def _code(kind: str | None) -> int:
    if kind is None:
        return _UNKNOWN
    return _IGNORED if kind == IGNORE else EVENTS.index(kind)


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode(errors="backslashreplace")
    words = repr(value) if isinstance(value, str) else str(value)
    return words if len(words) <= 60 else words[:57] + "..."


def decimal_hint(value: Any) -> str:
    """The option for a number with a comma."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if not isinstance(value, str) or "," not in value:
        return ""
    if value.rpartition(",")[2].isdigit() and len(value.rpartition(",")[2]) == 3:
        return "; give --decimal . if the comma groups thousands, or --decimal ,"
    return "; looks like --decimal ,"

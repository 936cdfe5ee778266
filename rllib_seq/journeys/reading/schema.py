"""How a log names its columns, events and times: options, TOML files, ready schemas.

- `ReadingOptions`: what the user gave, as strings.
- `LogSchema`: what follows from it; `Rule`: how a row becomes an event.
- `READY`: names of the ready schemas, the TOML files in `schemas/`.

A schema file:

    delimiter = ";"
    time_unit = "ms"
    [columns]
    user_id = "uid"                            # or several: the first that has a value
    channel = ["traffic_source.medium", "medium"]
    [events]
    purchase = "conversion"
    scroll = "ignore"
    "*" = "ignore"                             # all that is not named

With `[[rows]]` a row becomes an event for each of them whose `when` holds; see
`schemas/criteo.toml`. `[[layouts]]` name the columns of files without a header.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from rllib_seq.errors import UserError
from rllib_seq.journeys.local_time import check_timezone
from rllib_seq.journeys.reading.columns import clean_name
from rllib_seq.journeys.reading.times import UNITS, TimeForm

EVENTS = ("request", "impression", "click", "visit", "conversion")
"""Kinds of event."""
REQUIRED = ("timestamp", "user_id", "event")
NAMES = ("channel", "segment", "device", "creative")
NUMBERS = ("price", "market_price", "floor", "value")
IGNORE = "ignore"
_PATHS = ("path", "conversions", "value", "nulls")
_COLUMNS = (*REQUIRED, *NAMES, *NUMBERS, *_PATHS)
_REST = "*"

_FOLDER = resources.files("rllib_seq.journeys.reading").joinpath("schemas")
READY = tuple(sorted(p.name[:-5] for p in _FOLDER.iterdir() if p.name.endswith(".toml")))
"""Names of the ready schemas, for `--schema`."""

Columns = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class ReadingOptions:
    """What a user says about a log; see docs/guides/discover.md.

    Raises:
        UserError: on `schema()`, if a value is wrong.
    """

    schema: str | None = None
    """Name of a ready schema, or a TOML file."""
    column: tuple[str, ...] = ()
    """Each `NAME=COLUMN`."""
    event: tuple[str, ...] = ()
    """Each `WORD=KIND`."""
    time_unit: str | None = None
    time_origin: str | None = None
    time_format: str | None = None
    timezone: str | None = None
    delimiter: str | None = None
    decimal: str | None = None

    def load(self) -> LogSchema:
        """The schema that follows from the options.

        Raises:
            UserError: a value is wrong; one line that names it.
        """
        content = _read_toml(self.schema) if self.schema else {}
        loaded = _from_toml(content, self.schema or "")
        columns: dict[str, tuple[str, ...]] = {
            name: (column,) if column else ()
            for name, column in _pairs("column", self.column, "COLUMN")
        }
        for name in columns:
            _check_name(name)
        events = {clean_word(word): kind for word, kind in _pairs("event", self.event, "KIND")}
        _check_kinds(events)
        form = _time_form(
            loaded.times, self.time_unit, self.time_origin, self.time_format, "--time-"
        )
        return replace(
            loaded,
            columns={**loaded.columns, **columns},
            events={**loaded.events, **events},
            times=form,
            timezone=_zone(self.timezone) or loaded.timezone,
            delimiter=_delimiter(self.delimiter) or loaded.delimiter,
            decimal=_decimal(self.decimal) or loaded.decimal,
        )

    def given(self) -> dict[str, Any] | None:
        """What is not the default, as configs keep it; None if all is."""
        return {name: value for name, value in vars(self).items() if value} or None


def reading_options(given: Mapping[str, Any]) -> ReadingOptions:
    """Options from a mapping, as configs keep them.

    Raises:
        UserError: one of them is unknown.
    """
    known = [f.name for f in fields(ReadingOptions)]
    odd = [name for name in given if name not in known]
    if odd:
        raise UserError(f"unknown reading option {odd[0]!r}; known are {', '.join(known)}")
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list | tuple) else value
        for name, value in given.items()
    }
    return ReadingOptions(**values)


@dataclass(frozen=True)
class Rule:
    """One event that a row may become."""

    event: str | None = None
    """Its kind; None: as the column says."""
    when: Columns = field(default_factory=dict)
    """Column to the words of which it must hold one; an absent column holds the empty word."""
    columns: Columns = field(default_factory=dict)
    """Columns of this event alone."""


@dataclass(frozen=True)
class LogSchema:
    """How to read a log."""

    name: str = ""
    """Of the ready schema; empty: none."""
    columns: Columns = field(default_factory=dict)
    """Our name to the columns that may hold it, the first with a value wins; () for none."""
    events: Mapping[str, str] = field(default_factory=dict)
    """The file's word, in lower case, to a kind of `EVENTS` or `IGNORE`."""
    rules: tuple[Rule, ...] = (Rule(),)
    layouts: tuple[tuple[str, ...], ...] = ()
    """Columns of files without a header; the one with the file's number of values counts."""
    times: TimeForm = TimeForm()
    timezone: str = "UTC"
    delimiter: str | None = None
    decimal: str | None = None

    def sources(self, name: str, rule: Rule | None = None) -> tuple[str, ...]:
        """Columns that may hold what we call `name`."""
        if rule is not None and name in rule.columns:
            return rule.columns[name]
        return self.columns.get(name, (name,))

    def kind(self, word: str) -> str | None:
        """The kind of event, in `EVENTS` or `IGNORE`, that the file's word stands for."""
        if word in self.events:
            return self.events[word]
        return word if word in EVENTS else self.events.get(_REST)

    def wanted(self) -> set[str]:
        """All columns of a file that may be read, cleaned."""
        names = {source for name in _COLUMNS for source in self.sources(name)}
        for rule in self.rules:
            names |= set(rule.when) | {s for names in rule.columns.values() for s in names}
        return {clean_name(name) for name in names}


def clean_word(word: str) -> str:
    """An event's word as it is compared."""
    return word.strip().lower()


def ready_schema(name: str) -> LogSchema:
    """One of `READY`."""
    return ReadingOptions(schema=name).load()


def _read_toml(schema: str) -> dict[str, Any]:
    try:
        if schema in READY:
            return tomllib.loads(_FOLDER.joinpath(f"{schema}.toml").read_text())
        path = Path(schema)
        if not path.is_file():
            raise UserError(f"no schema {schema!r}; give a TOML file or one of: {', '.join(READY)}")
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"cannot read schema {schema!r}: {error}") from error


_KEYS = (
    *("columns", "events", "rows", "layouts", "delimiter", "decimal"),
    *("time_unit", "time_origin", "time_format", "times_in", "timezone"),
)


def _from_toml(content: dict[str, Any], place: str) -> LogSchema:
    try:
        odd = set(content) - set(_KEYS)
        if odd:
            raise UserError(f"unknown key {sorted(odd)[0]!r}; known are {', '.join(_KEYS)}")
        times = TimeForm(zone=_zone(content.get("times_in")) or "UTC")
        rows = content.get("rows", [{}])
        events = {clean_word(w): str(k) for w, k in _table(content, "events").items()}
        _check_kinds(events)
        return LogSchema(
            name=place if place in READY else "",
            columns=_columns(_table(content, "columns")),
            events=events,
            rules=tuple(_rule(row) for row in rows),
            layouts=tuple(
                tuple(clean_name(n) for n in layout["names"])
                for layout in content.get("layouts", [])
            ),
            times=_time_form(
                times,
                content.get("time_unit"),
                content.get("time_origin"),
                content.get("time_format"),
            ),
            timezone=_zone(content.get("timezone")) or "UTC",
            delimiter=_delimiter(content.get("delimiter")),
            decimal=_decimal(content.get("decimal")),
        )
    except UserError as error:
        raise UserError(f"schema {place!r}: {error}" if place else str(error)) from None
    except (TypeError, AttributeError, KeyError) as error:
        raise UserError(
            f"schema {place!r} is not as in docs/guides/discover.md: {error}"
        ) from error


def _table(content: dict[str, Any], key: str) -> dict[str, Any]:
    table = content.get(key, {})
    if not isinstance(table, dict):
        raise UserError(f"{key} is {table!r}; give a table")
    return table


def _columns(table: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    for name in table:
        _check_name(name)
    return {name: _words(value) for name, value in table.items()}


def _words(value: Any) -> tuple[str, ...]:
    words = value if isinstance(value, list) else [value]
    return tuple(str(word) for word in words if word != "")


def _rule(row: dict[str, Any]) -> Rule:
    odd = set(row) - {"event", "when", "columns"}
    if odd:
        raise UserError(f"rows: unknown key {sorted(odd)[0]!r}; known are event, when, columns")
    if "event" in row:
        _check_kinds({"rows": row["event"]})
    when = {
        clean_name(c): tuple(str(w) for w in (v if isinstance(v, list) else [v]))
        for c, v in row.get("when", {}).items()
    }
    return Rule(row.get("event"), when, _columns(row.get("columns", {})))


def _check_name(name: str) -> None:
    if name not in _COLUMNS:
        raise UserError(f"column {name!r} is none of ours; give one of: {', '.join(_COLUMNS)}")


def _check_kinds(events: Mapping[str, str]) -> None:
    for word, kind in events.items():
        if kind not in (*EVENTS, IGNORE):
            raise UserError(
                f"event {word!r} is to be {kind!r}; give one of: {', '.join((*EVENTS, IGNORE))}"
            )


def _pairs(option: str, given: tuple[str, ...], what: str) -> list[tuple[str, str]]:
    pairs = [text.partition("=") for text in given]
    for text, (left, mark, _) in zip(given, pairs, strict=True):
        if not mark or not left.strip():
            name = "NAME" if option == "column" else "WORD"
            raise UserError(f"--{option} is {text!r}; give {name}={what}")
    # A word may hold an equals sign, a kind cannot.
    if option == "event":
        pairs = [text.rpartition("=") for text in given]
    return [(left.strip(), right.strip()) for left, _, right in pairs]


def _time_form(
    base: TimeForm, unit: Any, origin: Any, pattern: Any, prefix: str = "time_"
) -> TimeForm:
    if unit is not None:
        if unit not in UNITS:
            raise UserError(f"{prefix}unit is {unit!r}; give one of: {', '.join(UNITS)}")
        base = replace(base, unit=unit)
    if origin is not None:
        try:
            moment = datetime.fromisoformat(str(origin))
        except ValueError:
            raise UserError(f"{prefix}origin is {origin!r}; give a date: 2024-01-01") from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        base = replace(base, origin=round(moment.timestamp() * 1e6))
    if pattern is not None:
        if "%" not in str(pattern):
            raise UserError(
                f"{prefix}format is {pattern!r}; give codes of strptime: '%d/%m/%Y %H:%M:%S'"
            )
        base = replace(base, pattern=str(pattern))
    return base


def _zone(name: Any) -> str | None:
    if name is not None:
        check_timezone(name)
    return name


def _delimiter(mark: Any) -> str | None:
    if mark is None:
        return None
    mark = {"\\t": "\t", "tab": "\t", "\\x01": "\x01", "\\001": "\x01"}.get(mark, mark)
    if not isinstance(mark, str) or len(mark.encode()) != 1 or mark in '"\n\r':
        raise UserError(f"delimiter is {mark!r}; give one character, or tab")
    return mark


def _decimal(mark: Any) -> str | None:
    if mark not in (None, ".", ","):
        raise UserError(f"decimal is {mark!r}; give '.' or ','")
    return mark

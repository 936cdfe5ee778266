"""Which format a file has, and where its columns are; what is not there, with the way out.

- `open_source`: a file's batches, under a schema.
- `Format`: what was found.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rllib_seq.errors import UserError
from rllib_seq.journeys.reading.bad_rows import BadRows
from rllib_seq.journeys.reading.batches import (
    Batch,
    delimited_batches,
    parquet_batches,
    parquet_names,
)
from rllib_seq.journeys.reading.columns import clean_name
from rllib_seq.journeys.reading.json_lines import json_batches, json_names
from rllib_seq.journeys.reading.schema import (
    READY,
    REQUIRED,
    LogSchema,
    ready_schema,
)
from rllib_seq.journeys.reading.sources import Source

PATH_COLUMNS = {
    "path": ("path",),
    "conversions": ("total_conversions", "conversions"),
    "value": ("total_conversion_value", "value"),
    "nulls": ("total_null", "nulls"),
}
"""Columns of a file of journey paths, and how they may be called."""

_DELIMITERS = (";", "\t", "|", ",", "^", "\x01")
_HEADER_LINES = 20  # a header may have a title above it
_SHOWN = 12  # columns in an error
_ALIASES = {
    "timestamp": r"ts|(?:date_?)?time|date|(?:event|server|click)_?(?:time|date|ts|timestamp)|hour"
    r"|(?:created|occurred)(?:_?at)?|zeit(?:stempel)?|datum",
    "user_id": r"uid|users?|users?_?id|user_pseudo_id|id(?:fa|fv)|gaid|ifa"
    r"|(?:cookie|visitor|client|customer|anonymous|device|full_?visitor|household|profile|person"
    r"|account)(?:_?id|_?key)?",
    "event": r"event_?(?:name|type|kind)?|type|action|interaction|activity(?:_?type)?|kind",
    "path": r"path|path_sequence|journey|channel_?path|touchpoints?",
    "conversions": r"(?:num_|total_)?conversions?(?:_count)?|conv",
    "nulls": r"(?:total_|num_)?nulls?(?:_conversions?|_count)?",
}


@dataclass(frozen=True)
class Format:
    """What a file is."""

    kind: str
    """"events", "ipinyou" or "paths"."""
    schema: LogSchema
    """How its rows become events."""
    names: tuple[str, ...]
    """Its columns."""
    container: str
    """"text", "json" or "parquet"."""
    delimiter: str = ","
    first: int = 0
    """Lines before the first row."""

    def batches(self, source: Source, bad: BadRows) -> Iterator[Batch]:
        """The file's rows."""
        wanted = self.schema.wanted()
        if self.kind == "paths":
            wanted |= {name for names in PATH_COLUMNS.values() for name in names}
        if self.container == "parquet":
            return parquet_batches(source, wanted)
        if self.container == "json":
            return json_batches(source, bad, wanted)
        quotes = not self.schema.layouts
        return delimited_batches(
            source, bad, self.delimiter, self.names, self.first, wanted, quotes
        )


def find_format(source: Source, schema: LogSchema) -> Format:
    """Finds out what a file is.

    Raises:
        UserError: it is empty, no such file as we read, or a column is missing.
    """
    container = source.kind()
    if container != "text":
        names = parquet_names(source) if container == "parquet" else json_names(source)
        if container == "json" and not names:
            raise UserError(
                f"cannot read {str(source.path)!r}: it begins with a brace, and no line is a JSON "
                "object; give one object per line (jq -c . FILE)"
            )
        return _named(source, schema, Format("events", schema, tuple(names), container), [])
    lines = source.lines()
    if not schema.layouts and not schema.columns and not schema.delimiter:
        schema = _by_content(lines[0], schema)
    if schema.layouts:
        return _by_layout(source, schema, lines[0])
    mark = schema.delimiter or ","
    heads = [_split(line, mark) for line in lines[:_HEADER_LINES]]
    first = next((i for i, head in enumerate(heads) if _is_header(head, schema, source)), 0)
    names = heads[first]
    below = heads[first + 1] if first + 1 < len(heads) else names
    if len(below) == len(names) + 1 and not below[-1]:
        names = [*names, ""]  # rows end with a delimiter, and the header does not
    found = Format("events", schema, tuple(names), "text", mark, first + 1)
    return _named(source, schema, found, lines)


def _split(line: str, mark: str) -> list[str]:
    return next(csv.reader([line], delimiter=mark, skipinitialspace=True), [])


def _is_header(names: Sequence[str], schema: LogSchema, source: Source) -> bool:
    missing = _missing(names, schema, source)
    return not missing or not _missing_paths(names, schema)


def _has(names: Sequence[str], wanted: Sequence[str]) -> bool:
    known = {clean_name(name) for name in names}
    known |= {name.rpartition(".")[0] for name in known if "." in name}
    return any(
        clean_name(name) in known or clean_name(name).split(".")[0] in known for name in wanted
    )


def _required(schema: LogSchema) -> list[str]:
    """What every row must have: no event where the schema says what it is, no user if unwanted."""
    named = [rule for rule in schema.rules if rule.event is None]
    required = [name for name in REQUIRED if name != "event" or named]
    return [name for name in required if name != "user_id" or schema.sources(name)]


def _missing(names: Sequence[str], schema: LogSchema, source: Source | None) -> list[str]:
    known = [*names, *(source.constants if source else ())]
    return [name for name in _required(schema) if not _has(known, schema.sources(name))]


def path_sources(schema: LogSchema, name: str) -> tuple[str, ...]:
    """Columns that may hold this part of a journey path."""
    return schema.columns.get(name, PATH_COLUMNS[name])


def _missing_paths(names: Sequence[str], schema: LogSchema) -> list[str]:
    return [n for n in ("path", "conversions") if not _has(names, path_sources(schema, n))]


def _by_content(line: str, schema: LogSchema) -> LogSchema:
    """Rows of iPinYou have no header and are known by what is in them."""
    values = line.split("\t")
    ipinyou = ready_schema("ipinyou")
    for layout in ipinyou.layouts:
        if len(values) == len(layout):
            row = dict(zip(layout, values, strict=True))
            small = [row[name] for name in ("width", "height", "floor_price", "bid_price")]
            known = re.fullmatch(r"20[01]\d[01]\d{12}", row["timestamp"]) is not None
            known &= all(re.fullmatch(r"\d{1,6}", value) is not None for value in small)
            if known and row.get("log_type", "1") in "12345":
                return ipinyou
            if [clean_name(v) for v in values[:2]] == ["click", "weekday"]:
                return ipinyou
    return schema


def _by_layout(source: Source, schema: LogSchema, line: str) -> Format:
    mark = schema.delimiter or "\t"
    values = line.split(mark)
    for layout in schema.layouts:
        if len(layout) == len(values):
            header = int(clean_name(values[0]) == layout[0])
            kind = "ipinyou" if schema.name == "ipinyou" else "events"
            return Format(kind, schema, layout, "text", mark, header)
    sizes = ", ".join(str(len(layout)) for layout in schema.layouts)
    raise UserError(
        f"{str(source.path)!r} begins with {line[:60]!r}, {len(values)} values; schema "
        f"{schema.name} has {sizes}"
    )


def _named(source: Source, schema: LogSchema, found: Format, lines: list[str]) -> Format:
    """A file with named columns: an event log if it can be one, else journey paths."""
    names = found.names
    missing = _missing(names, schema, source)
    if not missing:
        for name, columns in schema.columns.items():
            if columns and not schema.name and not _has([*names, *source.constants], columns):
                raise UserError(
                    f"{str(source.path)!r} has no column {columns[0]!r} for {name}; its columns: "
                    f"{_listed(names)}"
                )
        return found
    if not _missing_paths(names, schema):
        return Format("paths", schema, names, found.container, found.delimiter, found.first)
    raise UserError(_way_out(source, schema, found, missing, lines))


def _way_out(
    source: Source, schema: LogSchema, found: Format, missing: list[str], lines: list[str]
) -> str:
    """The error for a file without the columns: what it has, and what would read it."""
    names = found.names
    begin = (
        f"{str(source.path)!r} has no column {', '.join(_quoted(schema, missing))}; its columns: "
    )
    begin += _listed(names)
    marks = [m for m in _DELIMITERS if m != found.delimiter] if lines else []
    best = max(marks, key=lambda m: len(_split(lines[0], m)), default=None)
    for mark in [found.delimiter, *marks]:
        heads = [list(names)] if mark == found.delimiter else [_split(lines[0], mark)]
        for name in READY:
            ready = ready_schema(name)
            fits = not ready.layouts and not _missing(heads[0], ready, None)
            if fits and all(_has(heads[0], [c]) for rule in ready.rules for c in rule.when):
                if schema.name != name and name != "avazu" or _has(heads[0], ["hour"]):
                    return f"{begin}; looks like --schema {name}"
    if best is not None and len(_split(lines[0], best)) > len(names):
        head = _split(lines[0], best)
        words = f"--delimiter {'tab' if best == chr(9) else repr(best)}"
        decimals = [line for line in lines[1:] if re.search(r"\d,\d", line)]
        if best != "," and decimals:
            words += " --decimal ','"
        return f"{begin}; looks like {words}{_aliases(head, _missing(head, schema, source))}"
    lost_paths = _missing_paths(names, schema)
    paths = [n for n in lost_paths if _alias(names, n)]
    if len(missing) == len(_required(schema)) and len(paths) == len(lost_paths):
        optional = [n for n in ("nulls",) if not _has(names, PATH_COLUMNS[n])]
        return f"{begin}; looks like journey paths:{_aliases(names, [*paths, *optional])}"
    if missing == _required(schema) and lost_paths == ["conversions"]:
        return f"{begin}; journey paths need a count, too: --column conversions=COLUMN"
    if lines and any(re.match(r"(19|20)\d\d-\d\d-\d\d|\d{10}", name) for name in names):
        return f"{begin}; its first line is data: write the names of the columns above it"
    guess = _aliases(names, missing)
    if guess:
        return f"{begin}; looks like{guess}"
    user = ", or --column user_id= if there are no users" if missing == ["user_id"] else ""
    return f"{begin}; name it: --column {missing[0]}=COLUMN{user} (docs/guides/discover.md)"


def _quoted(schema: LogSchema, missing: list[str]) -> list[str]:
    words = []
    for name in missing:
        source = schema.sources(name)[0]
        words.append(repr(name) if source == name else f"{source!r} ({name})")
    return words


def _listed(names: Sequence[str]) -> str:
    shown = [repr(name.strip("\ufeff "))[1:-1][:40] for name in names[:_SHOWN]]
    more = f", ... ({len(names)} in all)" if len(names) > _SHOWN else ""
    return ", ".join(shown) + more


def _alias(names: Sequence[str], wanted: str) -> str | None:
    pattern = re.compile(_ALIASES.get(wanted, "$^"))
    # Of an object (`ts.seconds`) its own name may tell.
    parts = [(n, clean_name(n), clean_name(n.partition(".")[0])) for n in names]
    return next((n.strip("\ufeff ") for n, *p in parts if any(map(pattern.fullmatch, p))), None)


def _aliases(names: Sequence[str], missing: list[str]) -> str:
    """Options that name the missing columns, as far as there is a guess."""
    words = ""
    for wanted in missing:
        name = _alias(names, wanted)
        if name is not None and name != wanted:
            column = f"{wanted}={name}"
            words += f" --column {column!r}" if " " in column else f" --column {column}"
    return words

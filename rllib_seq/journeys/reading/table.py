"""Files as one table, with all of their columns; for tables that are no event logs.

- `read_table`: CSV, JSON lines or Parquet, packed or not, as event logs are read.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rllib_seq.errors import UserError
from rllib_seq.journeys.reading.bad_rows import BadRows
from rllib_seq.journeys.reading.batches import (
    Batch,
    delimited_batches,
    parquet_batches,
    parquet_names,
)
from rllib_seq.journeys.reading.columns import (
    NOT_A_NUMBER,
    NUMBER,
    clean_name,
    decoded,
    text,
    trimmed,
)
from rllib_seq.journeys.reading.json_lines import json_batches, json_names
from rllib_seq.journeys.reading.schema import ReadingOptions
from rllib_seq.journeys.reading.sources import Source, find_sources

_FLAGS = pa.array(["true", "false"])
_DELIMITERS = (",", ";", "\t", "|")


def read_table(
    paths: Sequence[Path | str], options: ReadingOptions, names: Sequence[str] = ()
) -> tuple[pa.Table, list[str]]:
    """Reads a table.

    Args:
        paths: files, folders and patterns, with the same columns; see `find_sources`.
        options: of them delimiter and decimal mark count.
        names: clean names of columns that stay text, if they are some: ids.

    Returns:
        The table, by clean names: columns of text that hold numbers alone are numbers, and columns
        without a name are left out. And what has to be known about the reading, in sentences.

    Raises:
        UserError: a file cannot be read, or has other columns than the first.
    """
    schema = options.load()
    sources = find_sources(paths)
    bad = BadRows(sources[0].path)
    bad.many = len(sources) > 1
    parts: dict[str, list[Any]] = {}
    for source in sources:
        bad.begin(source.path)
        for batch in _batches(source, bad, schema.delimiter):
            bad.rows += len(batch.lines)
            columns = dict(batch.columns)
            for name, value in source.constants.items():
                columns.setdefault(name, pa.array([value] * len(batch.lines), pa.string()))
            columns.pop("", None)
            if parts and columns.keys() != parts.keys():
                odd = sorted(columns.keys() ^ parts.keys())[0]
                raise UserError(
                    f"{str(source.path)!r} and {str(sources[0].path)!r} are one table, and only "
                    f"one of them has the column {odd!r}"
                )
            for name, values in columns.items():
                parts.setdefault(name, []).append(decoded(values))
    if not parts:
        raise UserError(f"{str(sources[0].path)!r} has no row")
    table = {
        name: _typed(_joined(chunks, name), name in names, schema.decimal or ".", name)
        for name, chunks in parts.items()
    }
    return pa.table(table), bad.warnings()


def _batches(source: Source, bad: BadRows, delimiter: str | None) -> Iterator[Batch]:
    kind = source.kind()
    if kind == "parquet":
        return parquet_batches(source, _clean(parquet_names(source)))
    if kind == "json":
        return json_batches(source, bad, _clean(json_names(source)))
    head = source.lines()[0]
    mark = delimiter or ","
    names = _split(head, mark)
    best = max(_DELIMITERS, key=lambda each: len(_split(head, each)))
    if delimiter is None and len(names) == 1 < len(_split(head, best)):
        words = "tab" if best == "\t" else repr(best)
        raise UserError(f"{str(source.path)!r} has one column; looks like --delimiter {words}")
    return delimited_batches(source, bad, mark, names, 1, _clean(names))


def _clean(names: Sequence[str]) -> set[str]:
    return {clean_name(name) for name in names}


def _split(line: str, mark: str) -> list[str]:
    return next(csv.reader([line], delimiter=mark, skipinitialspace=True), [])


def _joined(chunks: list[Any], name: str) -> Any:
    """Batches of one column; where their types differ, as text."""
    if len({str(chunk.type) for chunk in chunks}) > 1:
        chunks = [text(chunk, name) for chunk in chunks]
    return pa.concat_arrays(chunks)


def _typed(values: Any, as_text: bool, decimal: str, name: str) -> Any:
    """Text as booleans or numbers, if it is nothing else; other types as they are."""
    kind = values.type
    if not (pa.types.is_binary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return text(values, name) if as_text else values
    words = trimmed(text(values, name).cast(pa.string()))
    words = pc.if_else(pc.is_in(words, value_set=NOT_A_NUMBER), None, words)
    if as_text:
        return words
    lower = pc.utf8_lower(words)
    if pc.all(pc.is_in(pc.drop_null(lower), value_set=_FLAGS)).as_py():
        return pc.equal(lower, "true")
    plain = words
    if decimal != ".":  # a point would be read as the decimal mark
        plain = pc.if_else(pc.match_substring(words, "."), "?", words)
        plain = pc.replace_substring(plain, decimal, ".")
    if pc.all(pc.match_substring_regex(pc.drop_null(plain), NUMBER)).as_py():
        return plain.cast(pa.float64())
    return words

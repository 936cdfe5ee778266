"""JSON lines to batches of columns: one object per line.

pyarrow reads a block of lines at once. Where a block holds a line that is no object, or values of
mixed types, its lines are read one by one: no line changes what becomes of another.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json

from rllib_seq.errors import UserError
from rllib_seq.journeys.reading.bad_rows import BadRows
from rllib_seq.journeys.reading.batches import Batch
from rllib_seq.journeys.reading.columns import clean_name
from rllib_seq.journeys.reading.sources import Source, reading_errors

_BLOCK_BYTES = 1 << 23


def json_names(source: Source) -> list[str]:
    """Keys of the first object, those of objects within as `key.field`."""
    for line in source.lines():
        found = _object(line.encode())
        if found is not None:
            return list(_flat(found))
    return []


def _flat(found: dict[str, Any], above: str = "") -> Iterator[str]:
    for key, value in found.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield above + key


def json_batches(source: Source, bad: BadRows, wanted: set[str]) -> Iterator[Batch]:
    """Reads JSON lines.

    Args:
        source: the file.
        bad: counts lines that are no object.
        wanted: clean names of the columns, `key.field` for what is within an object.
    """
    texts = _text_fields(source)
    with source.open() as (stream, raw, _), reading_errors(source.path):
        rest, line = b"", 1
        while True:
            block = stream.read(_BLOCK_BYTES)
            rest += block
            if block and b"\n" not in block:
                continue
            whole, _, rest = rest.rpartition(b"\n") if block else (rest, b"", b"")
            if line == 1:
                whole = whole.removeprefix(b"\xef\xbb\xbf")
            if whole.strip():
                yield from _parse(whole, line, bad, wanted, texts, raw.tell() / max(raw.size(), 1))
            line += whole.count(b"\n") + 1
            if not block:
                return


def _text_fields(source: Source) -> pa.Schema:
    """Fields that hold text in the first object: text that looks like a time stays text."""
    first = next((o for o in map(_object, map(str.encode, source.lines())) if o is not None), {})
    return pa.schema([(k, pa.string()) for k, v in first.items() if isinstance(v, str)])


def _parse(
    content: bytes, line: int, bad: BadRows, wanted: set[str], texts: pa.Schema, done: float
) -> Iterator[Batch]:
    lines = content.split(b"\n")
    filled = np.array([bool(words.strip()) for words in lines])
    numbers = line + np.flatnonzero(filled)
    try:
        table = pyarrow.json.read_json(
            pa.BufferReader(content),
            pyarrow.json.ReadOptions(use_threads=False, block_size=len(content) + 1),
            pyarrow.json.ParseOptions(explicit_schema=texts, newlines_in_values=False),
        )
        if table.num_rows == len(numbers):
            columns = {
                clean_name(name): table.column(name).combine_chunks() for name in table.column_names
            }
            yield Batch(columns, numbers, min(done, 1.0))
            return
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass  # the lines are read one by one
    found = [_object(words) for words in lines if words.strip()]
    good = np.array([one is not None for one in found])
    wrong = numbers[~good]
    bad.rows += len(wrong)
    bad.add(wrong.tolist(), ["it is no JSON object"] * min(len(wrong), 5))
    objects = [{clean_name(k): v for k, v in one.items()} for one in found if one is not None]
    columns = {}
    for name in wanted:
        values = [_inside(one, name) for one in objects]
        if any(value is not None for value in values):
            columns[name] = pa.array([_as_text(value, name) for value in values], pa.string())
    yield Batch(columns, numbers[good], min(done, 1.0))


def _object(words: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(words)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _inside(one: dict[str, Any], name: str) -> Any:
    if name in one:
        return one[name]
    value: Any = one
    for part in name.split("."):
        if not isinstance(value, dict):
            return None
        value = {clean_name(k): v for k, v in value.items()}.get(part)
    return value


def _as_text(value: Any, name: str) -> str | None:
    if isinstance(value, dict | list):
        raise UserError(f"column {name!r} holds {value!r:.60}, not one value per row")
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 9e18:
        return str(int(value))
    return str(value)

"""Files to batches of columns, whatever is in them; nothing is checked here.

- `Batch`: some rows, and where in the file they stand.
- `delimited_batches`: delimited text, every value as it stands.
- `parquet_batches`: Parquet, in its own types. JSON is in `json_lines`.

At any time one batch is in memory. Names of columns are clean (`columns.clean_name`).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from rllib_seq.errors import UserError
from rllib_seq.journeys.reading.bad_rows import BadRows
from rllib_seq.journeys.reading.columns import clean_name
from rllib_seq.journeys.reading.sources import Source, reading_errors

_BLOCK_BYTES = 1 << 23  # of text per batch
_BATCH_ROWS = 1 << 19  # of a Parquet file per batch


class Batch(NamedTuple):
    """Rows of a file."""

    columns: dict[str, Any]
    """Clean name to pyarrow array, all of one length n."""
    lines: NDArray[np.int64]
    """`[n]`: 1-based line of each row (of a Parquet file: 1-based row)."""
    done: float
    """Share of the file that has been read, 0 to 1."""


def unique_names(source: Source, names: Sequence[str], wanted: set[str]) -> dict[str, str]:
    """Clean name to the file's own name, of the wanted columns.

    Of two that differ in case alone, the one that is written as wanted counts.

    Raises:
        UserError: a wanted column is there twice.
    """
    found: dict[str, list[str]] = {}
    for name in names:
        clean = clean_name(name)
        if clean in wanted or any(w.startswith(clean + ".") for w in wanted):
            found.setdefault(clean, []).append(name)
    chosen = {}
    for clean, own in found.items():
        exact = [name for name in own if name.strip("\ufeff \"'") == clean]
        same = exact if exact else own
        if len(same) > 1:
            raise UserError(
                f"{str(source.path)!r} has the column {clean!r} {len(same)} times; rename all but "
                "one"
            )
        chosen[clean] = same[0]
    return chosen


def delimited_batches(
    source: Source,
    bad: BadRows,
    delimiter: str,
    names: Sequence[str],
    first: int,
    wanted: set[str],
    quotes: bool = True,
) -> Iterator[Batch]:
    """Reads delimited text; every value is a string of bytes, an empty one is null.

    Args:
        source: the file.
        bad: counts rows with a wrong number of values.
        delimiter: one character.
        names: of its columns.
        first: lines before the first row of data.
        wanted: clean names of the columns to read.
        quotes: whether values may stand in double quotes.

    Raises:
        UserError: the file cannot be parsed.
    """
    own = unique_names(source, names, wanted)
    place = {clean: f"c{list(names).index(name)}" for clean, name in own.items()}
    skipped = array("q")
    # An error cannot leave the parser's callback: bad rows wait for the end of their batch.
    waiting: list[tuple[int, str]] = []

    def skip(row: Any) -> str:
        if row.text.strip(f" {delimiter}\t\r\n"):
            reason = f"{row.actual_columns} values, not {row.expected_columns}"
            waiting.append((row.number, reason))
        skipped.append(row.number)
        return "skip"

    def report() -> None:
        bad.rows += len(waiting)
        bad.add([line for line, _ in waiting], [reason for _, reason in waiting])
        waiting.clear()

    with source.open() as (stream, raw, text), reading_errors(source.path):
        reader = pyarrow.csv.open_csv(
            stream,
            pyarrow.csv.ReadOptions(
                use_threads=False,  # with threads rows lose their numbers
                block_size=_BLOCK_BYTES,
                column_names=[f"c{i}" for i in range(len(names))],
                skip_rows=first,
            ),
            pyarrow.csv.ParseOptions(
                delimiter=delimiter,
                quote_char='"' if quotes else False,
                newlines_in_values=quotes,
                ignore_empty_lines=False,
                invalid_row_handler=skip,
            ),
            pyarrow.csv.ConvertOptions(
                include_columns=list(place.values()),
                # Bytes: a single value that is not UTF-8 must not end the reading.
                column_types=dict.fromkeys(place.values(), pa.binary()),
                strings_can_be_null=True,
                null_values=[""],
            ),
        )
        start = 0
        for batch in reader:
            report()
            lines = _lines(start, batch.num_rows, first + 1, skipped)
            start += batch.num_rows
            columns = {clean: batch.column(name) for clean, name in place.items()}
            yield Batch(columns, lines, min(raw.tell() / max(raw.size(), 1), 1.0))
        report()
        if text.odd:
            bad.note(
                r"bytes that are not UTF-8 are shown as \xNN; if names look odd, convert the file: "
                "iconv -f latin1 -t utf-8 FILE"
            )
        bad.quoted_lines += max(text.lines - first - start - len(skipped), 0)


def _lines(start: int, count: int, first: int, skipped: array[int]) -> NDArray[np.int64]:
    """Lines of the kept rows `start ... start + count`, given the lines that were skipped."""
    kept = np.arange(start, start + count, dtype=np.int64)
    gone = np.asarray(skipped, np.int64)
    # Kept rows before the i-th skipped line: all lines before it but the header and i others.
    before = gone - first - np.arange(len(gone))
    return kept + first + np.searchsorted(before, kept, side="right")


def parquet_names(source: Source) -> list[str]:
    """Names of the columns of a Parquet file, as they are.

    Raises:
        UserError: the file cannot be read.
    """
    with reading_errors(source.path):
        names: list[str] = pyarrow.parquet.read_schema(source.path).names
        return names


def parquet_batches(source: Source, wanted: set[str]) -> Iterator[Batch]:
    """Reads the wanted columns, as far as they exist, of a Parquet file.

    Raises:
        UserError: the file cannot be read.
    """
    own = unique_names(source, parquet_names(source), wanted)
    with reading_errors(source.path):
        schema = pyarrow.parquet.read_schema(source.path)
        texts = [name for name in own.values() if pa.types.is_string(schema.field(name).type)]
        # With pre_buffer all that was read stays in memory until the end.
        with pyarrow.parquet.ParquetFile(
            source.path, read_dictionary=texts, pre_buffer=False
        ) as file:
            rows, total = 0, max(file.metadata.num_rows, 1)
            for batch in file.iter_batches(_BATCH_ROWS, columns=list(own.values())):
                lines = np.arange(rows + 1, rows + batch.num_rows + 1)
                rows += batch.num_rows
                columns = {clean: batch.column(name) for clean, name in own.items()}
                yield Batch(columns, lines, rows / total)

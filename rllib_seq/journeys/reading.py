"""Files to batches of columns, whatever is in them; nothing is checked here.

- `Batch`: some rows, and where in the file they stand.
- `csv_batches`: delimited text, plain or compressed, as strings.
- `parquet_batches`: a Parquet file, in its own types.

At any time one batch is in memory.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from rllib_seq.errors import UserError
from rllib_seq.journeys.bad_rows import BadRows

__all__ = ["Batch", "csv_batches", "first_line", "is_parquet", "parquet_batches"]

_BLOCK_BYTES = 1 << 24  # of text per batch
_BATCH_ROWS = 1 << 19  # of a Parquet file per batch
_COMPRESSION = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}


class Batch(NamedTuple):
    """Rows of a file."""

    columns: dict[str, Any]
    """Name to pyarrow array, all of one length n."""
    lines: NDArray[np.int64]
    """`[n]`: 1-based line of each row (of a Parquet file: 1-based row)."""
    done: float
    """Share of the file that has been read, 0 to 1."""


def is_parquet(path: Path) -> bool:
    """Whether a file begins with Parquet's magic bytes."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def first_line(path: Path) -> str:
    """The first line of a plain or compressed text file, without its end; empty if there is none.

    Raises:
        UserError: the file is not UTF-8 text, or its compression is broken.
    """
    try:
        with pa.input_stream(str(path), compression=_COMPRESSION.get(path.suffix)) as stream:
            line: str = stream.read(1 << 16).split(b"\n", 1)[0].decode("utf-8-sig").rstrip("\r")
            return line
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {str(path)!r} as text or Parquet: {error}") from error


def csv_batches(
    path: Path,
    bad: BadRows,
    delimiter: str = ",",
    names: Sequence[str] | None = None,
    header: bool = True,
    quotes: bool = True,
) -> Iterator[Batch]:
    """Reads delimited text; every value is a string, an empty one is null.

    Args:
        path: plain text, or compressed and named `.gz`, `.bz2` or `.zst`.
        bad: counts rows with a wrong number of values.
        delimiter: one character.
        names: of the columns; None: the header's.
        header: whether the first line is a header.
        quotes: whether values may stand in double quotes.

    Raises:
        UserError: the file cannot be parsed.
    """
    skipped = array("q")
    # An error cannot leave the parser's callback: bad rows wait for the end of their batch.
    waiting: list[tuple[int, str]] = []

    def skip(row: Any) -> str:
        # An empty line is no row; the parser tells it as one empty value.
        if row.text.strip():
            reason = f"{row.actual_columns} values, not {row.expected_columns}"
            waiting.append((row.number, reason))
        skipped.append(row.number)
        return "skip"

    def tell() -> None:
        bad.add([line for line, _ in waiting], [reason for _, reason in waiting])
        waiting.clear()

    columns = names or first_line(path).split(delimiter)
    try:
        with pa.OSFile(str(path)) as file:
            kind = _COMPRESSION.get(path.suffix)
            reader = pyarrow.csv.open_csv(
                pa.CompressedInputStream(file, kind) if kind else file,
                pyarrow.csv.ReadOptions(
                    use_threads=False,  # with threads rows lose their numbers
                    block_size=_BLOCK_BYTES,
                    column_names=names,
                    skip_rows=1 if header and names else 0,
                ),
                pyarrow.csv.ParseOptions(
                    delimiter=delimiter,
                    quote_char='"' if quotes else False,
                    ignore_empty_lines=False,
                    invalid_row_handler=skip,
                ),
                pyarrow.csv.ConvertOptions(
                    column_types={name.strip('"'): pa.string() for name in columns},
                    strings_can_be_null=True,
                    null_values=[""],
                ),
            )
            start = 0
            for batch in reader:
                tell()
                lines = _lines(start, batch.num_rows, 2 if header else 1, skipped)
                start += batch.num_rows
                done = min(file.tell() / file.size(), 1.0)
                yield Batch(dict(zip(batch.schema.names, batch.columns, strict=True)), lines, done)
            tell()
    except pa.ArrowException as error:
        raise UserError(f"cannot read {str(path)!r}: {str(error).splitlines()[0]}") from error


def _lines(start: int, count: int, first: int, skipped: array[int]) -> NDArray[np.int64]:
    """Lines of the kept rows `start ... start + count`, given the lines that were skipped."""
    kept = np.arange(start, start + count, dtype=np.int64)
    gone = np.asarray(skipped, np.int64)
    # Kept rows before the i-th skipped line: all lines before it but the header and i others.
    before = gone - first - np.arange(len(gone))
    return kept + first + np.searchsorted(before, kept, side="right")


def parquet_batches(path: Path, wanted: Sequence[str]) -> Iterator[Batch]:
    """Reads the wanted columns, as far as they exist, of a Parquet file.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        schema = pyarrow.parquet.read_schema(path)
        text = [n for n in schema.names if n in wanted and pa.types.is_string(schema.field(n).type)]
        # With pre_buffer all that was read stays in memory until the end.
        with pyarrow.parquet.ParquetFile(path, read_dictionary=text, pre_buffer=False) as file:
            columns = [name for name in schema.names if name in wanted]
            rows, total = 0, max(file.metadata.num_rows, 1)
            for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
                lines = np.arange(rows + 1, rows + batch.num_rows + 1)
                rows += batch.num_rows
                yield Batch(
                    dict(zip(batch.schema.names, batch.columns, strict=True)), lines, rows / total
                )
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"cannot read {str(path)!r}: {str(error).splitlines()[0]}") from error

"""Which files a log consists of, and what kind each is; nothing is parsed here.

- `find_sources`: files, folders and globs to single files, with what their folders' names say.
- `Source`: one file: its kind, its bytes and its first lines.
"""

from __future__ import annotations

import codecs
import glob
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from rllib_seq.errors import UserError
from rllib_seq.journeys.reading.columns import clean_name

_HEAD = 1 << 16  # bytes of a file that are looked at first
_PACKED = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bz2"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
_FOREIGN = (
    (b"PK\x03\x04", "a zip or Excel file; save it as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file; save it as CSV"),
    (b"ORC", "an ORC file; save it as Parquet"),
    (b"Obj\x01", "an Avro file; save it as Parquet or JSON lines"),
    (b"ARROW1", "an Arrow file; save it as Parquet"),
    (b"SQLite format 3", "a database; export a table as CSV"),
    (b"\xfd7zXZ", "packed with xz; unpack it, or pack it with gzip, zstd, bz2 or lz4"),
)
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@contextmanager
def reading_errors(path: Path) -> Iterator[None]:
    """Turns what goes wrong in a file into one line.

    Raises:
        UserError: instead of an error of pyarrow or of the system.
    """
    try:
        yield
    except UserError:
        raise
    except (pa.ArrowException, OSError, EOFError, UnicodeError) as error:
        words = (str(error).splitlines() or [type(error).__name__])[0]
        if "runcated" in words or "ended before" in words:
            words = f"it is cut off ({words}); get it again"
        raise UserError(f"cannot read {str(path)!r}: {words}") from error


@dataclass(frozen=True)
class Source:
    """One file of a log."""

    path: Path
    constants: dict[str, str | None]
    """Columns whose one value is in the names of the file's folders (`event=click/`)."""

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.path.stat().st_size

    def kind(self) -> str:
        """One of "parquet", "json" and "text".

        Raises:
            UserError: the file is empty, or something that we do not read.
        """
        with reading_errors(self.path), self.path.open("rb") as file:
            begin = file.read(16)
        if not begin:
            raise UserError(f"event file {str(self.path)!r} is empty")
        if begin.startswith(b"PAR1"):
            return "parquet"
        for magic, what in _FOREIGN:
            if begin.startswith(magic):
                raise UserError(f"cannot read {str(self.path)!r}: it is {what}")
        first = self.head().lstrip()[:1]
        if first == "[":
            raise UserError(
                f"cannot read {str(self.path)!r}: it is one JSON array; give one object per line "
                "(jq -c '.[]' FILE)"
            )
        return "json" if first == "{" else "text"

    @contextmanager
    def open(self) -> Iterator[tuple[Any, Any, Text]]:
        """The file's text as a stream, the raw file to tell how far it is, and its lines."""
        with reading_errors(self.path), pa.OSFile(str(self.path)) as raw:
            begin = raw.read(4)
            raw.seek(0)
            packed = next((kind for magic, kind in _PACKED if begin.startswith(magic)), None)
            stream = pa.CompressedInputStream(raw, packed) if packed else raw
            mark = begin
            if packed:
                with pa.OSFile(str(self.path)) as again:
                    mark = pa.CompressedInputStream(again, packed).read(4)
            text = Text(stream, _encoding(mark))
            yield pa.PythonFile(text, "r"), raw, text

    def head(self) -> str:
        """The beginning of the text, without a byte order mark.

        Raises:
            UserError: it is no text, or its packing is broken.
        """
        with self.open() as (stream, *_):
            content = b""
            while len(content) < _HEAD:
                block = stream.read(_HEAD - len(content))
                if not block:
                    break
                content += block
        words = content.removeprefix(b"\xef\xbb\xbf").decode(errors="backslashreplace")
        odd = sum(ord(c) < 32 and c not in "\t\n\r\x01" for c in words[:4096])  # Hive's is \x01
        if odd > len(words[:4096]) // 40:
            raise UserError(f"cannot read {str(self.path)!r} as text, JSON or Parquet")
        if not words.strip():
            raise UserError(f"event file {str(self.path)!r} is empty")
        return words

    def lines(self) -> list[str]:
        """The first lines; the last one is left out if it is not read to its end."""
        words = self.head()
        lines = words.splitlines()
        return lines[:-1] if len(words.encode()) >= _HEAD and len(lines) > 1 else lines


def _encoding(begin: bytes) -> str:
    """Of a text, by its first four bytes: a byte order mark, or where the zeros of ASCII are."""
    if begin in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        return "utf-32"
    if begin[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if begin[1::2] == b"\0\0":
        return "utf-16-le"
    return "utf-16-be" if begin[::2] == b"\0\0" else "utf-8"


class Text:
    r"""Bytes of a stream as valid UTF-8; bytes that are not are written as \\xNN.

    A single byte out of place must not end the reading of a file.
    """

    closed = False

    def __init__(self, stream: Any, encoding: str) -> None:
        self._stream = stream
        self._ascii = encoding == "utf-8"
        errors = "backslashreplace" if self._ascii else "strict"
        self._decoder = codecs.getincrementaldecoder(encoding)(errors)
        self._waiting = b""
        self.lines = 0
        """Line ends that were read."""
        self.odd = False
        """Whether there were bytes that are not UTF-8."""

    def read(self, size: int = -1) -> bytes:
        """At most so many bytes; none at the end."""
        while not self._waiting:
            block: bytes = self._stream.read(size if size > 0 else None)
            plain = self._ascii and block.isascii() and not self._decoder.getstate()[0]
            words = block if plain else self._decoder.decode(block, not block).encode()
            self.odd |= not plain and words.count(b"\\x") > block.count(b"\\x")
            self.lines += words.count(b"\n")
            if size < 0 or not block:
                return words
            self._waiting = words
        found, self._waiting = self._waiting[:size], self._waiting[size:]
        return found

    def close(self) -> None:
        """The stream below is closed by those who opened it."""


def find_sources(paths: Sequence[Path | str]) -> list[Source]:
    """The files of a log, in order.

    Args:
        paths: files, folders (with all files below; names that begin with "." or "_" are left
            out) and patterns such as `logs/*.csv`.

    Raises:
        UserError: there is nothing at a path.
    """
    sources: list[Source] = []
    for given in paths:
        place = Path(given)
        if place.is_dir():
            files = [
                file
                for file in sorted(place.rglob("*"))
                if file.is_file()
                and not any(part[0] in "._" for part in file.relative_to(place).parts)
            ]
            if not files:
                raise UserError(f"folder {str(place)!r} holds no file")
        elif place.is_file():
            files = [place]
        else:
            files = [Path(p) for p in sorted(glob.glob(str(given), recursive=True))]
            files = [file for file in files if file.is_file()]
        if not files:
            raise UserError(
                f"no event file {str(given)!r}; give a CSV, JSON or Parquet file, a folder of "
                "them, or a pattern in quotes"
            )
        sources += [Source(file, _partitions(file)) for file in files]
    return sources


def _partitions(file: Path) -> dict[str, str | None]:
    """What folders named `column=value` say, as Hive and Spark write them."""
    pairs = [part.partition("=") for part in file.parts[:-1] if "=" in part]
    return {
        clean_name(name): None if value == _NO_VALUE else unquote(value)
        for name, _, value in pairs
        if name
    }

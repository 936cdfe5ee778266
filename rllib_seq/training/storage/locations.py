"""Folders on any storage that pyarrow or fsspec knows: `s3://...`, `gs://...`, `file://...`.

Work is done in local folders; a `Remote` is where copies of them are kept.

- `is_uri`, `Remote`
- `local_copy`, `send_back`: a folder by its path or URI, to work in
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from fsspec.core import url_to_fs
from pyarrow import fs

from rllib_seq.errors import UserError


def is_uri(place: str | Path) -> bool:
    """Whether a place is named by a URI and not by a local path."""
    return "://" in str(place)


class Remote:
    """A folder on some storage.

    Args:
        uri: with scheme; pyarrow's own filesystems first, then those of fsspec.

    Raises:
        UserError: there is no such storage.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._address, mark, options = self.uri.partition("?")  # as of s3://...?endpoint_override=
        self._options = mark + options
        try:
            try:
                self._fs, self._root = fs.FileSystem.from_uri(self.uri)
            except pa.ArrowInvalid:  # not one of pyarrow's own
                other, self._root = url_to_fs(self.uri)
                self._fs = fs.PyFileSystem(fs.FSSpecHandler(other))
        except (ValueError, ImportError, OSError) as error:
            raise UserError(f"cannot use storage {uri!r}: {error}") from error

    @property
    def name(self) -> str:
        """Of the folder, without its parents."""
        return self._address.rsplit("/", 1)[-1]

    def child(self, name: str) -> Remote:
        """A folder in this one."""
        return Remote(f"{self._address}/{name}{self._options}")

    def names(self) -> list[str]:
        """What lies in the folder, sorted; nothing if there is no such folder."""
        there = self._fs.get_file_info(fs.FileSelector(self._root, allow_not_found=True))
        return sorted(info.base_name for info in there)

    def put(self, local: Path) -> None:
        """Copies a file or folder into this one under its own name; replaces what is there.

        Raises:
            UserError: the storage refuses it.
        """
        target = f"{self._root}/{local.name}"
        try:
            self._fs.create_dir(target if local.is_dir() else self._root)
            if local.is_dir():
                fs.copy_files(str(local), target, fs.LocalFileSystem(), self._fs)
            else:
                with self._fs.open_output_stream(target) as stream:
                    stream.write(local.read_bytes())
        except OSError as error:
            raise UserError(f"cannot write to {self.uri!r}: {error}") from error

    def get(self, local: Path) -> None:
        """Copies all that lies in here into a local folder.

        Raises:
            UserError: it cannot be read.
        """
        try:
            fs.copy_files(self._root, str(local), self._fs, fs.LocalFileSystem())
        except OSError as error:
            raise UserError(f"cannot read {self.uri!r}: {error}") from error

    def get_file(self, name: str, folder: Path) -> None:
        """Copies a file that lies in here into a local folder."""
        with self._fs.open_input_stream(f"{self._root}/{name}") as stream:
            (folder / name).write_bytes(stream.read())

    def remove_all(self) -> None:
        """Removes the folder, if there is one."""
        if self.names():
            self._fs.delete_dir(self._root)


@contextlib.contextmanager
def local_copy(place: str | Path) -> Iterator[Path]:
    """A folder to read: itself if it is local, else a copy that goes when it is no longer needed.

    Raises:
        UserError: a remote folder does not exist or cannot be read.
    """
    if not is_uri(place):
        yield Path(place)
        return
    remote = Remote(str(place))
    if not remote.names():
        raise UserError(f"{str(place)!r} does not exist; give a run or checkpoint folder")
    with tempfile.TemporaryDirectory(prefix="rllib-seq-") as parent:
        folder = Path(parent) / remote.name
        folder.mkdir()
        remote.get(folder)
        yield folder


def send_back(path: Path, copy: Path, place: str | Path) -> str:
    """Copies a file that was written into a `local_copy` to where the folder came from.

    Args:
        path: the file; one that lies elsewhere stays there.
        copy: what `local_copy` gave for `place`.
        place: path or URI of the folder.

    Returns:
        Where a user finds the file.
    """
    if not is_uri(place) or path.parent != copy.resolve():
        return str(path)
    remote = Remote(str(place))
    remote.put(path)
    return remote.child(path.name).uri

"""Where a sweep lives: Tune's folder, local or remote, and our files in it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rllib_seq.errors import UserError
from rllib_seq.training.storage.files import read_json, write_json
from rllib_seq.training.storage.locations import Remote, is_uri
from rllib_seq.training.storage.run_folder import free_name

SETTINGS = "sweep.json"


class SweepFolder:
    """One sweep's folder; a context that removes the working copy of a remote one.

    Attributes:
        storage: the folder around it, absolute or a URI, as Tune takes it.
        name: within the storage.
        path: where our files are written; the folder itself if it is local.
    """

    def __init__(self, storage: Path | str, name: str) -> None:
        """Wraps a folder; `create` and `newest` make sure that it is one."""
        self.name = name
        self._remote: Remote | None = None
        if is_uri(storage):
            self.storage = str(storage)
            self._remote = Remote(self.storage).child(name)
            self.path = Path(tempfile.mkdtemp(prefix="rllib-seq-"))
        else:
            self.storage = str(Path(storage).resolve())
            self.path = Path(self.storage) / name

    @classmethod
    def create(cls, storage: Path | str, name: str, settings: Mapping[str, Any]) -> SweepFolder:
        """Makes a new folder `storage/name-DATE-TIME` and writes `sweep.json`.

        Raises:
            UserError: the storage cannot be written.
        """
        stamp = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
        folder = cls(storage, free_name(stamp, _names(storage)))
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write to storage {str(storage)!r}: {error}") from error
        folder.write(SETTINGS, settings)
        return folder

    @classmethod
    def newest(cls, storage: Path | str, module: str) -> SweepFolder:
        """Finds the newest sweep of a module.

        Raises:
            UserError: there is none.
        """
        for name in sorted(_names(storage), key=lambda name: name[-15:], reverse=True):
            folder = cls(storage, name)
            if folder._remote is not None and SETTINGS in folder._remote.names():
                folder._remote.get_file(SETTINGS, folder.path)
            if (folder.path / SETTINGS).is_file() and folder.settings["module"] == module:
                return folder
            folder.__exit__()
        raise UserError(
            f"no sweep of {module!r} in {str(storage)!r}; name the --storage that it was started "
            "with, or leave --resume out"
        )

    def __enter__(self) -> SweepFolder:
        """The folder."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Removes a working copy."""
        if self._remote is not None:
            shutil.rmtree(self.path, ignore_errors=True)

    @property
    def place(self) -> str:
        """Where a user finds it: a path or a URI."""
        return str(self.path) if self._remote is None else self._remote.uri

    def place_of(self, name: str) -> str:
        """Where a user finds a file in it."""
        return str(self.path / name) if self._remote is None else self._remote.child(name).uri

    @property
    def settings(self) -> dict[str, Any]:
        """Content of `sweep.json`."""
        return read_json(self.path / SETTINGS)

    def write(self, name: str, content: Any) -> None:
        """Writes a JSON file into the folder."""
        write_json(self.path / name, content)
        self.publish(self.path / name)

    def publish(self, path: Path) -> None:
        """Copies a file that was written into `path` to a remote storage."""
        if self._remote is not None:
            self._remote.put(path)


def _names(storage: Path | str) -> list[str]:
    if is_uri(storage):
        return Remote(str(storage)).names()
    folder = Path(storage)
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []

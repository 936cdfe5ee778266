"""What a run leaves on disk, and how it is found again.

runs/NAME/
  config.json          what was run, with versions
  progress.csv         one row per iteration
  events.out.*         the same for TensorBoard
  checkpoint_000010/   RLlib's checkpoint, where it stands in progress.json, and files.json, by
                       which damage is found
  evaluation.json      policies on fresh campaigns
  report.html          all of it to look at
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import os
import pickle
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from rllib_seq.errors import UserError
from rllib_seq.training.storage.files import SEAL, read_json, seal, write_json
from rllib_seq.training.storage.locations import Remote, is_uri

Row = dict[str, float | int | None]

UNREADABLE_PICKLE = (
    OSError,
    EOFError,
    pickle.UnpicklingError,
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    ValueError,
)
"""What a cut, foreign or outdated pickle raises."""

_MODULES = ("policies", "learner_group/learner/rl_module")  # of the old and the new API stack
_KEEP = 3  # checkpoints; older ones are deleted


class RunFolder:
    """One run's folder.

    If its storage is remote, `path` is a local working copy of it: checkpoints are copied there as
    soon as they are written, the rest by `publish`.
    """

    def __init__(self, path: Path, remote: Remote | None = None) -> None:
        """Wraps a folder; `create` and `open` make sure that it is one."""
        self.path = path.resolve()
        self.remote = remote

    @property
    def place(self) -> str:
        """Where a user finds it: a path or a URI."""
        return str(self.path) if self.remote is None else self.remote.uri

    def place_of(self, name: str) -> str:
        """Where a user finds a file or folder in it."""
        return str(self.path / name) if self.remote is None else self.remote.child(name).uri

    @classmethod
    def create(cls, storage: Path | str, name: str, config: Mapping[str, Any]) -> RunFolder:
        """Makes a new folder `storage/name-DATE-TIME` and writes `config.json`.

        Args:
            storage: a folder, or the URI of one.
            name: how the folder's name begins.
            config: what is run.

        Raises:
            UserError: the storage folder cannot be written.
        """
        stamp = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
        if is_uri(storage):
            there = Remote(str(storage))
            stamp = free_name(stamp, there.names())
            folder = cls(_working_copy(stamp), there.child(stamp))
            write_json(folder.path / "config.json", config)
            folder.publish()
            return folder
        folder = cls(_make_folder(Path(storage), stamp))
        write_json(folder.path / "config.json", config)
        return folder

    @classmethod
    def open(cls, place: Path | str) -> RunFolder:
        """Opens an existing run.

        Raises:
            UserError: it is not a run folder.
        """
        remote, path = None, Path(place)
        if is_uri(place):
            remote = Remote(str(place))
            path = _working_copy(remote.name)
            if "config.json" in remote.names():
                remote.get(path)
                for folder in path.glob("checkpoint_*"):
                    if not (folder / SEAL).is_file():  # its copying was cut short
                        shutil.rmtree(folder)
        if not (path / "config.json").is_file():
            if remote is not None:
                shutil.rmtree(path.parent)
            raise UserError(f"{str(place)!r} is not a run folder (it has no config.json)")
        return cls(path, remote)

    def publish(self) -> None:
        """Copies all files but checkpoints to a remote storage; without one, does nothing."""
        if self.remote is not None:
            for path in sorted(self.path.iterdir()):
                if path.is_file() and not path.name.startswith("."):
                    self.remote.put(path)

    @classmethod
    def in_folder(cls, storage: str, name: str, config: Mapping[str, Any]) -> RunFolder:
        """Makes the folder `storage/name` again and writes `config.json`."""
        if is_uri(storage):
            there = Remote(storage).child(name)
            there.remove_all()
            folder = cls(_working_copy(name), there)
        else:
            folder = cls(Path(storage) / name)
            shutil.rmtree(folder.path, ignore_errors=True)
            folder.path.mkdir()
        write_json(folder.path / "config.json", config)
        return folder

    def close(self) -> None:
        """Removes the working copy of a remote folder."""
        if self.remote is not None:
            shutil.rmtree(self.path.parent, ignore_errors=True)

    @property
    def config(self) -> dict[str, Any]:
        """Content of `config.json`; raises UserError if it cannot be read."""
        return read_json(self.path / "config.json")

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted(self.path.glob("checkpoint_*"))

    def save_checkpoint(self, save: Callable[[Path], None], row: Row) -> Path:
        """Writes a checkpoint aside and renames it, so that a half-written one is never found.

        Args:
            save: writes RLlib's checkpoint into the folder that it is given.
            row: the row of `progress.csv` that it stands at.

        Raises:
            UserError: it cannot be written (a full disk, say); the ones before stay as they are.
        """
        final = self.path / f"checkpoint_{row['iteration']:06d}"
        aside = self.path / f".{final.name}"
        shutil.rmtree(aside, ignore_errors=True)
        try:
            save(aside)
            write_json(aside / "progress.json", row)
            seal(aside)
            shutil.rmtree(final, ignore_errors=True)
            os.replace(aside, final)
        except OSError as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise UserError(
                f"cannot write {final.name}: {error}; {self._how_to_go_on()}"
            ) from error
        if self.remote is not None:
            self.remote.child(final.name).remove_all()
            for path in sorted(final.iterdir()):
                if path.name != SEAL:
                    self.remote.child(final.name).put(path)
            self.remote.child(final.name).put(final / SEAL)  # last: now it is whole
            self.publish()
        for old in self.checkpoints()[:-_KEEP]:
            self.remove_checkpoint(old)
        return final

    def remove_checkpoint(self, checkpoint: Path) -> None:
        """Deletes a checkpoint."""
        shutil.rmtree(checkpoint)
        if self.remote is not None:
            self.remote.child(checkpoint.name).remove_all()

    def _how_to_go_on(self) -> str:
        checkpoints = self.checkpoints()
        if not checkpoints:
            return "no checkpoint was written before; make room and start again"
        return (
            f"{checkpoints[-1].name} is whole: make room and go on with: rllib-seq train --resume "
            f"{self.place}"
        )

    def read_progress(self) -> list[Row]:
        """Rows of `progress.csv`; none if there is no such file yet.

        A last line that a killed process left unfinished is not a row.
        """
        path = self.path / "progress.csv"
        if not path.is_file():
            return []
        text = path.read_text()
        whole = text[: text.rfind("\n") + 1]
        return [
            {name: _number(value) for name, value in row.items()}
            for row in csv.DictReader(whole.splitlines())
        ]

    def append_progress(self, row: Row) -> None:
        """Adds a row; the first one writes the header.

        Raises:
            UserError: it cannot be written.
        """
        path = self.path / "progress.csv"
        new = not path.is_file()
        try:
            with path.open("a", newline="") as file:
                writer = csv.DictWriter(file, fieldnames=list(row))
                if new:
                    writer.writeheader()
                writer.writerow(row)
        except OSError as error:
            raise UserError(
                f"cannot write {str(path)!r}: {error}; {self._how_to_go_on()}"
            ) from error

    def rewind_progress(self, iteration: int) -> None:
        """Drops the rows after a checkpoint, which a resumed run will write again."""
        rows = [row for row in self.read_progress() if (row["iteration"] or 0) <= iteration]
        aside = self.path / ".progress.csv"
        with aside.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [])
            writer.writeheader()
            writer.writerows(rows)
        os.replace(aside, self.path / "progress.csv")


def find_checkpoint(path: Path) -> Path:
    """The checkpoint that a user means by a run folder or a checkpoint folder.

    Raises:
        UserError: there is none.
    """
    path = path.resolve()  # RLlib takes a relative path for a URI
    if (path / "config.json").is_file() and not (path / "progress.json").is_file():
        checkpoints = RunFolder(path).checkpoints()
        if not checkpoints:
            raise UserError(f"run {str(path)!r} has no checkpoint yet; train it first")
        return checkpoints[-1]
    if not path.exists():
        raise UserError(f"checkpoint {str(path)!r} does not exist; give a run or checkpoint folder")
    modules_folder(path)
    return path


def _make_folder(storage: Path, name: str) -> Path:
    try:
        storage.mkdir(parents=True, exist_ok=True)
        while True:
            path = storage / free_name(name, [path.name for path in storage.iterdir()])
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                return path
    except FileExistsError:
        raise UserError(f"storage {str(storage)!r} is a file; give a folder") from None
    except OSError as error:
        raise UserError(f"cannot write to storage {str(storage)!r}: {error}") from error


def free_name(name: str, taken: Collection[str]) -> str:
    """A name, or the name with the first number behind it that is not taken."""
    names = itertools.chain([name], (f"{name}-{attempt}" for attempt in itertools.count(1)))
    return next(free for free in names if free not in taken)


def _working_copy(name: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="rllib-seq-")) / name
    folder.mkdir()
    return folder


def split_checkpoint(place: Path | str) -> tuple[str, str | None]:
    """The run folder of a checkpoint and its name, or a run folder and None."""
    address, mark, options = str(place).partition("?") if is_uri(place) else (str(place), "", "")
    folder, _, name = address.rstrip("/").rpartition("/")
    if not name.startswith("checkpoint_"):
        return str(place), None
    return (folder or ".") + mark + options, name


def modules_folder(checkpoint: Path) -> Path:
    """Where a checkpoint holds its policies (old API stack) or modules (new), a folder for each.

    Raises:
        UserError: it is not a checkpoint.
    """
    for name in _MODULES:
        if (checkpoint / name).is_dir():
            return checkpoint / name
    raise UserError(f"{str(checkpoint)!r} is not a checkpoint (it has no {' or '.join(_MODULES)})")


def evaluation_path(checkpoint: Path) -> Path:
    """Where the evaluation of a checkpoint goes: its run folder, else the current folder."""
    parent = checkpoint.resolve().parent
    return (parent if (parent / "config.json").is_file() else Path.cwd()) / "evaluation.json"


def _number(text: str) -> float | int | None:
    if text == "":
        return None
    number = float(text)
    return int(number) if number.is_integer() and "." not in text else number


def unreadable_checkpoint(checkpoint: Path | str, error: Exception) -> UserError:
    """What is said of a checkpoint whose pickles raised one of `UNREADABLE_PICKLE`."""
    fix = ""
    if isinstance(error, ImportError | AttributeError):
        fix = (
            "; it names a class of the training that cannot be imported here (an environment, a "
            "model, callbacks): install it, or put its folder on PYTHONPATH"
        )
    return UserError(f"cannot read checkpoint {str(checkpoint)!r}: {error!r}{fix}")

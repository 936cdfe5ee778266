"""What a run leaves on disk, and how it is found again.

runs/NAME/
  config.json          what was run, with versions
  progress.csv         one row per iteration
  events.out.*         the same for TensorBoard
  checkpoint_000010/   RLlib's checkpoint, and where it stands in progress.json
  evaluation.json      policies on fresh campaigns
  report.html          all of it to look at
"""

from __future__ import annotations

import csv
import json
import os
import pickle
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rllib_seq.errors import UserError

__all__ = [
    "UNREADABLE_PICKLE",
    "Row",
    "RunFolder",
    "evaluation_path",
    "find_checkpoint",
    "modules_folder",
    "read_json",
    "write_json",
]

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
    """One run's folder."""

    def __init__(self, path: Path) -> None:
        """Wraps a folder; `create` and `open` make sure that it is one."""
        self.path = path.resolve()

    @classmethod
    def create(cls, storage: Path, name: str, config: Mapping[str, Any]) -> RunFolder:
        """Makes a new folder `storage/name-DATE-TIME` and writes `config.json`.

        Raises:
            UserError: the storage folder cannot be written.
        """
        stamp = time.strftime("%Y%m%d-%H%M%S")
        for attempt in range(100):
            path = storage / (f"{name}-{stamp}" + (f"-{attempt}" if attempt else ""))
            try:
                path.mkdir(parents=True)
                break
            except FileExistsError:
                if not storage.is_dir():
                    raise UserError(f"storage {str(storage)!r} is a file; give a folder") from None
            except OSError as error:
                raise UserError(f"cannot write to storage {str(storage)!r}: {error}") from error
        folder = cls(path)
        write_json(folder.path / "config.json", config)
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Opens an existing run.

        Raises:
            UserError: it is not a run folder.
        """
        if not (path / "config.json").is_file():
            raise UserError(f"{str(path)!r} is not a run folder (it has no config.json)")
        return cls(path)

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
        """
        final = self.path / f"checkpoint_{row['iteration']:06d}"
        aside = self.path / f".{final.name}"
        shutil.rmtree(aside, ignore_errors=True)
        save(aside)
        write_json(aside / "progress.json", row)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(aside, final)
        for old in self.checkpoints()[:-_KEEP]:
            shutil.rmtree(old)
        return final

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
        """Adds a row; the first one writes the header."""
        path = self.path / "progress.csv"
        new = not path.is_file()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)

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


def read_json(path: Path) -> dict[str, Any]:
    """Reads what `write_json` wrote.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"cannot read {str(path)!r}: {error}") from error


def write_json(path: Path, content: Any) -> None:
    """Writes JSON for people and programs; aside first, so that a reader never sees half of it.

    Raises:
        ValueError: a number is NaN or infinite, which JSON does not have.
    """
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    aside = path.with_name(f".{path.name}.part")
    aside.write_text(text)
    os.replace(aside, path)


def _number(text: str) -> float | int | None:
    if text == "":
        return None
    number = float(text)
    return int(number) if number.is_integer() and "." not in text else number

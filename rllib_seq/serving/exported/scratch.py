"""A folder for the export that one server makes for itself.

- `scratch_folder`: is gone afterwards; what a killed server left is removed by the next.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rllib_seq.errors import UserError

__all__ = ["scratch_folder"]

_PREFIX = ".rllib-seq-export-"


@contextmanager
def scratch_folder(state: str) -> Iterator[Path]:
    """An empty folder, beside the state if that is a file.

    A server that is killed cannot remove its folder. So each holds a lock on its own, which ends
    with the process, and removes those that no one holds.

    Args:
        state: see `Settings.state`.

    Raises:
        UserError: no folder can be made there.
    """
    is_file = state != ":memory:" and "://" not in state
    beside = Path(state).resolve().parent if is_file else Path(tempfile.gettempdir())
    for left in beside.glob(f"{_PREFIX}*"):
        with suppress(OSError), _locked(left):  # another server has it, or another user
            shutil.rmtree(left)
    try:
        made = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=beside)
    except OSError as error:
        raise UserError(
            f"cannot export the checkpoint into {str(beside)!r}: {error.strerror}"
        ) from error
    with made as name, _locked(Path(name)):
        yield Path(name)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Raises `OSError` if someone else has the lock."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(opened)

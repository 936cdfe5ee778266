"""Files that are never half there, and folders in which damage is found.

- `read_json`, `write_json`
- `seal`, `check_seal`: sizes and checksums of what lies in a checkpoint
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

from rllib_seq.errors import UserError

SEAL = "files.json"


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


def seal(folder: Path) -> None:
    """Notes size and CRC-32 of every file of a folder in `files.json`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    write_json(folder / SEAL, {str(path.relative_to(folder)): _sums(path) for path in files})


def check_seal(checkpoint: Path) -> None:
    """Compares the files of a checkpoint with what was written; an unsealed folder passes.

    It is called before anything of a checkpoint is unpickled. The seal finds damage; it does not
    prove who wrote a checkpoint, and a checkpoint is code: load those that you trust.

    Raises:
        UserError: one is damaged, missing, or a pickle that was not there when the checkpoint was
            written; names the newest checkpoint before that is whole.
    """
    damage = _damage(checkpoint)
    if damage is None:
        return
    earlier = [path for path in checkpoint.parent.glob("checkpoint_*") if path < checkpoint]
    whole = [path for path in sorted(earlier) if _damage(path) is None]
    fix = f"take the one before: {whole[-1]}" if whole else "there is none before that is whole"
    raise UserError(f"checkpoint {str(checkpoint)!r} is damaged: {damage}; {fix}")


def _damage(folder: Path) -> str | None:
    if not (folder / SEAL).is_file():
        return None
    try:
        written = read_json(folder / SEAL)
    except UserError:
        return f"{SEAL} is not what was written"
    for name, sums in written.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if _sums(folder / name) != sums:
            return f"{name} is not what was written"
    for path in sorted(folder.rglob("*.pkl")):
        if str(path.relative_to(folder)) not in written:
            return f"{path.relative_to(folder)} was added after it was written"
    return None


def _sums(path: Path) -> list[int]:
    content = path.read_bytes()
    return [len(content), zlib.crc32(content)]

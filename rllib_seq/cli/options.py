"""What commands share: options, and how they write their result."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer

from rllib_seq.errors import UserError


def _writable(path: Path | None) -> Path | None:
    """Refuses a file that could not be written, before the work and not after it."""
    if path is not None and (path.is_dir() or not os.access(path.absolute().parent, os.W_OK)):
        raise UserError(f"cannot write --json {str(path)!r}; give a file in an existing folder")
    return path


Json = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write the result as JSON.", callback=_writable),
]


def ratio(text: str | None) -> float | None:
    """A number or a fraction."""
    if text is None:
        return None
    try:
        return float(Fraction(text.strip()))
    except (ValueError, ZeroDivisionError):
        raise UserError(
            f"budget-ratio is {text!r}; give a number or a fraction such as 1/32"
        ) from None


def write(path: Path | None, result: Any) -> None:
    """Writes what `--json FILE` asked for."""
    if path is not None:
        path.write_text(json.dumps(result, indent=2) + "\n")

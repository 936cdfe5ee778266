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


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def duration(option: str, text: str) -> float | None:
    """Seconds of a span such as 30m, 12h, 30d or 4w; None for "none".

    Raises:
        UserError: it is none of these, or not above 0.
    """
    number, unit = text.strip()[:-1], text.strip()[-1:]
    if text.strip() == "none":
        return None
    try:
        seconds = float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UserError(
            f"{option} is {text!r}; give a number above 0 and a unit (s, m, h, d, w), such as 30d"
        )
    return seconds


def write(path: Path | None, result: Any) -> None:
    """Writes what `--json FILE` asked for."""
    if path is not None:
        path.write_text(json.dumps(result, indent=2) + "\n")

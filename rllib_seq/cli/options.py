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


Schema = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="How the log is written: appsflyer, avazu, criteo, ga4, ipinyou, kaggle-mta, or a "
        "TOML file.",
    ),
]
Column = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=COLUMN", help="A column of the log: user_id=uid. May be repeated."),
]
Event = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WORD=KIND", help="A kind of event: purchase=conversion, scroll=ignore. The same."
    ),
]
TimeUnit = Annotated[
    str | None, typer.Option(help="Of times that are numbers: s, ms, us or ns [default: s].")
]
TimeOrigin = Annotated[
    str | None, typer.Option(metavar="DATE", help="Where such times begin [default: 1970-01-01].")
]
TimeFormat = Annotated[
    str | None,
    typer.Option(metavar="CODES", help="Of strptime, if times are not ISO 8601: '%d/%m/%Y %H:%M'."),
]
Timezone = Annotated[
    str | None,
    typer.Option(metavar="ZONE", help="Whose days and hours count: Europe/Berlin [default: UTC]."),
]
Delimiter = Annotated[
    str | None, typer.Option(help="Between the values of a text file [default: comma].")
]
Decimal = Annotated[str | None, typer.Option(help="Mark in numbers [default: point].")]


def reading(**given: Any) -> dict[str, Any] | None:
    """The options above as they are kept in a config; None if none was given.

    Raises:
        UserError: a value is wrong.
    """
    from rllib_seq.journeys.reading import READY, reading_options

    kept = {name: value for name, value in given.items() if value}
    schema = kept.get("schema")
    if schema is not None and schema not in READY:
        kept["schema"] = str(Path(schema).resolve())
    reading_options(kept).load()
    return kept or None


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

"""What commands share: options, and how they write their result."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from rllib_seq.errors import UserError

if TYPE_CHECKING:
    from rllib_seq.journeys.reading import ReadingOptions


def _writable(path: Path | None) -> Path | None:
    """Refuses a file that could not be written, before the work and not after it."""
    if path is not None and (path.is_dir() or not os.access(path.absolute().parent, os.W_OK)):
        raise UserError(f"cannot write --json {str(path)!r}; give a file in an existing folder")
    return path


Json = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write the result as JSON.", callback=_writable),
]


def read_options(
    schema: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="How the log is written: appsflyer, avazu, criteo, ga4, ipinyou, kaggle-mta, or a "
            "TOML file.",
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COLUMN", help="A column of the log: user_id=uid. May be repeated."
        ),
    ] = None,
    event: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WORD=KIND",
            help="A kind of event: purchase=conversion, scroll=ignore. The same.",
        ),
    ] = None,
    time_unit: Annotated[
        str | None, typer.Option(help="Of times that are numbers: s, ms, us or ns [default: s].")
    ] = None,
    time_origin: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Where such times begin [default: 1970-01-01]."),
    ] = None,
    time_format: Annotated[
        str | None,
        typer.Option(
            metavar="CODES", help="Of strptime, if times are not ISO 8601: '%d/%m/%Y %H:%M'."
        ),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option(
            metavar="ZONE", help="Whose days and hours count: Europe/Berlin [default: UTC]."
        ),
    ] = None,
    delimiter: Annotated[
        str | None, typer.Option(help="Between the values of a text file [default: comma].")
    ] = None,
    decimal: Annotated[str | None, typer.Option(help="Mark in numbers [default: point].")] = None,
) -> ReadingOptions:
    """How a log is written, checked.

    Raises:
        UserError: a value is wrong.
    """
    from rllib_seq.journeys.reading import READY, ReadingOptions

    if schema and schema not in READY:
        schema = str(Path(schema).resolve())  # runs keep it, and go on from other folders
    options = ReadingOptions(
        schema=schema or None,
        column=tuple(column or ()),
        event=tuple(event or ()),
        time_unit=time_unit,
        time_origin=time_origin,
        time_format=time_format,
        timezone=timezone,
        delimiter=delimiter,
        decimal=decimal,
    )
    options.load()
    return options


def reads_log(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options of `read_options`, whose `reading` is what they say."""
    options = _keywords(read_options)

    def called(**given: Any) -> None:
        own = {each.name: given.pop(each.name) for each in options}
        command(**given, reading=read_options(**own))

    keywords: list[inspect.Parameter] = []
    for each in _keywords(command):
        keywords += options if each.name == "reading" else [each]
    for name, value in {
        "__name__": command.__name__,
        "__doc__": command.__doc__,
        "__signature__": inspect.Signature(keywords),
        "__annotations__": {each.name: each.annotation for each in keywords},
    }.items():
        setattr(called, name, value)
    return called


def _keywords(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Its parameters, with their types, which are text in the source."""
    types = get_type_hints(function, localns={"ReadingOptions": Any}, include_extras=True)
    return [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=types[name])
        for name, each in inspect.signature(function).parameters.items()
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

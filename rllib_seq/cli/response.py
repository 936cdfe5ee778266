"""The command `response`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rllib_seq.cli.options import (
    Json,
    reads_log,
    write,
)

if TYPE_CHECKING:
    from rllib_seq.journeys.reading import ReadingOptions


@reads_log
def response(
    log: Annotated[
        list[str],
        typer.Argument(
            help="Event log (several files, folders and 'patterns*' are one), or a table (CSV, "
            "Parquet) with a column of outcomes."
        ),
    ],
    outcome: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="click, conversion, or a table's column [default: clicks, else conversions].",
        ),
    ] = None,
    user: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Of a table [default: user_id].")
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Of a table [default: timestamp; without it, rows of a user are in order].",
        ),
    ] = None,
    known: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Time at which an outcome was known [default: at once]."
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Not known before the outcome; may be repeated."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Export the model for serving, and the comparison."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of held-out users and weights.")] = 0,
    *,
    reading: ReadingOptions,
    json_file: Json = None,
) -> None:
    """Predict who clicks or converts from their own past, and say whether memory pays.

    A sequence model beside two logistic regressions, on later days and on users never seen.

    Example: `rllib-seq response events.parquet --outcome conversion --output response`
    """
    from rllib_seq.training.response.command import read_responses, run_response
    from rllib_seq.training.run.console import make_console

    table = read_responses(log, outcome, user, time, known, tuple(ignore or ()), reading)
    write(json_file, run_response(table, output, seed, make_console()).to_json())

"""Commands beside learning: discover, bench."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rllib_seq.benchmarks import BENCHMARKS
from rllib_seq.cli.options import (
    Json,
    duration,
    reads_log,
    write,
)
from rllib_seq.errors import UserError

if TYPE_CHECKING:
    from rllib_seq.benchmarks.result import Result
    from rllib_seq.journeys.reading import ReadingOptions


@reads_log
def discover(
    events: Annotated[
        list[str],
        typer.Argument(
            help="Event log (CSV, JSON lines, Parquet), iPinYou rows or journey paths; several "
            "files, folders and 'patterns*' are one log."
        ),
    ],
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first bad row instead of counting it.")
    ] = False,
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="Where patterns.json and discover.html go.")
    ] = Path("."),
    gap: Annotated[
        str | None,
        typer.Option(
            metavar="SPAN", help="Silence that ends a journey, such as 30m [default: found]."
        ),
    ] = None,
    lookback: Annotated[
        str,
        typer.Option(
            metavar="SPAN",
            help="Touchpoints this long before a conversion are credited, across journeys; or none "
            "for no limit.",
        ),
    ] = "30d",
    *,
    reading: ReadingOptions,
    json_file: Json = None,
) -> None:
    """Learn from a log what to model: journeys, window length, peaks, delays, channel credits.

    Writes `patterns.json` and `discover.html`. The schema is in docs/guides/discover.md.

    Example: `rllib-seq discover events.parquet --output patterns`, or
    `rllib-seq discover imp.csv clk.csv --column user_id=uid --time-unit ms`
    """
    from rllib_seq.journeys.command import run_discovery
    from rllib_seq.training.run.console import make_console

    result = run_discovery(
        events,
        strict,
        output,
        make_console(),
        gap_seconds=None if gap is None else duration("--gap", gap),
        lookback_seconds=duration("--lookback", lookback),
        options=reading,
    )
    write(json_file, result)


def bench(
    name: Annotated[str, typer.Argument(help="What to measure; a wrong name lists all.")],
    only: Annotated[
        list[str] | None, typer.Argument(help="Parts of it, if it has any [default: all].")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Of every training run.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Training runs of each kind.")] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Training runs at a time; 0: sum up what is there.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where runs are kept; finished ones are not repeated.")
    ] = None,
    log: Annotated[
        list[str] | None, typer.Option(help="File of preset log; may be repeated.")
    ] = None,
    short: Annotated[bool, typer.Option("--short", help="A small part of it, in minutes.")] = False,
    json_file: Json = None,
) -> None:
    """Measure speed, or what is learned. Exit code 1: a limit was missed.

    Example: `rllib-seq bench discover`, `rllib-seq bench learning --short`
    """
    if name not in BENCHMARKS:
        raise UserError(f"no benchmark {name!r}; choose one of: {', '.join(BENCHMARKS)}")
    benchmark = importlib.import_module(BENCHMARKS[name])
    given = {
        "only": only or None,
        "steps": steps,
        "seeds": seeds,
        "jobs": jobs,
        "folder": folder,
        "log": tuple(log) if log else None,
        "short": short or None,
    }
    options = {option: value for option, value in given.items() if value is not None}
    odd = options.keys() - inspect.signature(benchmark.run).parameters.keys()
    if "only" in odd:
        raise UserError(f"benchmark {name!r} has no parts; leave out {' '.join(only or ())!r}")
    if odd:
        raise UserError(f"benchmark {name!r} has no --{', --'.join(sorted(odd))}; leave it out")
    result: Result = benchmark.run(**options)
    result.show()
    write(json_file, result.to_json())
    if not result.passed:
        raise typer.Exit(1)

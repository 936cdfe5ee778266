"""What `rllib-seq response` does: read, train, judge, export."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rllib_seq.errors import UserError
from rllib_seq.journeys.event_log import load_events
from rllib_seq.journeys.reading import ReadingOptions
from rllib_seq.journeys.reading.columns import clean_name
from rllib_seq.journeys.reading.table import read_table
from rllib_seq.training.response.comparison import MEMORY, Comparison, Measure, compare
from rllib_seq.training.response.model import fit_response
from rllib_seq.training.response.step_graph import export_response
from rllib_seq.training.response.table import ResponseTable, from_events, from_table

_EVENTS = (None, "click", "conversion")


def read_responses(
    paths: Path | str | Sequence[Path | str],
    outcome: str | None = None,
    user: str | None = None,
    time: str | None = None,
    known: str | None = None,
    ignore: tuple[str, ...] = (),
    options: ReadingOptions | None = None,
) -> ResponseTable:
    """An event log, or any table with a column of outcomes.

    Args:
        paths: of an event log (docs/guides/discover.md); with `user` or an `outcome` that is a
            column: a table (CSV, JSON lines, Parquet).
        outcome: "click", "conversion" or a column; None: see `from_events`.
        user: see `from_table`; None: "user_id".
        time: the same; None: "timestamp", if there is one.
        known: the same.
        ignore: the same.
        options: how it is written; of a table the names of columns and events do not count.

    Raises:
        UserError: the file cannot be read, or does not hold what was asked for.
    """
    if outcome in _EVENTS and user is None:
        if time or known or ignore:
            raise UserError(
                "--time, --known and --ignore are for a table with a column of outcomes; name it "
                "with --outcome"
            )
        log = load_events(paths, options=options)
        table = from_events(log, outcome)
        return dataclasses.replace(table, warnings=tuple(log.bad.warnings()))
    if outcome is None:
        raise UserError("--user names a table's column; name that of the outcomes with --outcome")
    options = options or ReadingOptions()
    user, outcome = clean_name(user or "user_id"), clean_name(outcome)
    time, known = (name and clean_name(name) for name in (time, known))
    files = [paths] if isinstance(paths, Path | str) else paths
    read, warnings = read_table(files, options, names=(user,))
    if time is None and "timestamp" in read.column_names:
        time = "timestamp"
    schema = options.load()
    found = from_table(
        *(read, user, outcome, time, known, tuple(map(clean_name, ignore))),
        times=schema.times,
        timezone=schema.timezone,
    )
    return dataclasses.replace(found, warnings=tuple(warnings))


def run_response(
    table: ResponseTable, output: Path | None, seed: int, console: Console
) -> Comparison:
    """Judges the three models, prints the table and the sentence, and exports the model.

    Args:
        table: steps with outcomes.
        output: folder for the export and `comparison.json`; None: no files.
        seed: of users and weights.
        console: where progress and the table go.

    Raises:
        UserError: too few outcomes, or the folder cannot be written.
    """

    def progress(line: str) -> None:
        console.print(line, markup=False, highlight=False)

    for warning in table.warnings:
        progress(f"WARNING: {warning}.")
    comparison, _ = compare(table, seed, progress)
    console.print(comparison_table(comparison, table.name))
    console.print(comparison.sentence, markup=False, highlight=False)
    if output is not None:
        progress("training on all steps, for export")
        export_response(fit_response(table, seed=seed), output)
        (output / "comparison.json").write_text(json.dumps(comparison.to_json(), indent=1) + "\n")
        console.print(f"written: {output / 'spec.json'}", soft_wrap=True)
    return comparison


def comparison_table(comparison: Comparison, outcome: str) -> Table:
    """The models by part, every number with its 95 % interval."""
    table = Table(title=f"Who answers ({outcome}), modelled; 95 % intervals", title_justify="left")
    for i, name in enumerate(
        ("on", "model", "steps", "answered", "AUC", "log loss", "predicted / real")
    ):
        table.add_column(name, justify="left" if i < 2 else "right")
    part = None
    for row in comparison.rows:
        if part not in (None, row.part):
            table.add_section()
        table.add_row(
            "" if part == row.part else row.part,
            row.model,
            f"{row.steps:,}",
            f"{100 * row.answers / row.steps:.2f} %",
            _span(row.auc, 3),
            _span(row.log_loss, 4),
            _span(row.calibration, 2),
            style="bold" if row.model == MEMORY else None,
        )
        part = row.part
    return table


def _span(of: Measure, digits: int) -> str:
    return f"{of.value:.{digits}f} ({of.low:.{digits}f} to {of.high:.{digits}f})"

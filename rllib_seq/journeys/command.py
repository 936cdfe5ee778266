"""What `rllib-seq discover` does: read, find, show, write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from rllib_seq.errors import UserError
from rllib_seq.journeys.event_log import load_events
from rllib_seq.journeys.patterns import LOOKBACK, STAGES, Patterns, discover
from rllib_seq.journeys.reading import ReadingOptions
from rllib_seq.journeys.report import write_report
from rllib_seq.journeys.tables import Rows, credit_rows, journey_rows, peak_rows, window_rows

_READING = 0.6  # share of the time


def run_discovery(
    events: Path | str | Sequence[Path | str],
    strict: bool,
    output: Path,
    console: Console,
    gap_seconds: float | None = None,
    lookback_seconds: float | None = LOOKBACK,
    options: ReadingOptions | None = None,
) -> dict[str, Any]:
    """Finds the patterns of an event file and writes `patterns.json` and `discover.html`.

    Args:
        events: see `load_events`.
        strict: stop at the first bad row.
        output: folder for the two files; is made if need be.
        console: where progress and tables go.
        gap_seconds: see `discover`.
        lookback_seconds: see `discover`.
        options: how the log names its columns, events and times.

    Returns:
        `{"patterns", "report", "window_length", "gap_seconds", "lookback_seconds", "journeys",
        "attribution"}`.

    Raises:
        UserError: something that the user can fix.
    """
    with _Steps(console) as steps:
        log = load_events(events, strict, steps.read, options)
        patterns = discover(log, steps.next, gap_seconds, lookback_seconds)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make --output {str(output)!r}: {error.strerror}") from error
    patterns.write(output / "patterns.json")
    write_report(patterns, output / "discover.html")
    show(patterns, console)
    for name in ("patterns.json", "discover.html"):
        console.print(f"written: {output / name}", soft_wrap=True)
    return {
        "patterns": str(output / "patterns.json"),
        "report": str(output / "discover.html"),
        "window_length": patterns.window.length,
        "gap_seconds": patterns.gap.seconds,
        "lookback_seconds": patterns.lookback_seconds,
        "journeys": patterns.journeys,
        "attribution": patterns.attribution,
    }


def show(patterns: Patterns, console: Console) -> None:
    """Prints warnings, the first bad rows, notes and the tables."""
    for warning in patterns.source["warnings"]:
        words = f"WARNING: {warning}"
        console.print(words, style="bold yellow", markup=False, highlight=False, soft_wrap=True)
    for example in patterns.source["bad_examples"]:
        console.print(f"bad row: {example}", markup=False, soft_wrap=True)
    for note in patterns.source["notes"]:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    _print(console, "Journeys", journey_rows(patterns))
    _print(console, f"Window length: {patterns.window.length}", window_rows(patterns))
    console.print(patterns.window.reason, markup=False, highlight=False)
    _print(console, "Peaks", peak_rows(patterns))
    _print(console, "Channel credits (value), modelled", credit_rows(patterns))


def _print(console: Console, title: str, content: Rows) -> None:
    columns, rows = content
    if not rows:
        return
    table = Table(title=title, title_justify="left", show_header=any(columns))
    for i, name in enumerate(columns):
        table.add_column(name, justify="left" if i == 0 or len(columns) < 4 else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


class _Steps:
    """A bar on a terminal, a line per step elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._found = 0
        self._said = 0
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("reading", total=1.0)

    def __enter__(self) -> _Steps:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def read(self, share: float) -> None:
        """Shows how much of the file has been read."""
        self._progress.update(self._task, completed=_READING * share)
        percent = int(100 * share) // 25 * 25
        if not self._console.is_terminal and percent > self._said:
            self._said = percent
            self._console.print(f"reading: {percent} %", highlight=False)

    def next(self, what: str) -> None:
        """Shows the step that begins."""
        done = _READING + (1 - _READING) * self._found / STAGES
        self._found += 1
        self._progress.update(self._task, completed=done, description=what)
        if not self._console.is_terminal:
            self._console.print(f"finding: {what}", highlight=False)

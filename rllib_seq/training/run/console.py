"""Live progress of a run, with or without a terminal, and tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

if TYPE_CHECKING:
    from rllib_seq.training.run.trainer import Limits
    from rllib_seq.training.storage.run_folder import Row

_LINE_SECONDS = 15.0  # between lines when there is no terminal


class TrainingDisplay:
    """Progress of training: a live bar on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console, limits: Limits) -> None:
        self._console = console
        self._limits = limits
        self._printed = 0.0
        self._first: tuple[float, float] | None = None
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[state]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("train", total=1.0, state="starting ...")

    def __enter__(self) -> TrainingDisplay:
        """Starts the live bar."""
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Ends it."""
        self._progress.stop()

    def show(self, row: Row) -> None:
        """Shows a new row of progress."""
        done = self._limits.done(row)
        self._first = self._first or (time.monotonic(), done)
        state = _state(row) + f" | {self._time_left(done)} left"
        self._progress.update(self._task, completed=done, state=state)
        due = time.monotonic() - self._printed > _LINE_SECONDS or done >= 1.0
        if not self._console.is_terminal and due:
            self._printed = time.monotonic()
            self._console.print(f"{100 * done:3.0f}% | {state}", highlight=False)

    def warn(self, fault: str) -> None:
        """Shows what went wrong while training goes on."""
        self._progress.console.print(f"recovered from: {fault}", markup=False, soft_wrap=True)

    def _time_left(self, done: float) -> str:
        assert self._first is not None
        began, at = self._first
        if done <= at:
            return "?"
        seconds = (1.0 - done) * (time.monotonic() - began) / (done - at)
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _state(row: Row) -> str:
    parts = [f"{row['steps']:,} steps", f"{row['steps_per_second']:,.0f} steps/s"]
    if row["episode_return"] is not None:
        parts.append(f"return {row['episode_return']:.2f}")
    if row["pct_of_bayes"] is not None:
        parts.append(f"{row['pct_of_bayes']:.0f}% of Bayes while exploring")
    return " | ".join(parts)


@contextmanager
def progress_bar(console: Console, what: str, total: int) -> Iterator[Any]:
    """A bar over `total` steps; yields the function that counts one."""
    with Progress(
        TextColumn(what),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        if not console.is_terminal:
            console.print(f"{what}: {total} campaigns ...")
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def make_console() -> Console:
    """Where progress goes: a terminal as wide as it is, else lines that do not break tables."""
    return Console(width=None if sys.stdout.isatty() else 110)


def print_table(console: Console, title: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Prints rows by the names of their columns; text on the left, numbers on the right."""
    rows = list(rows)
    table = Table()
    columns = dict.fromkeys(name for row in rows for name in row)
    for name in columns:
        left = any(isinstance(row.get(name), str) for row in rows)
        table.add_column(name.replace("_", " "), justify="left" if left else "right")
    for row in rows:
        table.add_row(*(escape(as_text(row.get(name))) for name in columns))
    console.print(title, style="italic", highlight=False, markup=False, soft_wrap=True)
    console.print(table)


def as_text(value: Any) -> str:
    """A value for people: four digits of a number, all of a whole one.

    Examples:
        >>> [as_text(value) for value in (1234567, 1234.5, 0.123456, None, [1.0, 2.5])]
        ['1,234,567', '1,234', '0.1235', '-', '1 2.5']
    """
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return " ".join(map(as_text, value))
    if isinstance(value, float):
        value = 0.0 if abs(value) < 1e-9 else value  # rounding errors
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)

"""What a sweep shows: a live table of its trials; on no terminal, a line now and then."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from rich.console import Console
from rich.live import Live
from rich.table import Table

from rllib_seq.training.sweeps.search_space import paths

_LINE_SECONDS = 15.0  # between lines when there is no terminal


class SweepDisplay:
    """Shows the trials of a sweep while they run.

    Args:
        console: where to.
        metric: that the sweep aims at.
        mode: "max" or "min".
    """

    def __init__(self, console: Console, metric: str, mode: str) -> None:
        self._console, self._metric, self._mode = console, metric, mode
        self._live = Live(console=console, auto_refresh=False)
        self._began, self._printed = time.monotonic(), 0.0

    def __enter__(self) -> SweepDisplay:
        """Starts the live table."""
        if self._console.is_terminal:
            self._live.start()
        TrialWatcher.display, TrialWatcher.finished = self, True
        return self

    def __exit__(self, *exception: object) -> None:
        """Ends it."""
        TrialWatcher.display = None
        self._live.stop()

    def show(self, trials: Sequence[Trial]) -> None:
        """Shows how the trials stand."""
        if time.monotonic() - self._printed < (1.0 if self._console.is_terminal else _LINE_SECONDS):
            return
        self._printed = time.monotonic()
        if self._console.is_terminal:
            self._live.update(self._table(trials), refresh=True)
        else:
            self._console.print(self._line(trials), highlight=False, markup=False)

    def _line(self, trials: Sequence[Trial]) -> str:
        counts = Counter(trial.status.lower() for trial in trials)
        line = f"{time.monotonic() - self._began:.0f} s | "
        line += ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        best = self._best(trials)
        if best is not None:
            value, steps = best.last_result[self._metric], best.last_result.get("steps", 0)
            line += f" | best {best}: {self._metric} {value:.4f} at {steps:,} steps"
            line += f", {described(best.config)}"
        return line

    def _table(self, trials: Sequence[Trial]) -> Table:
        table = Table(title=f"{time.monotonic() - self._began:.0f} s", title_justify="left")
        names = setting_names([trial.config for trial in trials])
        for name in ("trial", "state", *names, "steps", "seconds", self._metric):
            table.add_column(name, justify="left" if name in ("trial", "state") else "right")
        best = self._best(trials)
        for trial in trials:
            result = trial.last_result or {}
            settings = {"/".join(path): value for path, value in paths(trial.config)}
            metric = result.get(self._metric)
            table.add_row(
                str(trial),
                trial.status.lower(),
                *(_short(settings.get(name)) for name in names),
                f"{result['steps']:,}" if "steps" in result else "",
                f"{result['seconds']:.0f}" if "seconds" in result else "",
                "" if metric is None else f"{metric:.4f}",
                style="bold" if trial is best else None,
            )
        return table

    def _best(self, trials: Sequence[Trial]) -> Trial | None:
        scored = [
            trial for trial in trials if (trial.last_result or {}).get(self._metric) is not None
        ]
        sign = 1 if self._mode == "max" else -1
        return max(scored, key=lambda t: sign * t.last_result[self._metric], default=None)


class TrialWatcher(tune.Callback):
    """Tells the display of this process how the trials stand; Tune pickles it with the sweep."""

    display: SweepDisplay | None = None
    finished = True
    """Whether every trial ended by itself. Tune's own word is no help: when it is interrupted it
    counts the trials that run as ended."""

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """See Tune, which begins no step when all is done."""
        TrialWatcher.finished = False

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """See Tune."""
        TrialWatcher.finished = all(trial.is_finished() for trial in trials)
        if self.display is not None:
            self.display.show(trials)


def setting_names(samples: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of what was searched, `sequence_config/d_model` for a nested one; sorted."""
    return sorted({"/".join(path) for sample in samples for path, _ in paths(sample)})


def described(sample: Mapping[str, Any]) -> str:
    """A sample in one line."""
    return ", ".join(f"{path[-1]}={_short(value)}" for path, value in paths(sample))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

"""The end of a sweep: how each trial did, the best one exported and compared with the default.

- `finish_sweep`, `SweepResult`, `TrialResult`
"""

from __future__ import annotations

import dataclasses
import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from rich.console import Console
from rich.table import Table

from rllib_seq.errors import UserError
from rllib_seq.training.evaluation.comparison import EvaluationProtocol
from rllib_seq.training.evaluation.results import CampaignEvaluation, Interval
from rllib_seq.training.run.iterations import COLUMNS
from rllib_seq.training.run.trainer import Limits
from rllib_seq.training.storage.files import read_json
from rllib_seq.training.storage.run_folder import RunFolder
from rllib_seq.training.sweeps.console import described
from rllib_seq.training.sweeps.folder import SweepFolder
from rllib_seq.training.sweeps.report import TRIALS, outcome, write_sweep_report
from rllib_seq.training.sweeps.search_space import paths
from rllib_seq.training.sweeps.trial import TrialSetup
from rllib_seq.training.train import TrainingResult, description, finish_run


@dataclass(frozen=True)
class TrialResult:
    """How a trial ended."""

    trial: str
    settings: dict[str, Any]
    """Its sample of the search space; empty if it never began."""
    steps: int
    seconds: float
    value: float | None
    """Of the metric, the last one; None if it came to none."""
    error: str | None
    curve: list[tuple[int, float]]
    """Steps and values of the metric."""


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found; places are paths or URIs."""

    sweep: str
    best: str
    """Trial; also `settings`."""
    settings: dict[str, Any]
    default: str | None
    """The trial of the config as it stands; None if it came to no result."""
    over_default: Interval | None
    """Profit per user of the best over the default's on the same fresh campaigns; None outside the
    ad auction, or if the best is the default, or there is none."""
    verdict: str
    training: TrainingResult
    """The best trial as a run."""
    trials: list[TrialResult]

    def summary(self) -> dict[str, Any]:
        """Content of `result.json`."""
        names = ("sweep", "best", "settings", "default", "over_default", "verdict")
        return {name: getattr(self, name) for name in names} | {
            "over_default": self.over_default and dataclasses.asdict(self.over_default)
        }

    def to_json(self) -> dict[str, Any]:
        """What `--json FILE` writes."""
        trials = [dataclasses.asdict(trial) for trial in self.trials]
        return {**self.summary(), **self.training.to_json(), "trials": trials}


def finish_sweep(
    folder: SweepFolder,
    setup: TrialSetup,
    results: tune.ResultGrid,
    protocol: EvaluationProtocol,
    console: Console,
) -> SweepResult:
    """Writes `trials.json`, the run folder of the best trial, its evaluation and the report.

    Raises:
        UserError: no trial came as far as a checkpoint.
    """
    settings = folder.settings
    metric = settings["metric"]
    sign = 1 if settings["mode"] == "max" else -1
    trials = [_trial(result, metric) for result in results]
    written = [dataclasses.asdict(trial) for trial in trials]
    folder.write(TRIALS, {"metric": metric, "mode": settings["mode"], "trials": written})
    console.print(_table(trials, metric, sign))
    for trial in trials:
        if trial.error is not None:
            console.print(f"{trial.trial} failed: {trial.error}", markup=False)
    scored = [
        (trial, result)
        for trial, result in zip(trials, results, strict=True)
        if trial.value is not None and result.checkpoint is not None
    ]
    if not scored:
        errors = [trial.error for trial in trials if trial.error]
        why = f"the first failed with: {errors[0]}" if errors else "give the sweep more time"
        raise UserError(f"no trial came to a result; {why}")
    best, result = max(scored, key=lambda pair: sign * (pair[0].value or 0.0))
    default = next((pair for pair in scored if pair[1].config == settings["default"]), None)
    console.print(
        f"best: {best.trial} with {described(best.settings)}: {metric} {best.value:.4f} "
        f"at {best.steps:,} steps",
        soft_wrap=True,
        markup=False,
    )
    training = _export(folder, setup, result, default and default[1], protocol, console)
    found = training.evaluation
    over = found.over_others.get("default") if isinstance(found, CampaignEvaluation) else None
    name = default and default[0].trial
    verdict = _verdict(best.trial, name, over)
    console.print(verdict, soft_wrap=True, markup=False)
    swept = SweepResult(
        folder.place, best.trial, best.settings, name, over, verdict, training, trials
    )
    folder.write("result.json", swept.summary())
    folder.publish(report := write_sweep_report(folder.path))
    console.print(f"report: {folder.place_of(report.name)}", soft_wrap=True, markup=False)
    return swept


def _verdict(best: str, default: str | None, over: Interval | None) -> str:
    if default is None:
        return "the default is not among the trials, so nothing is said of it"
    if best == default:
        return f"no trial did better than the default ({default})"
    if over is None:
        return f"{best} did better than the default ({default}) in training"
    width = over.half_width or 0.0
    gain = f"{over.mean:+.4f} ± {width:.4f} profit per user on fresh campaigns"
    if over.mean > width:
        return f"{best} beats the default ({default}): {gain}"
    return f"{best} does not beat the default ({default}): {gain}"


def _trial(result: tune.Result, metric: str) -> TrialResult:
    rows = _rows(result)
    curve = [(row["steps"], row[metric]) for row in rows if row.get(metric) is not None]
    last = rows[-1] if rows else {}
    value = curve[-1][1] if curve else None
    return TrialResult(
        trial=Path(result.path).name,
        settings=result.config or {},
        steps=last.get("steps", 0),
        seconds=last.get("seconds", 0.0),
        value=value,
        error=_reason(result.error),
        curve=curve,
    )


def _rows(result: tune.Result) -> list[dict[str, Any]]:
    """Rows of progress of a trial; those that a restored trial wrote again count once."""
    table = result.metrics_dataframe
    if table is None:
        return []
    rows: dict[int, dict[str, Any]] = {}
    for record in table.to_dict("records"):
        row = {name: _number(value) for name, value in record.items()}
        rows = {k: v for k, v in rows.items() if k < record["iteration"]}
        rows[record["iteration"]] = row
    return list(rows.values())


def _number(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _reason(error: Exception | None) -> str | None:
    """The line of a remote traceback that says why."""
    if error is None:
        return None
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else repr(error)


def _export(
    folder: SweepFolder,
    setup: TrialSetup,
    result: tune.Result,
    default: tune.Result | None,
    protocol: EvaluationProtocol,
    console: Console,
) -> TrainingResult:
    """Makes a run folder of a trial and evaluates it beside the default."""
    settings = folder.settings
    config = setup.config(result.config)
    limits = Limits(**{k: v for k, v in settings["stop"].items() if k in ("steps", "seconds")})
    run = RunFolder.in_folder(
        folder.place, "best", description(settings["module"], setup.options, limits, config)
    )
    rows = [{name: row.get(name) for name in COLUMNS} for row in _rows(result)]
    try:
        with _opened(result.checkpoint) as source:
            standing = read_json(source / "progress.json")
            for row in rows:
                if row["iteration"] <= standing["iteration"]:
                    run.append_progress(row)
            checkpoint = run.save_checkpoint(lambda path: _copy(source, path), standing)
        if default is None or default.path == result.path:
            return finish_run(run, checkpoint, config, protocol, console)
        with _opened(default.checkpoint) as other:
            return finish_run(run, checkpoint, config, protocol, console, {"default": other})
    finally:
        run.close()


@contextmanager
def _opened(checkpoint: tune.Checkpoint) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rllib-seq-") as folder:
        yield Path(checkpoint.to_directory(folder))


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*"))


def _table(trials: list[TrialResult], metric: str, sign: int) -> Table:
    """The trials, best last."""
    table = Table(title=f"{len(trials)} trials", title_justify="left")
    names = sorted({"/".join(path) for trial in trials for path, _ in paths(trial.settings)})
    table.add_column("trial")
    for name in (*(name.rsplit("/", 1)[-1] for name in names), "steps", "seconds", metric):
        table.add_column(name, justify="right")
    worst = -math.inf
    for trial in sorted(trials, key=lambda t: worst if t.value is None else sign * t.value):
        settings = {"/".join(path): value for path, value in paths(trial.settings)}
        table.add_row(
            trial.trial,
            *(
                f"{v:.4g}" if isinstance(v := settings.get(name), float) else str(v)
                for name in names
            ),
            f"{trial.steps:,}",
            f"{trial.seconds:.0f}",
            outcome(trial.value, trial.error),
        )
    return table

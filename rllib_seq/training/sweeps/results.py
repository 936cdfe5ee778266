"""The end of a sweep: how each trial did, the best one exported and compared with the default.

- `finish_sweep`
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray import tune
from rich.console import Console
from rich.table import Table

from rllib_seq.errors import UserError
from rllib_seq.training.evaluation.comparison import EvaluationProtocol
from rllib_seq.training.run.iterations import COLUMNS
from rllib_seq.training.run.trainer import Limits
from rllib_seq.training.storage.files import read_json
from rllib_seq.training.storage.run_folder import Row, RunFolder
from rllib_seq.training.sweeps.console import described
from rllib_seq.training.sweeps.folder import SweepFolder
from rllib_seq.training.sweeps.report import TRIALS, outcome, write_sweep_report
from rllib_seq.training.sweeps.search_space import paths
from rllib_seq.training.sweeps.trial import TrialSetup
from rllib_seq.training.train import description, finish_run

__all__ = ["finish_sweep"]


def finish_sweep(
    folder: SweepFolder,
    setup: TrialSetup,
    results: tune.ResultGrid,
    protocol: EvaluationProtocol,
    console: Console,
) -> dict[str, Any]:
    """Writes `trials.json`, the run folder of the best trial, its evaluation and the report.

    Returns:
        `{"sweep", "best", "default", "run", "trials", "evaluation", "over_default"}`: places,
        names and samples of trials, the evaluation of the best (None outside the ad auction), and
        its profit per user over the default's on the same fresh campaigns, with the half width of
        the 95 % interval (None if it is the default, or the default is not among the trials).

    Raises:
        UserError: no trial came as far as a checkpoint.
    """
    settings = folder.settings
    metric = settings["metric"]
    sign = 1 if settings["mode"] == "max" else -1
    trials = [_trial(result, metric) for result in results]
    folder.write(TRIALS, {"metric": metric, "mode": settings["mode"], "trials": trials})
    console.print(_table(trials, metric, sign))
    for trial in trials:
        if trial["error"] is not None:
            console.print(f"{trial['trial']} failed: {trial['error']}", markup=False)
    scored = [
        (trial, result)
        for trial, result in zip(trials, results, strict=True)
        if trial["value"] is not None and result.checkpoint is not None
    ]
    if not scored:
        errors = [trial["error"] for trial in trials if trial["error"]]
        why = f"the first failed with: {errors[0]}" if errors else "give the sweep more time"
        raise UserError(f"no trial came to a result; {why}")
    best, result = max(scored, key=lambda pair: sign * pair[0]["value"])
    default = next((pair for pair in scored if pair[1].config == settings["default"]), None)
    console.print(
        f"best: {best['trial']} with {described(best['settings'])}: {metric} {best['value']:.4f} "
        f"at {best['steps']:,} steps",
        soft_wrap=True,
        markup=False,
    )
    finished = _export(folder, setup, result, default, protocol, console)
    over = (finished["evaluation"] or {}).get("over_others", {}).get("default")
    verdict = _verdict(best["trial"], default[0]["trial"] if default else None, over)
    console.print(verdict, soft_wrap=True, markup=False)
    summary = {
        "sweep": folder.place,
        "best": best["trial"],
        "settings": best["settings"],
        "default": None if default is None else default[0]["trial"],
        "over_default": over,
        "verdict": verdict,
    }
    folder.write("result.json", summary)
    folder.publish(report := write_sweep_report(folder.path))
    console.print(f"report: {folder.place_of(report.name)}", soft_wrap=True, markup=False)
    return {**summary, **finished, "trials": trials}


def _verdict(best: str, default: str | None, over: dict[str, float] | None) -> str:
    if default is None:
        return "the default is not among the trials, so nothing is said of it"
    if best == default:
        return f"no trial did better than the default ({default})"
    if over is None:
        return f"{best} did better than the default ({default}) in training"
    gain = f"{over['mean']:+.4f} ± {over['half_width']:.4f} profit per user on fresh campaigns"
    if over["mean"] > over["half_width"]:
        return f"{best} beats the default ({default}): {gain}"
    return f"{best} does not beat the default ({default}): {gain}"


def _trial(result: tune.Result, metric: str) -> dict[str, Any]:
    """How a trial ended, its settings, and its curve."""
    rows = _rows(result)
    curve = [[row["steps"], row[metric]] for row in rows if row.get(metric) is not None]
    last: Row = rows[-1] if rows else {}
    value = curve[-1][1] if curve else None
    return {
        "trial": Path(result.path).name,
        "settings": result.config or {},  # empty if it never began
        "steps": last.get("steps", 0),
        "seconds": last.get("seconds", 0.0),
        "value": value,
        "error": _reason(result.error),
        "curve": curve,
    }


def _rows(result: tune.Result) -> list[Row]:
    """Rows of progress of a trial; those that a restored trial wrote again count once."""
    table = result.metrics_dataframe
    if table is None:
        return []
    rows: dict[int, Row] = {}
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
    default: tuple[dict[str, Any], tune.Result] | None,
    protocol: EvaluationProtocol,
    console: Console,
) -> dict[str, Any]:
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
        if default is None or default[1].path == result.path:
            return finish_run(run, checkpoint, config, protocol, console)
        with _opened(default[1].checkpoint) as other:
            return finish_run(run, checkpoint, config, protocol, console, {"default": other})
    finally:
        run.close()


@contextmanager
def _opened(checkpoint: tune.Checkpoint) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rllib-seq-") as folder:
        yield Path(checkpoint.to_directory(folder))


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*"))


def _table(trials: list[dict[str, Any]], metric: str, sign: int) -> Table:
    """The trials, best last."""
    table = Table(title=f"{len(trials)} trials", title_justify="left")
    names = sorted({"/".join(path) for trial in trials for path, _ in paths(trial["settings"])})
    table.add_column("trial")
    for name in (*(name.rsplit("/", 1)[-1] for name in names), "steps", "seconds", metric):
        table.add_column(name, justify="right")
    worst = -math.inf
    for trial in sorted(trials, key=lambda t: worst if t["value"] is None else sign * t["value"]):
        settings = {"/".join(path): value for path, value in paths(trial["settings"])}
        table.add_row(
            trial["trial"],
            *(
                f"{v:.4g}" if isinstance(v := settings.get(name), float) else str(v)
                for name in names
            ),
            f"{trial['steps']:,}",
            f"{trial['seconds']:.0f}",
            outcome(trial),
        )
    return table

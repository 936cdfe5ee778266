"""How much memory is worth: our encoders, RLlib's LSTM and GTrXL, an MLP, DQN, at equal steps.

    rllib-seq bench learning --log train.log.txt --log test.log.txt --jobs 2 --json learning.json
    rllib-seq bench learning journey/causal journey/rllib_lstm --seeds 5     # parts of it
    rllib-seq bench learning --short                                         # some minutes

Presets journey, display and log (with `--log FILE`); see `learning_contenders` for who learns and
how, `learning_cells` for how a run is judged. Every run is a cell, PRESET/CONTENDER/SEED, and has a
JSON file in the folder as soon as it is done; what is there is not trained again, an interrupted
cell goes on where it was, several commands may fill one folder, and `--jobs 0` sums up what is
there. The command ends with a table, the result as JSON and `learning.html` in the folder.

Exit code 1 if what must hold does not: on journey the best of ours earns 95 % of Bayes, and more
than RLlib's LSTM; the MLP less than the best bidder that sees one step; on a log our encoders are
not below linear bidding.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rllib_seq.benchmarks.learning.contenders import CONTENDERS, PRESETS
from rllib_seq.benchmarks.learning.runs import SHORT_STEPS, Plan, cells_of, references, train_all
from rllib_seq.benchmarks.learning.summary import OURS, show_summary, summarize, write_page
from rllib_seq.training.run.console import make_console

SHORT = ("journey/mlp", "journey/rllib_lstm", "journey/causal")
TARGET = 95.0  # % of Bayes


def run(
    only: Sequence[str] = (),
    steps: int | None = None,
    seeds: int = 5,
    jobs: int = 1,
    folder: Path = Path("runs/learning"),
    log: tuple[str, ...] = (),
    short: bool = False,
) -> dict[str, Any]:
    """Trains what is missing and sums up; see `learning_runs.Plan` for the arguments."""
    presets = [preset for preset in PRESETS if preset != "log" or log or "log" in _heads(only)]
    if short:
        only, steps, seeds, folder = only or SHORT, steps or SHORT_STEPS, 1, folder / "short"
    elif len(presets) < len(PRESETS):
        make_console().print("preset log is left out: give --log FILE to have it")
    plan = Plan(presets, list(CONTENDERS), folder, only, steps, seeds, jobs, log)
    used = dict.fromkeys(cell.preset for cell in cells_of(plan))
    known = {preset: references(preset, folder, log) for preset in used}
    cells = train_all(plan)
    result = summarize(cells, known)
    write_page(result, cells, folder / "learning.html")
    result["checks"] = [] if short else check(result)
    return {**result, "passed": all(row["holds"] for row in result["checks"])}


def _heads(only: Sequence[str]) -> list[str]:
    return [part.partition("/")[0] for part in only]


def show(result: dict[str, Any]) -> None:
    """Prints the tables and what must hold."""
    show_summary(result)
    for row in result["checks"]:
        make_console().print(
            f"{'holds' if row['holds'] else 'MISSED'}: {row['what']}",
            highlight=False,
            soft_wrap=True,
        )


def check(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What the results must show, as far as those who show it were trained."""
    checks = []

    def add(what: str, holds: bool) -> None:
        checks.append({"what": what, "holds": holds})

    def scores(preset: str) -> dict[str, float]:
        found = result["presets"].get(preset, {"rows": []})
        return {row["policy"]: row["score"] for row in found["rows"]}

    journey, log = scores("journey"), scores("log")
    ours = {name: journey[name] for name in OURS if name in journey}
    if ours:
        best = max(ours, key=ours.__getitem__)
        add(
            f"journey: {best} earns {ours[best]:.1f} % of Bayes, {TARGET:g} wanted",
            ours[best] >= TARGET,
        )
        if "rllib_lstm" in journey:
            row = next(
                row
                for row in result["presets"]["journey"]["improvement"]
                if (row["of"], row["over"]) == (best, "rllib_lstm")
            )
            add(
                f"journey: {best} improves on rllib_lstm with probability "
                f"{row['probability']:.2f}, interval {row['interval'][0]:.2f} to "
                f"{row['interval'][1]:.2f}, above .5 wanted",
                row["interval"][0] > 0.5,
            )
    if "mlp" in journey:
        add(
            f"journey: mlp earns {journey['mlp']:.1f} % of Bayes, the best bidder that sees one "
            f"step {journey['one_step']:.1f}, less than that wanted",
            journey["mlp"] < journey["one_step"],
        )
    for name in OURS:
        if name in log:
            add(
                f"log: {name} gets {log[name]:.1f} % of hindsight, linear bidding "
                f"{log['linear']:.1f}, as much wanted",
                log[name] >= log["linear"],
            )
    return checks


if __name__ == "__main__":
    show(run())

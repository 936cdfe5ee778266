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

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rllib_seq.benchmarks.learning.contenders import CONTENDERS, PRESETS
from rllib_seq.benchmarks.learning.runs import SHORT_STEPS, Plan, cells_of, references, train_all
from rllib_seq.benchmarks.learning.summary import OURS, SHOWN, summarize, tables, write_page
from rllib_seq.benchmarks.result import Check, Result
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
) -> Result:
    """Trains what is missing and sums up; see `learning.runs.Plan` for the arguments."""
    presets = [preset for preset in PRESETS if preset != "log" or log or "log" in _heads(only)]
    if short:
        only, steps, seeds, folder = only or SHORT, steps or SHORT_STEPS, 1, folder / "short"
    elif len(presets) < len(PRESETS):
        make_console().print("preset log is left out: give --log FILE to have it")
    plan = Plan(presets, list(CONTENDERS), folder, only, steps, seeds, jobs, log)
    found = measured(plan, "learning.html")
    return found if short else replace(found, checks=check(found.figures))


def _heads(only: Sequence[str]) -> list[str]:
    return [part.partition("/")[0] for part in only]


def measured(plan: Plan, page: str, columns: Sequence[str] = SHOWN) -> Result:
    """Trains what is missing, sums up, and writes a page into the folder.

    Args:
        plan: what to train.
        page: name of the page.
        columns: of the tables, by their names in `COLUMNS`.
    """
    used = dict.fromkeys(cell.preset for cell in cells_of(plan))
    known = {preset: references(preset, plan.folder, plan.log) for preset in used}
    cells = train_all(plan)
    figures = summarize(cells, known)
    write_page(figures, cells, plan.folder / page)
    return Result(figures, tables(figures, columns))


def check(figures: Mapping[str, Any]) -> list[Check]:
    """What the results must show, as far as those who show it were trained."""
    checks = []

    def scores(preset: str) -> dict[str, float]:
        found = figures["presets"].get(preset, {"rows": []})
        return {row["policy"]: row["score"] for row in found["rows"]}

    journey, log = scores("journey"), scores("log")
    ours = {name: journey[name] for name in OURS if name in journey}
    if ours:
        best = max(ours, key=ours.__getitem__)
        checks.append(Check(f"journey: % of Bayes, {best}", ours[best], ">=", TARGET))
        for row in figures["presets"]["journey"]["improvement"]:
            if (row["of"], row["over"]) == (best, "rllib_lstm"):
                what = f"journey: P({best} > rllib_lstm), lower end of its interval"
                checks.append(Check(what, row["interval"][0], ">", 0.5))
    if "mlp" in journey:
        what = "journey: % of Bayes, mlp, below the best bidder that sees one step"
        checks.append(Check(what, journey["mlp"], "<", journey["one_step"]))
    for name in OURS:
        if name in log:
            what = f"log: % of hindsight, {name}, beside linear bidding"
            checks.append(Check(what, log[name], ">=", log["linear"]))
    return checks

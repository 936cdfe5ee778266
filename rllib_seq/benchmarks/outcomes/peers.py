"""Learners from outcomes on the same users: ours, RLlib's own, and one outside Ray.

    rllib-seq bench peers --steps 600000 --seeds 5 --jobs 2 --json peers.json
    rllib-seq bench peers journey/lift_lstm journey/ppo_mlp     # parts of it
    rllib-seq bench peers --short                               # some minutes

All learn from what a bidder receives (`reward="sampled"`), on preset journey; see
`learning.contenders.PEERS` for who learns and how. Cells, options and files are those of `bench
learning`; those that are there with fewer seeds than asked for are in the table all the same. The
table says how many requests and processor seconds each run needed to earn 80, 90 and 95 % of Bayes
with greedy bids on seed 500, at which it is judged twenty times: the median of the runs, or how
many got there. `sb3_recurrent_ppo` needs `pip install 'rllib-seq[peers]'`.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from rllib_seq.benchmarks.learning.contenders import PEERS
from rllib_seq.benchmarks.learning.runs import SHORT_STEPS, Plan, references, train_all
from rllib_seq.benchmarks.learning.summary import summarize, write_page
from rllib_seq.training.run.console import make_console

GOALS = (80.0, 90.0, 95.0)  # % of Bayes
SHORT = ("journey/ppo_mlp", "journey/ppo_causal", "journey/lift_lstm")
STEPS = 600_000


def run(
    only: Sequence[str] = (),
    steps: int | None = None,
    seeds: int = 5,
    jobs: int = 1,
    folder: Path = Path("runs/peers"),
    short: bool = False,
) -> dict[str, Any]:
    """Trains what is missing and sums up; see `learning.runs.Plan` for the arguments."""
    if short:
        only, steps, seeds, folder = only or SHORT, steps or SHORT_STEPS, 1, folder / "short"
    plan = Plan(("journey",), list(PEERS), folder, only, steps or STEPS, seeds, jobs)
    cells = train_all(plan)
    result = summarize(cells, {"journey": references("journey", folder, ())})
    write_page(result, cells, folder / "peers.html")
    for row in result["presets"]["journey"]["rows"]:
        own = [cell for cell in cells if cell["contender"] == row["policy"]]
        if own:
            row["reached"] = reached(own)
    return {**result, "passed": True}


def reached(cells: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any] | None]]:
    """Requests and processor seconds of each run to each goal; None where it was not reached."""
    found: dict[str, list[dict[str, Any] | None]] = {}
    for goal in GOALS:
        points = (
            next((at for at in cell["curve"] if at["pct_of_bayes"] >= goal), None) for cell in cells
        )
        found[f"{goal:g}"] = [
            at and {"steps": at["steps"], "cpu_seconds": at["cpu_seconds"]} for at in points
        ]
    return found


def median(points: Sequence[dict[str, Any] | None]) -> str:
    """Requests and processor seconds to a goal, or how many runs reached it."""
    there = [point for point in points if point is not None]
    if not there:
        return "not reached"
    if 2 * len(there) <= len(points):
        return f"{len(there)} of {len(points)}"
    steps, seconds = (
        np.median([point[name] for point in there]) for name in ("steps", "cpu_seconds")
    )
    return f"{steps:,.0f} ({seconds:,.0f} s)"


def show(result: dict[str, Any]) -> None:
    """Prints the table, the best learner first; bidders that do not learn come last."""
    found = result["presets"]["journey"]
    shown = Table(title=f"journey, {found['steps'][0]:,} requests", title_justify="left")
    for name in ("bidder", "signal"):
        shown.add_column(name)
    for name in ("runs", "% of Bayes", *(f"to {goal:g} %" for goal in GOALS), "CPU s"):
        shown.add_column(name, justify="right")
    for row in sorted(found["rows"], key=lambda row: (not row["seeds"], -row["score"])):
        learned = row["seeds"] is not None
        goals = [median(row["reached"][f"{goal:g}"]) if learned else "" for goal in GOALS]
        runs, seconds = (row["seeds"], f"{row['cpu_seconds']:,.0f}") if learned else ("", "")
        shown.add_row(
            row["policy"], row["signal"], str(runs), f"{row['score']:.1f}", *goals, seconds
        )
    make_console().print(shown)


if __name__ == "__main__":
    show(run())

"""Learners from outcomes on the same users: ours, RLlib's own, and one outside Ray.

    rllib-seq bench peers --steps 600000 --seeds 5 --jobs 2 --json docs/results/peers.json
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
            row["reached"] = {f"{goal:g}": [_to(cell, goal) for cell in own] for goal in GOALS}
    return {**result, "passed": True}


def _to(cell: dict[str, Any], goal: float) -> dict[str, Any] | None:
    """Requests and processor seconds of a run to a goal, or nothing if it did not get there."""
    found = next((at for at in cell["curve"] if at["pct_of_bayes"] >= goal), None)
    return found and {"steps": found["steps"], "cpu_seconds": found["cpu_seconds"]}


def table(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table, the best learner first; bidders that do not learn come last."""
    head = ["bidder", "learns from", "runs", "requests", "% of Bayes"]
    head += [f"requests to {goal:g} %, processor s" for goal in GOALS]
    head += ["processor s"]
    rows = []
    found = result["presets"]["journey"]
    for row in sorted(found["rows"], key=lambda row: (not row["seeds"], -row["score"])):
        score = f"{row['score']:.1f}"
        if not row["seeds"]:
            rows.append([row["policy"], row["signal"] or "", "", "", score, *[""] * len(GOALS), ""])
            continue
        if row["seeds"] > 1:
            score += f" [{min(row['scores']):.1f}, {max(row['scores']):.1f}]"
        reached = [_median(row["reached"][f"{goal:g}"]) for goal in GOALS]
        steps = f"{found['steps'][0]:,}"
        seconds = f"{row['cpu_seconds']:,.0f}"
        rows.append(
            [row["about"], row["signal"], str(row["seeds"]), steps, score, *reached, seconds]
        )
    return head, rows


def _median(points: list[dict[str, Any] | None]) -> str:
    there = [point for point in points if point is not None]
    if 2 * len(there) <= len(points):
        return "never" if not there else f"{len(there)} of {len(points)}"
    steps, seconds = (
        np.median([point[name] for point in there]) for name in ("steps", "cpu_seconds")
    )
    return f"{steps:,.0f}, {seconds:,.0f}"


def markdown(result: dict[str, Any]) -> str:
    """The table as the documentation has it."""
    head, rows = table(result)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def show(result: dict[str, Any]) -> None:
    """Prints the table."""
    head, rows = table(result)
    shown = Table(title="journey, learned from outcomes", title_justify="left")
    for name in head:
        shown.add_column(name, justify="left" if name in head[:2] else "right")
    for row in rows:
        shown.add_row(*row)
    make_console().print(shown)


if __name__ == "__main__":
    show(run())

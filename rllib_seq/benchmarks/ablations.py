"""What of the encoder pays: window length, direction, LSTM, Transformer, pooling, inputs, reward.

    rllib-seq bench ablations --jobs 2 --json ablations.json
    rllib-seq bench ablations journey/window_4 journey/no_lstm --seeds 3     # parts of it
    rllib-seq bench ablations --short                                        # some minutes

One change each to the window encoder with L = 12 (`window_12`) on preset journey, by the method of
`bench learning`, whose cells, options and files these are; see `learning_contenders.ABLATIONS`.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rllib_seq.benchmarks.learning.contenders import ABLATIONS
from rllib_seq.benchmarks.learning.runs import SHORT_STEPS, Plan, references, train_all
from rllib_seq.benchmarks.learning.summary import show_summary, summarize, write_page

SHORT = ("journey/window_4", "journey/window_12")
STEPS = 400_000


def run(
    only: Sequence[str] = (),
    steps: int | None = None,
    seeds: int = 5,
    jobs: int = 1,
    folder: Path = Path("runs/ablations"),
    short: bool = False,
) -> dict[str, Any]:
    """Trains what is missing and sums up; see `learning_runs.Plan` for the arguments."""
    if short:
        only, steps, seeds, folder = only or SHORT, steps or SHORT_STEPS, 1, folder / "short"
    plan = Plan(("journey",), list(ABLATIONS), folder, only, steps or STEPS, seeds, jobs)
    cells = train_all(plan)
    result = summarize(cells, {"journey": references("journey", folder, ())})
    write_page(result, cells, folder / "ablations.html")
    return {**result, "passed": True}


def show(result: dict[str, Any]) -> None:
    """Prints the table."""
    show_summary(result)


if __name__ == "__main__":
    show(run())

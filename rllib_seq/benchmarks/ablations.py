"""What of the encoder pays: window length, direction, LSTM, Transformer, pooling, inputs, reward.

    rllib-seq bench ablations --jobs 2 --json ablations.json
    rllib-seq bench ablations journey/window_4 journey/no_lstm --seeds 3     # parts of it
    rllib-seq bench ablations --short                                        # some minutes

One change each to the window encoder with L = 12 (`window_12`) on preset journey, by the method of
`bench learning`, whose cells, options and files these are; see `learning.contenders.ABLATIONS`.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Sequence
from pathlib import Path

from rllib_seq.benchmarks.learning.bench import measured
from rllib_seq.benchmarks.learning.contenders import ABLATIONS
from rllib_seq.benchmarks.learning.runs import SHORT_STEPS, Plan
from rllib_seq.benchmarks.result import Result

SHORT = ("journey/window_4", "journey/window_12")
STEPS = 400_000


def run(
    only: Sequence[str] = (),
    steps: int | None = None,
    seeds: int = 5,
    jobs: int = 1,
    folder: Path = Path("runs/ablations"),
    short: bool = False,
) -> Result:
    """Trains what is missing and sums up; see `learning.runs.Plan` for the arguments."""
    if short:
        only, steps, seeds, folder = only or SHORT, steps or SHORT_STEPS, 1, folder / "short"
    plan = Plan(("journey",), list(ABLATIONS), folder, only, steps or STEPS, seeds, jobs)
    return measured(plan, "ablations.html")

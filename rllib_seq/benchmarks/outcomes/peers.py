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

from rllib_seq.benchmarks.learning.bench import measured
from rllib_seq.benchmarks.learning.contenders import PEERS
from rllib_seq.benchmarks.learning.runs import SHORT_STEPS, Plan
from rllib_seq.benchmarks.learning.summary import TO_GOALS
from rllib_seq.benchmarks.result import Result

SHORT = ("journey/ppo_mlp", "journey/ppo_causal", "journey/lift_lstm")
STEPS = 600_000
COLUMNS = ("policy", "signal", "seeds", "score", *TO_GOALS, "CPU s")


def run(
    only: Sequence[str] = (),
    steps: int | None = None,
    seeds: int = 5,
    jobs: int = 1,
    folder: Path = Path("runs/peers"),
    short: bool = False,
) -> Result:
    """Trains what is missing and sums up; see `learning.runs.Plan` for the arguments."""
    if short:
        only, steps, seeds, folder = only or SHORT, steps or SHORT_STEPS, 1, folder / "short"
    plan = Plan(("journey",), list(PEERS), folder, only, steps or STEPS, seeds, jobs)
    return measured(plan, "peers.html", COLUMNS)

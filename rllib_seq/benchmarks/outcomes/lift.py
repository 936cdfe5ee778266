"""How well Lift bids after so many requests: `journey`, and worlds of `drawn` that no one tuned on.

    rllib-seq bench lift --json docs/results/learning/lift.json   # journey, drawn-100 to 109
    rllib-seq bench lift journey --seeds 5 --steps 3000000      # parts of it
    rllib-seq bench lift drawn-100/lift drawn-100/informed
    rllib-seq bench lift --short                                # some minutes

`tune_configs.lift` (of display: `lift_display`) as it is, in one process and one thread, from
outcomes alone. `no_forecasts` leaves out its forecasts of what users do next. `informed` is the
same with a critic that sees the hidden stage while it trains: privileged. A result is the expected
profit of greedy bids on the evaluation seeds 1000 to 1002, in % of Bayes' and as the share of the
gap between `one_step` and Bayes that is closed; both are played on the same campaigns.

Runs go on in turns: all reach 300,000 requests before one is trained to 600,000. Each has a
file WORLD/WHO/SEED.json in the folder, with a point every 300,000, and a checkpoint beside it, so a
command that was interrupted goes on where it was, and so does one that asks for more steps.

Exit code 1 if what must hold does not: see `GOALS`.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from rich.console import Console

from rllib_seq.benchmarks.learning.actors import actor_of
from rllib_seq.benchmarks.result import Check, Result, Row
from rllib_seq.envs.ad_auction.references.baselines import SignalBids
from rllib_seq.envs.ad_auction.references.oracles import BayesBids, best_one_step
from rllib_seq.envs.ad_auction.simulator.play import BidPolicy
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig
from rllib_seq.errors import UserError
from rllib_seq.training.config.checks import auction_config, training_signal
from rllib_seq.training.config.experiment import Options, prepare
from rllib_seq.training.config.modules import load_config
from rllib_seq.training.evaluation.campaigns import expected_profit
from rllib_seq.training.evaluation.policies import TrainedBids
from rllib_seq.training.run.console import make_console
from rllib_seq.training.run.iterations import START, Iterations
from rllib_seq.training.run.ray_session import ray_session
from rllib_seq.training.run.trainer import build_algorithm, save_algorithm
from rllib_seq.training.seeds import evaluation_seed, resume_seed
from rllib_seq.training.storage.files import read_json, write_json

WORLDS = ("journey", *(f"drawn-{seed}" for seed in range(100, 110)))
WHO: dict[str, dict[str, Any]] = {
    "lift": {},
    "no_forecasts": {"forecast_weight": 0.0},
    "informed": {"informed": True},
}
SEEDS, USERS = (1000, 1001, 1002), 2048
TURNS = (300_000, 600_000, 1_500_000, 3_000_000)
EVERY = 300_000  # requests between two points of a curve
SHORT_STEPS = 60_000
GOALS = (
    ("journey", 1_200_000, "pct_of_bayes", 96.0, 96.0),
    ("journey", 3_000_000, "pct_of_bayes", 98.0, 98.0),
    ("drawn", 1_500_000, "pct_of_gap", 65.0, 40.0),
    ("drawn", 3_000_000, "pct_of_gap", 80.0, 40.0),
)
"""World, requests, what, the least mean over runs, and the least of any run."""


class Run(NamedTuple):
    """A training run."""

    world: str
    who: str
    seed: int

    @property
    def path(self) -> str:
        """What selects it, and where its file lies."""
        return f"{self.world}/{self.who}/{self.seed}"


def run(
    only: Sequence[str] = (),
    steps: int = 1_500_000,
    seeds: int = 1,
    folder: Path = Path("runs/lift"),
    short: bool = False,
) -> Result:
    """Trains what is missing, turn by turn, and sums up.

    Args:
        only: starts of `WORLD/WHO/SEED`; none: `WORLDS` with "lift".
        steps: requests of every run.
        seeds: training seeds, from 1.
        folder: where runs are kept.
        short: 60,000 requests of `journey`.

    Raises:
        UserError: a value is wrong, or something in `only` names no run.
    """
    if short:
        only, steps, seeds, folder = only or ("journey",), SHORT_STEPS, 1, folder / "short"
    if steps < 1 or seeds < 1:
        raise UserError(f"steps is {steps} and seeds {seeds}; give at least 1 of both")
    runs, console = runs_of(only, seeds), make_console()
    torch.set_num_threads(1)
    with ray_session(1, console):
        for turn in [turn for turn in TURNS if turn < steps] + [steps]:
            for each in runs:
                _train(each, turn, folder, console)
    done = [read_json(folder / f"{each.path}.json") for each in runs]
    rows = [_row(each, point) for each in done for point in each["points"]]
    title = "% of Bayes / of the gap between one_step and Bayes"
    return Result({"seeds": list(SEEDS), "runs": done}, {title: rows}, check(done))


def runs_of(only: Sequence[str], seeds: int) -> list[Run]:
    """The runs that `only` selects; first seeds first, so that every world soon has one.

    Raises:
        UserError: something in `only` names no run.
    """
    parts = [_worlds_who_seeds(part, seeds) for part in only or WORLDS]
    chosen = [
        Run(world, who, seed)
        for seed in range(1, seeds + 1)
        for world, who, wanted in parts
        if seed in wanted
    ]
    return list(dict.fromkeys(chosen))


def _worlds_who_seeds(part: str, seeds: int) -> tuple[str, str, Sequence[int]]:
    """What `WORLD`, `WORLD/WHO` or `WORLD/WHO/SEED` selects."""
    world, who, seed, *more = [*part.split("/"), *["lift", ""][part.count("/") :]]
    known = world in ("journey", "display") or (
        world.startswith("drawn-") and world.removeprefix("drawn-").isdecimal()
    )
    all_seeds = [str(number) for number in range(1, seeds + 1)]
    if not known or who not in WHO or seed not in ["", *all_seeds] or more:
        raise UserError(
            f"no run {part!r}; give journey, display or drawn-K, behind it /lift, /no_forecasts or "
            f"/informed, and behind that a training seed, /1 to /{seeds}"
        )
    return world, who, [int(seed)] if seed else range(1, seeds + 1)


def config_of(each: Run, seed: int) -> AlgorithmConfig:
    """RLlib's config of a run in one process, checked."""
    preset, _, world_seed = each.world.partition("-")
    options = Options(
        preset=preset,
        world_seed=int(world_seed) if world_seed else None,
        num_env_runners=0,
        seed=seed,
    )
    module = "lift_display" if preset == "display" else "lift"
    return prepare(load_config(module).training(**WHO[each.who]), options)


def _train(each: Run, steps: int, folder: Path, console: Console) -> None:
    """Trains a run to so many requests, unless it is there; judges and saves it on the way."""
    path, part = folder / f"{each.path}.json", folder / f"{each.path}.part"
    state: dict[str, Any] = {**each._asdict(), "row": START, "cpu_seconds": 0.0, "points": []}
    if path.is_file():
        state = read_json(path)
    begun = state["row"]["steps"]
    if begun >= steps:
        return
    seed = resume_seed(each.seed, state["row"]["iteration"]) if begun else each.seed
    config = config_of(each, seed)
    world = _world(config)
    if not begun:
        known = {policy.name: _profit(policy, world) for policy in _known(world)}
        state |= {"signal": training_signal(config), "profit": known}
    algorithm = build_algorithm(config)
    if begun:
        algorithm.restore(str(part.resolve()))  # RLlib takes a relative path for a URI
    iterations = Iterations(algorithm, state["row"], None)
    for until in [at for at in range(EVERY, steps, EVERY) if at > begun] + [steps]:
        busy = time.process_time()
        while iterations.steps < until:
            iterations.advance()
        state["cpu_seconds"] = round(state["cpu_seconds"] + time.process_time() - busy, 1)
        state["row"] = iterations.row
        ours = _profit(TrainedBids(actor_of(algorithm)), world)
        state["points"].append(_point(state, np.array(ours)))
        _save(algorithm, part)
        write_json(path, state)
        console.print(_line(each, state["points"][-1]), highlight=False)
    algorithm.stop()


def _point(state: dict[str, Any], ours: NDArray[np.float64]) -> dict[str, Any]:
    bayes, one_step = (np.array(state["profit"][name]) for name in ("bayes", "one_step"))
    gained, gap = ours.mean() - one_step.mean(), bayes.mean() - one_step.mean()
    return {
        "steps": state["row"]["steps"],
        "cpu_seconds": state["cpu_seconds"],
        "pct_of_bayes": float(100 * ours.mean() / bayes.mean()),
        "pct_of_bayes_by_seed": (100 * ours / bayes).round(2).tolist(),
        "pct_of_gap": float(100 * gained / gap),
    }


def _line(each: Run, point: dict[str, Any]) -> str:
    return (
        f"{each.path}: {point['steps']:,} requests | {point['pct_of_bayes']:.1f} % of Bayes | "
        f"{point['pct_of_gap']:.0f} % of the gap | {point['cpu_seconds']:.0f} s"
    )


def _save(algorithm: Algorithm, part: Path) -> None:
    """Writes what a run goes on from."""
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    save_algorithm(algorithm, part)


def _world(config: AlgorithmConfig) -> AuctionConfig:
    world = auction_config(config)
    assert world is not None
    return world.for_evaluation().with_users(USERS)


def _known(world: AuctionConfig) -> list[BidPolicy]:
    """Bidders that know the numbers of the world, with all and with hardly any memory."""
    return [BayesBids(), SignalBids("one_step", best_one_step(world.build_preset()).bids)]


def _profit(policy: BidPolicy, world: AuctionConfig) -> list[float]:
    """Expected profit per user on each evaluation seed, currency units."""
    return [expected_profit(policy, world, [evaluation_seed(seed, 0)]) for seed in SEEDS]


def check(runs: Sequence[Row]) -> list[Check]:
    """What must hold, as far as those who show it were trained so long."""
    checks = []
    for world, steps, what, mean, least in GOALS:
        found = [
            point[what]
            for each in runs
            if each["who"] == "lift" and each["world"].partition("-")[0] == world
            for point in each["points"]
            if steps <= point["steps"] < 1.05 * steps
        ]
        if found:
            text = f"{world}, {steps:,} requests, {len(found)} runs: {what}"
            checks.append(Check(f"{text}, mean", float(np.mean(found)), ">=", mean))
            checks.append(Check(f"{text}, least", min(found), ">=", least))
    return checks


def _row(each: Row, point: Row) -> Row:
    return {
        "run": f"{each['world']}/{each['who']}/{each['seed']}",
        "signal": each["signal"],
        "requests": point["steps"],
        "% Bayes": point["pct_of_bayes"],
        "% gap": point["pct_of_gap"],
        "CPU s": point["cpu_seconds"],
    }

"""One training run of `rllib-seq bench learning`, from its settings to a JSON file.

- `Cell`: preset, contender, seed, steps
- `train_cell`: trains it, in pieces if it is interrupted; what is there already is not done again
- `replay_row`: what it gets on the held-out days of a log

A cell is trained in one process and one thread. Curves are greedy bids on campaigns of seed 500,
results on those of 1000 to 1002; training plays none of them, see `training.evaluation.campaigns`.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console

from rllib_seq.benchmarks.learning.actors import actor_of
from rllib_seq.benchmarks.learning.contenders import (
    ABLATIONS,
    BUDGET_RATIO,
    CONTENDERS,
    PEERS,
    Contender,
    config_of,
)
from rllib_seq.benchmarks.learning.sb3_runs import Sb3Actor, train_sb3
from rllib_seq.envs.ad_auction.log_replay.baselines import ReplayPolicy, play_replay
from rllib_seq.envs.ad_auction.log_replay.world import ReplayWorld
from rllib_seq.envs.ad_auction.references.oracles import BayesBids, FullInformationBids
from rllib_seq.envs.ad_auction.simulator.play import BidPolicy
from rllib_seq.training.config.auction_logs import replay_world
from rllib_seq.training.config.checks import auction_config, training_signal
from rllib_seq.training.evaluation.campaigns import evaluate, expected_profit, rows
from rllib_seq.training.evaluation.policies import TrainedBids
from rllib_seq.training.evaluation.replay_evaluation import TrainedReplayBids
from rllib_seq.training.run.iterations import START, Iterations
from rllib_seq.training.run.ray_session import ray_session
from rllib_seq.training.run.trainer import build_algorithm, save_algorithm
from rllib_seq.training.seeds import evaluation_seed, resume_seed
from rllib_seq.training.storage.files import read_json, write_json

EVALUATION_SEEDS = (1000, 1001, 1002)
CURVE_SEEDS = (500,)
CAMPAIGNS, USERS = {"journey": 4, "display": 1}, 2048
CURVE_USERS = 1024
POINTS = {"journey": 20, "display": 10, "log": 20}
"""Of a curve. A campaign of `display` takes ten times as many ticks as one of `journey`."""
SAVE_SECONDS = 60.0


class Cell(NamedTuple):
    """One training run."""

    preset: str
    contender: str
    seed: int
    steps: int
    log: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """What selects it, and where its file lies."""
        return f"{self.preset}/{self.contender}/{self.seed}"


def train_cell(cell: Cell, folder: Path, console: Console) -> bool:
    """Trains a cell unless its file is there, and writes it.

    An interrupted run goes on from its last checkpoint, at most a minute of training ago; DQN's
    replay memory is filled again then.

    Args:
        cell: what to train.
        folder: where `PRESET/CONTENDER/SEED.json` goes.
        console: hears of progress, a line per point of the curve.

    Returns:
        False if another process is at it.
    """
    path = folder / f"{cell.path}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path.with_suffix(".lock")) as alone:
        if alone and not path.is_file():
            torch.set_num_threads(1)
            write_json(path, _train(cell, path.with_suffix(".part"), console))
            shutil.rmtree(path.with_suffix(".part"), ignore_errors=True)
        return alone


@contextmanager
def _alone(path: Path) -> Iterator[bool]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
        path.unlink()


def _train(cell: Cell, part: Path, console: Console) -> dict[str, Any]:
    contender = (CONTENDERS | ABLATIONS | PEERS)[cell.contender]
    if contender.algorithm == "sb3":
        return _train_sb3(cell, contender, console)
    state: dict[str, Any] = {"row": START, "cpu_seconds": 0.0, "curve": []}
    resumed = (part / "state.json").is_file()
    if resumed:
        state = read_json(part / "state.json")
    seed = resume_seed(cell.seed, state["row"]["iteration"]) if resumed else cell.seed
    config = config_of(contender, cell.preset, cell.steps, seed, cell.log)
    began = time.monotonic()
    with ray_session(1, console):
        algorithm = build_algorithm(config)
        if resumed:
            algorithm.restore(str(part / "checkpoint"))
        iterations = Iterations(algorithm, state["row"], None)
        judge = _Judge(cell, config)
        every = cell.steps / POINTS[cell.preset]
        saved = time.monotonic()
        while iterations.steps < cell.steps:
            before, busy = iterations.steps, time.process_time()
            iterations.advance()
            state["cpu_seconds"] += time.process_time() - busy
            state["row"] = iterations.row
            if iterations.steps // every > before // every:
                state["curve"].append(_point(state, judge.profit(algorithm)))
                console.print(_line(cell, state["curve"][-1]), highlight=False, markup=False)
            if time.monotonic() - saved > SAVE_SECONDS:
                _save(algorithm, state, part)
                saved = time.monotonic()
        _save(algorithm, state, part)
        final = judge.final(algorithm)
        algorithm.stop()
    return {
        **cell._asdict(),
        "about": contender.about,
        "steps": state["row"]["steps"],
        "asked_steps": cell.steps,
        "seconds": round(state["row"]["seconds"], 1),
        "cpu_seconds": round(state["cpu_seconds"], 1),
        "session_seconds": round(time.monotonic() - began, 1),
        "curve": state["curve"],
        **final,
    }


def _train_sb3(cell: Cell, contender: Contender, console: Console) -> dict[str, Any]:
    """A learner outside Ray; an interrupted run begins again."""
    judge = _Judge(cell, config_of(contender, cell.preset, cell.steps, cell.seed))
    curve: list[dict[str, Any]] = []
    every = cell.steps / POINTS[cell.preset]

    def reached(row: dict[str, Any], actor: Sb3Actor) -> None:
        if row["steps"] >= every * (len(curve) + 1):
            row = {**row, "seconds": round(row["seconds"], 1), "episode_return": None}
            row["cpu_seconds"] = round(row["cpu_seconds"], 1)
            curve.append({**row, "entropy": None, "pct_of_bayes": judge.profit(actor)})
            console.print(_line(cell, curve[-1]), highlight=False, markup=False)

    began = time.monotonic()
    row, actor = train_sb3(contender, cell.preset, cell.steps, cell.seed, reached)
    return {
        **cell._asdict(),
        "about": contender.about,
        "steps": row["steps"],
        "asked_steps": cell.steps,
        "seconds": round(row["seconds"], 1),
        "cpu_seconds": round(row["cpu_seconds"], 1),
        "session_seconds": round(time.monotonic() - began, 1),
        "curve": curve,
        **judge.final(actor),
    }


def _save(algorithm: Any, state: dict[str, Any], part: Path) -> None:
    """Writes what the run goes on from; the one before stays until it is complete."""
    aside = part.with_suffix(".new")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    save_algorithm(algorithm, aside / "checkpoint")
    write_json(aside / "state.json", state)
    shutil.rmtree(part, ignore_errors=True)
    aside.rename(part)


def _point(state: dict[str, Any], share: float | None) -> dict[str, Any]:
    row = state["row"]
    return {
        "steps": row["steps"],
        "seconds": round(row["seconds"], 1),
        "cpu_seconds": round(state["cpu_seconds"], 1),
        "episode_return": row["episode_return"],
        "entropy": row["entropy"],
        "pct_of_bayes": share,
    }


def _line(cell: Cell, point: dict[str, Any]) -> str:
    share, earned = point["pct_of_bayes"], point["episode_return"]
    if share is not None:
        standing = f"{share:.1f} % of Bayes"
    else:
        standing = "no episode yet" if earned is None else f"return {earned:.3f}"
    return (
        f"{cell.path}: {point['steps']:,} of {cell.steps:,} steps | {standing} | "
        f"{point['seconds']:.0f} s"
    )


class _Judge:
    """Plays an algorithm's policy greedily where it was not trained."""

    def __init__(self, cell: Cell, config: Any) -> None:
        self._cell, self._signal = cell, training_signal(config)
        world = auction_config(config)
        self._world = None if world is None else world.for_evaluation()
        if self._world is not None:
            self._bayes: dict[tuple[int, ...], float] = {
                seeds: self._earned(BayesBids(), seeds, users)
                for seeds, users in ((CURVE_SEEDS, CURVE_USERS), (EVALUATION_SEEDS, USERS))
            }

    def _earned(self, policy: BidPolicy, seeds: tuple[int, ...], users: int) -> float:
        assert self._world is not None
        starts = [evaluation_seed(seed, 0) for seed in seeds]
        return expected_profit(policy, self._world.with_users(users), starts)

    def profit(self, algorithm: Any) -> float | None:
        """Expected profit in % of that of Bayes; None for a log."""
        return None if self._world is None else self._share(algorithm, CURVE_SEEDS, CURVE_USERS)

    def _share(self, algorithm: Any, seeds: tuple[int, ...], users: int) -> float:
        more = self._earned(_bids(algorithm), seeds, users) - self._bayes[seeds]
        return 100 * (1 + more / self._bayes[EVALUATION_SEEDS])

    def final(self, algorithm: Any) -> dict[str, Any]:
        """The result, on the evaluation seeds or held-out days."""
        if self._world is None:
            return _replayed(self._cell, algorithm)
        world, policy = self._world.with_users(USERS), _bids(algorithm)
        campaigns = evaluate(
            [policy, BayesBids(), FullInformationBids()],
            world,
            EVALUATION_SEEDS,
            CAMPAIGNS[self._cell.preset],
        )
        return {
            "seeds": list(EVALUATION_SEEDS),
            "signal": self._signal,
            "policies": [asdict(row) for row in rows(campaigns) if row.policy == policy.name],
            "expected_pct_of_bayes": self._share(algorithm, EVALUATION_SEEDS, USERS),
        }


def _bids(algorithm: Any) -> TrainedBids:
    return TrainedBids(algorithm if isinstance(algorithm, Sb3Actor) else actor_of(algorithm))


def _replayed(cell: Cell, algorithm: Any) -> dict[str, Any]:
    """Clicks on the held-out days of a log."""
    world = replay_world({"log": list(cell.log), "budget_ratio": BUDGET_RATIO})
    policy = TrainedReplayBids(actor_of(algorithm))
    return {"seeds": [None], "policies": [replay_row(world, policy)]}


def replay_row(world: ReplayWorld, policy: ReplayPolicy) -> dict[str, Any]:
    """What a policy gets on the held-out days of a log, in all episodes together."""
    result = play_replay(world, world.held_out, world.held_out_episodes(), policy)
    return {
        "policy": policy.name,
        "seed": None,
        "spend": float(result.spend.sum()),
        "budget": float(result.budget.sum()),
        "requests": int(result.requests.sum()),
        "wins": int(result.wins.sum()),
        "clicks": int(result.clicks.sum()),
        "expected_clicks": float(result.expected_clicks.sum()),
    }

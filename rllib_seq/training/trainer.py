"""The training loop: iterate, measure, save, stop; the same for a new and a resumed run.

- `Limits`: when to stop.
- `train`: the loop over a built Algorithm.
- `start_ray`: a local Ray, or the cluster that `RAY_ADDRESS` names.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.utils.metrics import ALL_MODULES
from tensorboardX import SummaryWriter

from envs.ad_auction.oracles import BayesBids
from envs.ad_auction.presets import AuctionConfig
from envs.ad_auction.simulator import AuctionSimulator, play
from envs.ad_auction.values import full_information
from rllib_seq.errors import UserError
from rllib_seq.rollouts import STEPS_SAMPLED, heed_workers
from rllib_seq.training.run_folder import UNREADABLE_PICKLE, Row, RunFolder

__all__ = ["Limits", "bayes_profit", "resumed_config", "start_ray", "train"]

_CHECKPOINT_SECONDS = 60.0
_MOST_SILENT_SECONDS = 300.0  # without a single sample, before the run gives up
_PAUSE_SECONDS = 0.05  # for the workers' sake, where an iteration brought nothing


@dataclass(frozen=True)
class Limits:
    """When a run stops, counted over all its sessions; whichever comes first."""

    seconds: float = math.inf
    """Of training, without evaluation."""
    steps: float = math.inf
    """Agent steps; in the ad auction, bid requests."""

    def __post_init__(self) -> None:
        """Raises UserError if a limit is not positive."""
        for name, value in (("stop-time-s", self.seconds), ("stop-steps", self.steps)):
            if not value > 0:
                raise UserError(f"{name} is {value}; give a number above 0")

    def done(self, row: Row, more_seconds: float = 0.0) -> float:
        """Share of the run that is done some seconds after a row of progress, in [0, 1]."""
        seconds = float(row["seconds"] or 0) + more_seconds
        return min(1.0, max(seconds / self.seconds, float(row["steps"] or 0) / self.steps))


def start_ray(num_env_runners: int) -> None:
    """Connects to the cluster of `RAY_ADDRESS`, or starts a local Ray with room for the workers."""
    # RLlib announces its API stack and what it will deprecate, whoever it is that asks.
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    if ray.is_initialized():
        return
    if "RAY_ADDRESS" in os.environ:
        ray.init()
        return
    # Ray's core reports what RLlib's restartable workers always are as an error.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ray.init(
        num_cpus=max(os.cpu_count() or 1, num_env_runners, 1),
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )


def bayes_profit(world: AuctionConfig) -> float:
    """Profit per user of the Bayes policy on campaigns that no training or evaluation plays."""
    users = 8192
    simulator = AuctionSimulator(replace(world.with_users(users), reward="sampled"))
    ledger = play(simulator, BayesBids(), np.random.SeedSequence(0, spawn_key=(1,)))
    return ledger.profit(simulator.preset.shadow_price) / users


def resumed_config(checkpoint: Path) -> AlgorithmConfig:
    """The config that a checkpoint was trained with, for another session.

    Args:
        checkpoint: a checkpoint folder of a run.

    Raises:
        UserError: the checkpoint cannot be read.
    """
    made_by = checkpoint / Algorithm.CLASS_AND_CTOR_ARGS_FILE_NAME
    try:
        if made_by.is_file():  # the new API stack keeps there what an algorithm is built from
            state = pickle.loads(made_by.read_bytes())["ctor_args_and_kwargs"][0][0]
        else:
            state = pickle.loads((checkpoint / "algorithm_state.pkl").read_bytes())["config"]
        return AlgorithmConfig.from_state(state).copy(copy_frozen=False)
    except UNREADABLE_PICKLE as error:
        raise UserError(f"cannot read checkpoint {str(checkpoint)!r}: {error!r}") from error


def train(
    algorithm: Algorithm,
    run: RunFolder,
    limits: Limits,
    on_row: Callable[[Row], None],
    world: AuctionConfig | None,
) -> bool:
    """Trains until a limit or a signal; the last thing it does is to write a checkpoint.

    Args:
        algorithm: built, and restored if the run is resumed.
        run: where to write; rows that are in `progress.csv` count as done.
        limits: when to stop.
        on_row: is called after every iteration with the new row of progress.
        world: of the ad auction, for the profit in % of the Bayes policy; None for other envs.

    Returns:
        Whether it was stopped by SIGINT or SIGTERM before it was done.

    Raises:
        UserError: a worker met data that only the user can mend; a checkpoint is written before.
    """
    rows = run.read_progress()
    row: Row = rows[-1] if rows else {"iteration": 0, "steps": 0, "seconds": 0.0}
    bayes = None if world is None else bayes_profit(world)
    writer = SummaryWriter(str(run.path), write_to_disk=True)
    saved_at, last_saved = time.monotonic(), row["iteration"]
    spent: float = 0.0  # seconds since the last row
    learned: dict[str, Any] = {}  # likewise

    def save() -> None:
        nonlocal saved_at, last_saved
        if row["iteration"] != last_saved:
            run.save_checkpoint(lambda path: _save(algorithm, path), row)
            saved_at, last_saved = time.monotonic(), row["iteration"]

    with writer, _stop_signals() as stopped:
        while limits.done(row, spent) < 1.0 and not stopped:
            began = time.monotonic()
            try:
                result: dict[str, Any] = heed_workers(algorithm.train)
            except UserError:
                save()
                raise
            steps = _steps(result)
            learned = _learner_stats(result) or learned
            if steps is None or steps == row["steps"]:
                # Asynchronous algorithms do not wait for their workers.
                time.sleep(_PAUSE_SECONDS)
                spent += time.monotonic() - began
                if spent > _MOST_SILENT_SECONDS:
                    save()
                    raise RuntimeError(
                        f"no worker has sampled anything in {spent:.0f} s; Ray's worker logs say "
                        "why"
                    )
                continue
            spent += time.monotonic() - began
            row = _row(result, learned, row, steps, spent, world, bayes)
            spent, learned = 0.0, {}
            run.append_progress(row)
            for name, value in row.items():
                if value is not None:
                    writer.add_scalar(f"run/{name}", value, steps)
            on_row(row)
            if time.monotonic() - saved_at > _CHECKPOINT_SECONDS:
                save()
        if row["iteration"] == 0 and not stopped:
            raise UserError(
                f"stop-time-s ended the run after {spent:.0f} s, before the first steps came in; "
                "give it more time, or the workers a smaller rollout_fragment_length"
            )
        save()
        return bool(stopped) and limits.done(row) < 1.0


def _save(algorithm: Algorithm, path: Path) -> None:
    path.mkdir()
    algorithm.save_checkpoint(str(path))


def _steps(result: dict[str, Any]) -> int | None:
    """Agent steps sampled since the start of the run; None if none have come in yet."""
    steps = result.get("num_agent_steps_sampled_lifetime")  # on the old API stack
    if steps is None:
        steps = result.get("env_runners", {}).get(STEPS_SAMPLED)
    return None if steps is None else int(steps)


def _learner_stats(result: dict[str, Any]) -> dict[str, Any]:
    """What the first policy's learner says of its last update; empty if there was none."""
    if "info" in result:  # on the old API stack
        learners = [policy["learner_stats"] for policy in result["info"]["learner"].values()]
    else:
        learned = result.get("learners", {})
        learners = [stats for module, stats in learned.items() if module != ALL_MODULES]
    return dict(learners[0]) if learners else {}


def _row(
    result: dict[str, Any],
    learned: dict[str, Any],
    before: Row,
    steps: int,
    seconds: float,
    world: AuctionConfig | None,
    bayes: float | None,
) -> Row:
    """One row of progress from RLlib's result; None where there is nothing to say yet."""
    episode_return = _finite(result["env_runners"].get("episode_return_mean"))
    per_user = None
    if world is not None and episode_return is not None:
        per_user = episode_return / world.num_users
        if world.reward == "regret":
            per_user += full_information(world.build_preset()).value

    def stat(*names: str) -> float | None:
        """What algorithms and API stacks call by these names."""
        return next((_finite(learned[name]) for name in names if name in learned), None)

    return {
        "iteration": int(before["iteration"] or 0) + 1,
        "steps": steps,
        "seconds": round(float(before["seconds"] or 0) + seconds, 3),
        "steps_per_second": round((steps - int(before["steps"] or 0)) / seconds, 1),
        "episode_return": episode_return,
        "profit_per_user": per_user,
        "pct_of_bayes": None if per_user is None or not bayes else 100 * per_user / bayes,
        "entropy": stat("entropy"),
        "policy_loss": stat("policy_loss", "mean_pi_loss"),
        "value_loss": stat("vf_loss", "qf_loss"),
        "value_explained_variance": stat("vf_explained_var"),
        "grad_norm": stat("grad_gnorm", "gradients_default_optimizer_global_norm"),
    }


def _finite(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """SIGINT and SIGTERM ask for a clean stop; a second one ends the process as usual."""
    received: list[int] = []
    previous: dict[int, Any] = {}

    def note(number: int, frame: object) -> None:
        received.append(number)
        for known, handler in previous.items():
            signal.signal(known, handler)

    for signum in (signal.SIGINT, signal.SIGTERM):
        previous[signum] = signal.signal(signum, note)
    try:
        yield received
    finally:
        for known, handler in previous.items():
            signal.signal(known, handler)

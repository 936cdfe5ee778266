"""The training loop: iterate, measure, save, stop; the same for a new and a resumed run.

- `Limits`: when to stop.
- `build_algorithm`: an Algorithm of a config, for a run or a trial.
- `train`: the loop over it.
- `resumed_config`: what a checkpoint was trained with.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.train.constants import _get_ray_train_session_dir
from ray.tune.trainable import trainable
from tensorboardX import SummaryWriter

from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig
from rllib_seq.errors import UserError
from rllib_seq.rollouts import forget_errors, raise_worker_errors
from rllib_seq.training.run.iterations import START, Iterations
from rllib_seq.training.storage.files import check_seal
from rllib_seq.training.storage.run_folder import (
    UNREADABLE_PICKLE,
    Row,
    RunFolder,
    unreadable_checkpoint,
)

_CHECKPOINT_SECONDS = 60.0
_MOST_SILENT_SECONDS = 300.0  # without a single sample, before the run gives up


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


def resumed_config(checkpoint: Path) -> AlgorithmConfig:
    """The config that a checkpoint was trained with, for another session.

    Args:
        checkpoint: a checkpoint folder of a run.

    Raises:
        UserError: the checkpoint is damaged, or cannot be read.
    """
    check_seal(checkpoint)
    made_by = checkpoint / Algorithm.CLASS_AND_CTOR_ARGS_FILE_NAME
    try:
        if made_by.is_file():  # the new API stack keeps there what an algorithm is built from
            state = pickle.loads(made_by.read_bytes())["ctor_args_and_kwargs"][0][0]
        else:
            state = pickle.loads((checkpoint / "algorithm_state.pkl").read_bytes())["config"]
        return AlgorithmConfig.from_state(state).copy(copy_frozen=False)
    except UNREADABLE_PICKLE as error:
        raise unreadable_checkpoint(checkpoint, error) from error


def build_algorithm(config: AlgorithmConfig) -> Algorithm:
    """Builds what a config describes.

    Raises:
        UserError: a worker met data that only the user can fix.
    """
    forget_errors()
    _take_threads()
    if ray.is_initialized():
        # RLlib makes a folder for every algorithm, in ~/ray_results if no one says where. In Ray's
        # own folder it goes with the session, also if we are ended while we build.
        trainable.DEFAULT_STORAGE_PATH = _get_ray_train_session_dir()
    algorithm = raise_worker_errors(config.build_algo)
    _fuse_optimizers(algorithm)
    with contextlib.suppress(OSError):  # not empty: someone uses it
        Path(algorithm.logdir).rmdir()
    return algorithm


def _take_threads() -> None:
    """One thread for this process's learner, unless `OMP_NUM_THREADS` is set.

    Ray gives its workers one each. torch would take a thread per core here, and matrices of this
    size then take twice as long (docs/results/speed.md).
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def _fuse_optimizers(algorithm: Algorithm) -> None:
    """Lets Adam change all weights in one call of torch, of either API stack.

    It takes the same steps; one by one, a hundred small tensors cost a tenth of learning.
    """
    if algorithm.config.enable_rl_module_and_learner:
        algorithm.learner_group.foreach_learner(_fuse_learner)
        return
    for policy in algorithm.env_runner.policy_map.values():
        _fuse(getattr(policy, "_optimizers", []))


def _fuse_learner(learner: Any) -> None:
    for module in learner.module.keys():
        _fuse(optimizer for _, optimizer in learner.get_optimizers_for_module(module))


def _fuse(optimizers: Iterable[torch.optim.Optimizer]) -> None:
    for optimizer in optimizers:
        if type(optimizer) is torch.optim.Adam:
            for group in optimizer.param_groups:
                group["fused"] = True


def train(
    algorithm: Algorithm,
    run: RunFolder,
    limits: Limits,
    on_row: Callable[[Row], None],
    on_fault: Callable[[str], None],
    world: AuctionConfig | None,
) -> bool:
    """Trains until a limit or a signal; the last thing it does is to write a checkpoint.

    Args:
        algorithm: built, and restored if the run is resumed.
        run: where to write; rows that are in `progress.csv` count as done.
        limits: when to stop.
        on_row: is called after every iteration with the new row of progress.
        on_fault: is called with what an environment did after which training goes on.
        world: of the ad auction, for the profit in % of the Bayes policy; None for other envs.

    Returns:
        Whether it was stopped by SIGINT or SIGTERM before it was done.

    Raises:
        UserError: a worker met data that only the user can fix; a checkpoint is written before.
    """
    rows = run.read_progress()
    iterations = Iterations(algorithm, rows[-1] if rows else START, world)
    last_fault = "none was reported; see Ray's logs"
    writer = SummaryWriter(str(run.path), write_to_disk=True)
    saved_at, last_saved = time.monotonic(), iterations.row["iteration"]

    def save() -> None:
        nonlocal saved_at, last_saved
        row = iterations.row
        if row["iteration"] != last_saved:
            run.save_checkpoint(lambda path: save_algorithm(algorithm, path), row)
            saved_at, last_saved = time.monotonic(), row["iteration"]

    with writer, _stop_signals() as stopped:
        while limits.done(iterations.row, iterations.waited) < 1.0 and not stopped:
            try:
                row = iterations.advance()
            except Exception:
                save()
                raise
            for last_fault in iterations.take_faults():
                on_fault(last_fault)
            if row is None:
                if iterations.waited > _MOST_SILENT_SECONDS:
                    save()
                    raise RuntimeError(
                        f"no worker has sampled anything in {iterations.waited:.0f} s; the last "
                        f"fault: {last_fault}"
                    )
                continue
            run.append_progress(row)
            for name, value in row.items():
                if value is not None:
                    writer.add_scalar(f"run/{name}", value, row["steps"])
            on_row(row)
            if time.monotonic() - saved_at > _CHECKPOINT_SECONDS:
                save()
        if iterations.row["iteration"] == 0 and not stopped:
            raise UserError(
                f"stop-time-s ended the run after {iterations.waited:.0f} s, before the first "
                "steps came in; give it more time, or the workers a smaller rollout_fragment_length"
            )
        save()
        return bool(stopped) and limits.done(iterations.row) < 1.0


def save_algorithm(algorithm: Algorithm, folder: Path) -> None:
    """Writes RLlib's checkpoint into a folder that does not exist yet."""
    folder.mkdir()
    algorithm.save_checkpoint(str(folder))


@contextlib.contextmanager
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

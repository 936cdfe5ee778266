"""The commands of training, as functions: what the command line calls and tests call.

- `run_training`: a new or resumed run, from options to the report.
- `run_evaluation`: a checkpoint on fresh campaigns.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from rich.console import Console

from envs.ad_auction.presets import AuctionConfig
from rllib_seq.errors import Interrupted, UserError
from rllib_seq.rollouts import forget_errors, heed_workers
from rllib_seq.training.calibration_view import calibration_table
from rllib_seq.training.console import TrainingDisplay, comparison_table, counting
from rllib_seq.training.evaluation import evaluate, references, rows, summarize
from rllib_seq.training.experiment import (
    Options,
    auction_config,
    load_config,
    model_settings,
    plays_one_stream,
    prepare,
)
from rllib_seq.training.forecasts import RecordedBids, calibrate, futures_in_all
from rllib_seq.training.offline import learn_offline
from rllib_seq.training.policies import TrainedBids
from rllib_seq.training.report import write_report
from rllib_seq.training.run_folder import RunFolder, find_checkpoint, read_json, write_json
from rllib_seq.training.trainer import Limits, resumed_config, start_ray, train

__all__ = ["Interrupted", "Protocol", "resume_training", "run_evaluation", "run_training"]


@dataclass(frozen=True)
class Protocol:
    """How to evaluate: the same for every policy."""

    seed: int = 1000
    """First of the evaluation seeds."""
    num_seeds: int = 3
    episodes: int = 4
    """Campaigns per seed."""
    num_users: int = 2048
    """Users of one campaign; a budget grows with them. A policy whose stream is the whole campaign
    plays the users that it was trained with: with more, its window would reach less far."""

    def __post_init__(self) -> None:
        """Raises UserError on a bad value."""
        if not 0 <= self.seed < 2**31:
            raise UserError(f"seed is {self.seed}; give a whole number from 0 to 2147483647")
        if self.episodes < 1:
            raise UserError(f"episodes is {self.episodes}; give a whole number of at least 1")


def run_training(
    module: str,
    options: Options,
    limits: Limits,
    storage: Path,
    console: Console,
    protocol: Protocol | None = None,
    offline: Sequence[Path] = (),
) -> dict[str, Any]:
    """Trains a config from the start and evaluates it.

    Args:
        module: see `experiment.load_config`.
        options: what to change in it.
        limits: when to stop.
        storage: the run folder is made in here.
        console: where progress and the table go.
        protocol: of the evaluation at the end.
        offline: learn from these records (see `offline`) instead of playing.

    Returns:
        `{"run", "checkpoint", "evaluation"}`; evaluation is None outside the ad auction.

    Raises:
        UserError: something that the user can mend.
        Interrupted: a signal came; a checkpoint was written before.
    """
    config = load_config(module)
    if offline:
        learn_offline(config, offline)
    config = prepare(config, options)
    world = auction_config(config)
    name = f"{module.removesuffix('.py').replace('/', '.').rsplit('.', 1)[-1]}"
    run = RunFolder.create(
        storage,
        name if world is None else f"{name}-{world.preset}",
        {
            "module": str(Path(module).resolve()) if module.endswith(".py") else module,
            "options": dataclasses.asdict(options),
            "offline": [str(path) for path in offline],
            "stop": _finite_limits(limits),
            "algorithm": config.algo_class.__name__,
            "env": str(config.env),
            "env_config": dict(config.env_config),
            "model": _model(config),
            "num_env_runners": config.num_env_runners,
            "seed": config.seed,
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("rllib-seq", "ray", "torch", "numpy")},
            },
        },
    )
    return _session(config, run, limits, None, console, protocol or Protocol())


def resume_training(
    path: Path, limits: Limits | None, console: Console, protocol: Protocol | None = None
) -> dict[str, Any]:
    """Goes on with a run from its newest checkpoint.

    Args:
        path: the run folder.
        limits: over all sessions of the run; None: those that it was started with.
        console: where progress and the table go.
        protocol: of the evaluation at the end.

    Returns:
        See `run_training`; raises the same.
    """
    run = RunFolder.open(path)
    settings = run.config
    try:
        module, seed = settings["module"], settings["seed"]
        limits = limits or Limits(**settings["stop"])
    except (KeyError, TypeError) as error:
        raise UserError(f"{str(path)!r} has a config.json that misses {error}") from error
    load_config(module)  # for the environments and models that it registers
    checkpoint = find_checkpoint(run.path)
    standing = read_json(checkpoint / "progress.json")
    config = resumed_config(checkpoint)
    if seed is not None:  # other campaigns than the sessions before
        session = np.random.SeedSequence((seed, standing["iteration"]))
        config.debugging(seed=int(session.generate_state(1)[0]))
    run.rewind_progress(standing["iteration"])
    return _session(config, run, limits, checkpoint, console, protocol or Protocol())


def _session(
    config: AlgorithmConfig,
    run: RunFolder,
    limits: Limits,
    checkpoint: Path | None,
    console: Console,
    protocol: Protocol,
) -> dict[str, Any]:
    world = auction_config(config)
    console.print(f"run folder: {run.path}", soft_wrap=True, markup=False)
    start_ray(config.num_env_runners)
    try:
        config.validate()
    except ValueError as error:  # RLlib's word for settings that do not fit each other
        raise UserError(" ".join(str(error).split())) from error
    forget_errors()
    algorithm = heed_workers(config.build_algo)
    logdir = Path(algorithm.logdir)
    try:
        if checkpoint is not None:
            algorithm.restore(str(checkpoint))
            console.print(f"resumed from {checkpoint.name}")
        with TrainingDisplay(console, limits) as display:
            stopped = train(algorithm, run, limits, display.show, world)
    finally:
        algorithm.stop()
        if not any(logdir.iterdir()):  # RLlib makes one in ~/ray_results and does not use it
            logdir.rmdir()
    if stopped and not run.checkpoints():
        raise Interrupted("stopped before the first steps came in; there is nothing to go on with")
    newest = find_checkpoint(run.path)
    if stopped:
        raise Interrupted(
            f"stopped; {newest.name} is written. Go on with: rllib-seq train --resume {run.path}"
        )
    evaluation = None
    if world is not None:
        evaluation = run_evaluation(newest, world, protocol, console)
        write_json(run.path / "evaluation.json", evaluation)
    report = write_report(run)
    for what, where in (("checkpoint", newest), ("report", report), ("run folder", run.path)):
        console.print(f"{what}: {where}", soft_wrap=True, markup=False)
    return {"run": str(run.path), "checkpoint": str(newest), "evaluation": evaluation}


def run_evaluation(
    checkpoint: Path, world: AuctionConfig, protocol: Protocol, console: Console
) -> dict[str, Any]:
    """Plays a checkpoint and the references on fresh campaigns and prints the table.

    Args:
        checkpoint: a checkpoint or run folder.
        world: whose users, market and budget.
        protocol: seeds and numbers.
        console: where progress and the table go.

    Returns:
        The content of `evaluation.json`.
    """
    checkpoint = find_checkpoint(checkpoint)
    config = resumed_config(checkpoint)
    one_stream, trained_in = plays_one_stream(config), auction_config(config)
    num_users = trained_in.num_users if one_stream and trained_in else protocol.num_users
    world = world.with_users(num_users)
    bidder = TrainedBids.from_checkpoint(checkpoint, one_stream)
    recorded = RecordedBids(bidder) if bidder.heads else None
    policies = [recorded or bidder, *references(world.build_preset())]
    seeds = list(range(protocol.seed, protocol.seed + protocol.num_seeds))
    total = len(policies) * len(seeds) * protocol.episodes
    with counting(console, "evaluating", total) as count:
        campaigns = evaluate(policies, world, seeds, protocol.episodes, count)
    evaluation: dict[str, Any] = {
        "preset": world.preset,
        "checkpoint": str(checkpoint),
        "seeds": seeds,
        "episodes": protocol.episodes,
        "num_users": world.num_users,
        "policies": rows(campaigns),
        "summary": summarize(campaigns),
    }
    console.print(comparison_table(evaluation))
    if recorded is not None:
        with counting(console, "calibrating", futures_in_all(recorded, seeds)) as count:
            evaluation["calibration"] = calibrate(recorded, world, seeds, count)
        console.print(calibration_table(evaluation["calibration"]))
    return evaluation


def checkpoint_world(checkpoint: Path, preset: str | None) -> AuctionConfig:
    """The world that a checkpoint was trained in, or another preset as it stands.

    Raises:
        UserError: the preset is unknown, or the checkpoint is not of the ad auction.
    """
    world = auction_config(resumed_config(find_checkpoint(checkpoint)))
    if preset is None and world is None:
        raise UserError(f"{str(checkpoint)!r} was not trained in the ad auction; name a --preset")
    if preset is None or (world is not None and world.preset == preset):
        assert world is not None
        return world
    try:
        return AuctionConfig(preset=preset)
    except ValueError as error:
        raise UserError(str(error)) from error


def _finite_limits(limits: Limits) -> dict[str, float]:
    return {k: v for k, v in dataclasses.asdict(limits).items() if v != float("inf")}


def _model(config: AlgorithmConfig) -> dict[str, Any]:
    """Only what an experiment sets: RLlib's model config has a hundred defaults."""
    new_stack = config.enable_rl_module_and_learner
    settings = model_settings(config)
    if new_stack and settings is not None:
        return {"sequence_config": dataclasses.asdict(settings)}
    model = config.model_config if new_stack else config.model
    keys = ("custom_model", "custom_model_config", "max_seq_len", "fcnet_hiddens", "use_lstm")
    return {key: model[key] for key in keys if key in model}

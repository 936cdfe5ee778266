"""The commands of training, as functions: what the command line calls and tests call.

- `run_training`: a new or resumed run, from options to the report.
- `evaluate_checkpoint`: a checkpoint on fresh campaigns, or on the held-out days of its log.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping, Sequence
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
from rllib_seq.training.auction_logs import replay_config, replay_world
from rllib_seq.training.calibration_view import calibration_table
from rllib_seq.training.console import TrainingDisplay, comparison_table, counting
from rllib_seq.training.evaluation import evaluate, over, references, rows, summarize
from rllib_seq.training.experiment import (
    REPLAY_ENV,
    Options,
    auction_config,
    load_config,
    model_settings,
    plays_one_stream,
    prepare,
)
from rllib_seq.training.files import check_seal, read_json, write_json
from rllib_seq.training.forecasts import RecordedBids, calibrate, futures_in_all
from rllib_seq.training.offline import learn_offline
from rllib_seq.training.policies import TrainedBids
from rllib_seq.training.ray_session import cpus_of, ray_session
from rllib_seq.training.replay_evaluation import evaluate_replay
from rllib_seq.training.report import write_report
from rllib_seq.training.run_folder import RunFolder, find_checkpoint, split_checkpoint
from rllib_seq.training.showcase import record
from rllib_seq.training.trainer import Limits, resumed_config, train

__all__ = [
    "Protocol",
    "description",
    "evaluate_checkpoint",
    "finish_run",
    "resume_training",
    "run_evaluation",
    "run_training",
    "short_name",
    "validate",
]

_USERS_SHOWN = 512  # of the campaign that the report draws


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
    storage: Path | str,
    console: Console,
    protocol: Protocol | None = None,
    offline: Sequence[Path] = (),
) -> dict[str, Any]:
    """Trains a config from the start and evaluates it.

    Args:
        module: see `experiment.load_config`.
        options: what to change in it.
        limits: when to stop.
        storage: the run folder is made in here; a folder, or the URI of one.
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
    validate(config)
    name = short_name(module)
    run = RunFolder.create(
        storage,
        name if world is None else f"{name}-{world.preset}",
        description(module, options, limits, config, offline),
    )
    return _session(config, run, limits, None, console, protocol or Protocol())


def description(
    module: str,
    options: Options,
    limits: Limits,
    config: AlgorithmConfig,
    offline: Sequence[Path] = (),
) -> dict[str, Any]:
    """What is run, with versions: the content of `config.json`."""
    return {
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
    }


def resume_training(
    place: Path | str, limits: Limits | None, console: Console, protocol: Protocol | None = None
) -> dict[str, Any]:
    """Goes on with a run from its newest checkpoint, or from the checkpoint that is given.

    Optimizer, step count, schedules, and what the algorithm else keeps come from the checkpoint.
    Campaigns and exploration are drawn anew, from the run's seed and the iteration: a resumed run
    plays no campaign twice, and resuming twice from the same checkpoint gives the same twice.

    Args:
        place: the run folder or the URI of one; or one of its checkpoints, whose successors are
            removed.
        limits: over all sessions of the run; None: those that it was started with.
        console: where progress and the table go.
        protocol: of the evaluation at the end.

    Returns:
        See `run_training`; raises the same.
    """
    place, chosen = split_checkpoint(place)
    run = RunFolder.open(place)
    settings = run.config
    try:
        module, seed = settings["module"], settings["seed"]
        limits = limits or Limits(**settings["stop"])
    except (KeyError, TypeError) as error:
        raise UserError(f"{str(place)!r} has a config.json that misses {error}") from error
    load_config(module)  # for the environments and models that it registers
    checkpoint = find_checkpoint(run.path if chosen is None else run.path / chosen)
    check_seal(checkpoint)
    standing = read_json(checkpoint / "progress.json")
    config = resumed_config(checkpoint)
    if seed is not None:
        session = np.random.SeedSequence((seed, standing["iteration"]))
        config.debugging(seed=int(session.generate_state(1)[0]))
    for later in run.checkpoints():
        if later > checkpoint:
            run.remove_checkpoint(later)
            console.print(f"{later.name} is removed: the run goes on from {checkpoint.name}")
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
    console.print(f"run folder: {run.place}", soft_wrap=True, markup=False)
    try:
        with ray_session(cpus_of(config), console, logs=run.path / "ray_logs"):
            stopped = _train(config, run, limits, checkpoint, console)
            if stopped and not run.checkpoints():
                raise Interrupted(
                    "stopped before the first steps came in; there is nothing to go on with"
                )
            newest = find_checkpoint(run.path)
            if stopped:
                raise Interrupted(
                    f"stopped; {newest.name} is written. Go on with: rllib-seq train --resume "
                    f"{run.place}"
                )
            # RLlib knows our models as long as Ray is there.
            return finish_run(run, newest, config, protocol, console)
    finally:
        run.publish()
        run.close()


def _train(
    config: AlgorithmConfig,
    run: RunFolder,
    limits: Limits,
    checkpoint: Path | None,
    console: Console,
) -> bool:
    """Builds, restores, trains; whether a signal stopped it before its limits."""
    forget_errors()
    algorithm = heed_workers(config.build_algo)
    logdir = Path(algorithm.logdir)
    try:
        if checkpoint is not None:
            algorithm.restore(str(checkpoint))
            console.print(f"resumed from {checkpoint.name}")
        with TrainingDisplay(console, limits) as display:
            world = auction_config(config)
            return train(algorithm, run, limits, display.show, display.warn, world)
    finally:
        algorithm.stop()
        if not any(logdir.iterdir()):  # RLlib makes one in ~/ray_results and does not use it
            logdir.rmdir()


def validate(config: AlgorithmConfig) -> None:
    """RLlib's own checks of a config.

    Raises:
        UserError: settings do not fit each other.
    """
    try:
        config.validate()
    except ValueError as error:
        raise UserError(" ".join(str(error).split())) from error


def finish_run(
    run: RunFolder,
    checkpoint: Path,
    config: AlgorithmConfig,
    protocol: Protocol,
    console: Console,
    others: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """Evaluates a run in the ad auction, writes its report and says where all is.

    Args:
        run: its folder.
        checkpoint: in it.
        config: that it was trained with.
        protocol: of the evaluation.
        console: where the table goes.
        others: see `run_evaluation`.

    Returns:
        See `run_training`.
    """
    evaluation = None
    if auction_config(config) is not None or config.env == REPLAY_ENV:
        evaluation = evaluate_checkpoint(checkpoint, None, protocol, console, others)
        write_json(run.path / "evaluation.json", evaluation)
    report = write_report(run)
    run.publish()
    for what, name in (("checkpoint", checkpoint.name), ("report", report.name)):
        console.print(f"{what}: {run.place_of(name)}", soft_wrap=True, markup=False)
    console.print(f"run folder: {run.place}", soft_wrap=True, markup=False)
    return {
        "run": run.place,
        "checkpoint": run.place_of(checkpoint.name),
        "evaluation": evaluation,
    }


def evaluate_checkpoint(
    checkpoint: Path,
    preset: str | None,
    protocol: Protocol,
    console: Console,
    others: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """Plays a checkpoint where it was trained, or in another preset, and prints the table.

    Args:
        checkpoint: a checkpoint folder.
        preset: None: that of the training.
        protocol: seeds and numbers, of simulated campaigns.
        console: where progress and the table go.
        others: see `run_evaluation`.

    Returns:
        The content of `evaluation.json`.

    Raises:
        UserError: the preset is unknown or another kind of environment, or the log is gone.
    """
    config = resumed_config(checkpoint)
    if config.env == REPLAY_ENV:
        if preset not in (None, "log"):
            raise UserError(
                f"{str(checkpoint)!r} was trained on a log, whose observations preset {preset!r} "
                "does not have; leave --preset out"
            )
        check_seal(checkpoint)
        paths, _ = replay_config(config.env_config)
        return evaluate_replay(checkpoint, replay_world(config.env_config), paths, console)
    world = checkpoint_world(checkpoint, preset)
    return run_evaluation(checkpoint, world, protocol, console, others)


def run_evaluation(
    checkpoint: Path,
    world: AuctionConfig,
    protocol: Protocol,
    console: Console,
    others: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """Plays a checkpoint and the references on fresh campaigns and prints the table.

    Args:
        checkpoint: a checkpoint or run folder.
        world: whose users, market and budget.
        protocol: seeds and numbers.
        console: where progress and the table go.
        others: more checkpoints of the same environment that play, by the names of their policies.

    Returns:
        The content of `evaluation.json`.
    """
    checkpoint = find_checkpoint(checkpoint)
    check_seal(checkpoint)
    config = resumed_config(checkpoint)
    one_stream, trained_in = plays_one_stream(config), auction_config(config)
    num_users = trained_in.num_users if one_stream and trained_in else protocol.num_users
    world = world.with_users(num_users)
    bidder = TrainedBids.from_checkpoint(checkpoint, one_stream)
    recorded = RecordedBids(bidder) if bidder.heads else None
    rivals = [_named(name, path, one_stream) for name, path in (others or {}).items()]
    policies = [recorded or bidder, *rivals, *references(world.build_preset())]
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
    if others:
        trained = recorded or bidder
        evaluation["over_others"] = {
            name: over(campaigns, trained.name, name)._asdict() for name in others
        }
    console.print(comparison_table(evaluation))
    shown = min(num_users, _USERS_SHOWN)
    evaluation["campaign"] = record(bidder, world if one_stream else world.with_users(shown))
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


def _named(name: str, checkpoint: Path, one_stream: bool) -> TrainedBids:
    bidder = TrainedBids.from_checkpoint(checkpoint, one_stream)
    bidder.name = name
    return bidder


def short_name(module: str) -> str:
    """A module or file as the beginning of a folder's name: `ppo` of `tune_configs.ppo`."""
    return module.removesuffix(".py").replace("/", ".").rsplit(".", 1)[-1]


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

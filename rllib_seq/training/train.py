"""Runs: what `rllib-seq train` calls.

- `run_training`, `resume_training`: from options, or from a checkpoint, to a `TrainingResult`
- `finish_run`: the evaluation and the report, for the best trial of a sweep too
- `description`, `short_name`, `validate`: what sweeps share with runs
"""

from __future__ import annotations

import dataclasses
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from rich.console import Console

from rllib_seq.errors import Interrupted, UserError
from rllib_seq.training.config.checks import REPLAY_ENV, auction_config, model_settings
from rllib_seq.training.config.experiment import Options, prepare
from rllib_seq.training.config.modules import load_config
from rllib_seq.training.evaluation.comparison import EvaluationProtocol, evaluate_checkpoint
from rllib_seq.training.evaluation.results import Evaluation
from rllib_seq.training.reports.run_report import write_report
from rllib_seq.training.run.console import TrainingDisplay
from rllib_seq.training.run.offline import learn_offline
from rllib_seq.training.run.ray_session import cpus_of, ray_session
from rllib_seq.training.run.trainer import Limits, build_algorithm, resumed_config, train
from rllib_seq.training.seeds import resume_seed
from rllib_seq.training.storage.files import read_json, write_json
from rllib_seq.training.storage.run_folder import RunFolder, find_checkpoint, split_checkpoint


@dataclass(frozen=True)
class TrainingResult:
    """A finished run; places are paths or URIs."""

    run: str
    checkpoint: str
    """The last one."""
    evaluation: Evaluation | None
    """None outside the ad auction, and where none was asked for."""

    def to_json(self) -> dict[str, Any]:
        """What `--json FILE` writes."""
        return {
            "run": self.run,
            "checkpoint": self.checkpoint,
            "evaluation": None if self.evaluation is None else self.evaluation.to_json(),
        }


def run_training(
    module: str,
    options: Options,
    limits: Limits,
    storage: Path | str,
    console: Console,
    protocol: EvaluationProtocol | None = EvaluationProtocol(),  # noqa: B008, is frozen
    offline: Sequence[Path] = (),
) -> TrainingResult:
    """Trains a config from the start and evaluates it.

    Args:
        module: see `experiment.load_config`.
        options: what to change in it.
        limits: when to stop.
        storage: the run folder is made in here; a folder, or the URI of one.
        console: where progress and the table go.
        protocol: of the evaluation at the end; None: no evaluation.
        offline: learn from these records (see `offline`) instead of playing.

    Raises:
        UserError: something that the user can fix.
        Interrupted: a signal came; a checkpoint was written before.
    """
    config = prepare(load_config(module), options)
    if offline:
        learn_offline(config, offline)
    world = auction_config(config)
    validate(config)
    name = short_name(module)
    run = RunFolder.create(
        storage,
        name if world is None else f"{name}-{world.world}",
        description(module, options, limits, config, offline),
    )
    return _session(config, run, limits, None, console, protocol)


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
        "env_config": _printable(config.env_config),
        "model": _printable(_model(config)),
        "num_env_runners": config.num_env_runners,
        "seed": config.seed,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("rllib-seq", "ray", "torch", "numpy")},
        },
    }


def resume_training(
    place: Path | str,
    limits: Limits | None,
    console: Console,
    protocol: EvaluationProtocol | None = EvaluationProtocol(),  # noqa: B008, is frozen
) -> TrainingResult:
    """Goes on with a run from its newest checkpoint, or from the checkpoint that is given.

    Optimizer, step count, schedules, and what the algorithm else keeps come from the checkpoint.
    Campaigns and exploration are drawn again, from the run's seed and the iteration: a resumed run
    plays no campaign twice, and resuming twice from the same checkpoint gives the same twice.

    Args:
        place: the run folder or the URI of one; or one of its checkpoints, whose successors are
            removed.
        limits: over all sessions of the run; None: those that it was started with.
        console: where progress and the table go.
        protocol: of the evaluation at the end; None: no evaluation.

    Raises:
        UserError, Interrupted: see `run_training`.
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
    config = resumed_config(checkpoint)
    standing = read_json(checkpoint / "progress.json")
    if seed is not None:
        config.debugging(seed=resume_seed(seed, standing["iteration"]))
    for later in run.checkpoints():
        if later > checkpoint:
            run.remove_checkpoint(later)
            console.print(f"{later.name} is removed: the run goes on from {checkpoint.name}")
    run.rewind_progress(standing["iteration"])
    return _session(config, run, limits, checkpoint, console, protocol)


def _session(
    config: AlgorithmConfig,
    run: RunFolder,
    limits: Limits,
    checkpoint: Path | None,
    console: Console,
    protocol: EvaluationProtocol | None,
) -> TrainingResult:
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
            try:
                return finish_run(run, newest, config, protocol, console)
            except KeyboardInterrupt:
                raise Interrupted(
                    f"stopped; {newest.name} is written. Evaluate it with: rllib-seq evaluate "
                    f"{run.place}"
                ) from None
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
    algorithm = build_algorithm(config)
    try:
        if checkpoint is not None:
            algorithm.restore(str(checkpoint))
            console.print(f"resumed from {checkpoint.name}")
        with TrainingDisplay(console, limits) as display:
            world = auction_config(config)
            return train(algorithm, run, limits, display.show, display.warn, world)
    finally:
        algorithm.stop()


def validate(config: AlgorithmConfig) -> None:
    """RLlib's own checks of a config.

    Raises:
        UserError: settings do not fit each other, or there is no environment.
    """
    if config.env is None and config.observation_space is None and not config.is_multi_agent:
        raise UserError("the config has no environment; add .environment(...): an id or a class")
    try:
        config.validate()
    except ValueError as error:
        raise UserError(" ".join(str(error).split())) from error


def finish_run(
    run: RunFolder,
    checkpoint: Path,
    config: AlgorithmConfig,
    protocol: EvaluationProtocol | None,
    console: Console,
    others: Mapping[str, Path] | None = None,
) -> TrainingResult:
    """Evaluates a run in the ad auction, writes its report and says where all is.

    Args:
        run: its folder.
        checkpoint: in it.
        config: that it was trained with.
        protocol: of the evaluation; None: no evaluation.
        console: where the table goes.
        others: see `comparison.run_evaluation`.
    """
    evaluation = None
    in_auction = auction_config(config) is not None or config.env == REPLAY_ENV
    if in_auction and protocol is None:
        console.print(f"not evaluated; evaluate it with: rllib-seq evaluate {run.place}")
    elif in_auction:
        assert protocol is not None
        evaluation = evaluate_checkpoint(checkpoint, None, protocol, console, others)
        write_json(run.path / "evaluation.json", evaluation.to_json())
    report = write_report(run)
    run.publish()
    for what, name in (("checkpoint", checkpoint.name), ("report", report.name)):
        console.print(f"{what}: {run.place_of(name)}", soft_wrap=True, markup=False)
    console.print(f"run folder: {run.place}", soft_wrap=True, markup=False)
    return TrainingResult(run.place, run.place_of(checkpoint.name), evaluation)


def short_name(module: str) -> str:
    """A module or file as the beginning of a folder's name: `ppo` of `tune_configs.ppo`."""
    return module.removesuffix(".py").replace("/", ".").rsplit(".", 1)[-1]


def _finite_limits(limits: Limits) -> dict[str, float]:
    return {k: v for k, v in dataclasses.asdict(limits).items() if v != float("inf")}


def _printable(value: Any) -> Any:
    """A setting as JSON has it; what JSON has no word for, as it prints."""
    if isinstance(value, Mapping):
        return {str(key): _printable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(each) for each in value]
    if isinstance(value, np.generic):
        return _printable(value.item())
    plain = value is None or isinstance(value, bool | int | str)
    return value if plain or (isinstance(value, float) and math.isfinite(value)) else str(value)


def _model(config: AlgorithmConfig) -> dict[str, Any]:
    """Only what an experiment sets: RLlib's model config has a hundred defaults."""
    new_stack = config.enable_rl_module_and_learner
    settings = model_settings(config)
    if new_stack and settings is not None:
        return {"sequence_config": dataclasses.asdict(settings)}
    model = config.model_config if new_stack else config.model
    keys = ("custom_model", "custom_model_config", "max_seq_len", "fcnet_hiddens", "use_lstm")
    return {key: model[key] for key in keys if key in model}

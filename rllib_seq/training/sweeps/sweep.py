"""Sweeps: many trials of a config by Ray Tune, the best one evaluated and exported.

- `run_sweep`, `resume_sweep`: what `rllib-seq tune` calls
- `load_sweep`: `config`, `search_space`, `tune_config` and `stop` of a module

A sweep's folder is Tune's, with some files of ours:

sweeps/NAME/
  sweep.json           what was searched
  trial_00000/ ...     Tune's: progress and checkpoints of a trial
  trials.json          how each trial ended, its settings and its curve
  report.html          all of it to look at
  best/                the run folder of the best trial: evaluate it, resume it, export it
"""

from __future__ import annotations

import copy
import dataclasses
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import OutOfMemoryError
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator
from rich.console import Console

from rllib_seq.errors import Interrupted, UserError
from rllib_seq.training.config.experiment import Options
from rllib_seq.training.config.modules import config_in, load_module
from rllib_seq.training.evaluation.comparison import EvaluationProtocol
from rllib_seq.training.run.ray_session import ray_session
from rllib_seq.training.run.trainer import Limits
from rllib_seq.training.sweeps.console import SweepDisplay, TrialWatcher
from rllib_seq.training.sweeps.default_trial import SparesDefault
from rllib_seq.training.sweeps.folder import SweepFolder
from rllib_seq.training.sweeps.results import SweepResult, finish_sweep
from rllib_seq.training.sweeps.search_space import check_space, default_point
from rllib_seq.training.sweeps.trial import Trial, TrialSetup, trial_resources
from rllib_seq.training.train import short_name, validate

_RETRIES = 2  # of a trial whose process died, from its newest checkpoint
_DEFAULT_STOP = {"seconds": 300.0}


@dataclass(frozen=True)
class SweepOptions:
    """What the command line says of a sweep; None leaves it as the module says."""

    num_samples: int | None = None
    """Trials."""
    stop_steps: float | None = None
    """Of one trial, at most."""
    stop_time_s: float | None = None
    """Of one trial's training, at most."""
    cpus_per_trial: float | None = None
    """CPUs of one trial with its workers."""
    gpus_per_trial: float | None = None
    """GPUs of one trial's learners."""
    trial: Options = field(default_factory=Options)
    """What to change in every trial."""

    def __post_init__(self) -> None:
        """Raises UserError if a number is not positive."""
        for name in ("num_samples", "cpus_per_trial", "gpus_per_trial"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(
                    f"{name.replace('_', '-')} is {value}; give a number above 0, or leave it out"
                )
        for name, value in (("seconds", self.stop_time_s), ("steps", self.stop_steps)):
            if value is not None:
                Limits(**{name: value})


@dataclass(frozen=True)
class Sweep:
    """What a module says of a sweep."""

    config: AlgorithmConfig
    search_space: dict[str, Any]
    tune_config: tune.TuneConfig
    stop: dict[str, float]
    """Limits of one trial, by the names of its results."""


def load_sweep(module: str) -> Sweep:
    """Reads a sweep from a module.

    Args:
        module: see `experiment.load_config`; besides `config` it holds `search_space` and
            `tune_config`, and may hold `stop`.

    Raises:
        UserError: something is missing or wrong.
    """
    loaded = load_module(module)
    config = config_in(loaded, module)
    search_space, tune_config = (
        getattr(loaded, name, None) for name in ("search_space", "tune_config")
    )
    if search_space is None:
        raise UserError(f"{module} has no search_space; see tune_configs/ppo_asha.py for one")
    check_space(config, search_space)
    if not isinstance(tune_config, tune.TuneConfig) or tune_config.metric is None:
        raise UserError(
            f"{module} has no ray.tune.TuneConfig named 'tune_config' with a metric and a mode; "
            "see tune_configs/ppo_asha.py for one"
        )
    return Sweep(config, search_space, tune_config, getattr(loaded, "stop", _DEFAULT_STOP))


def run_sweep(
    module: str,
    options: SweepOptions,
    storage: Path | str,
    console: Console,
    protocol: EvaluationProtocol | None = None,
) -> SweepResult:
    """Searches, evaluates the best trial on fresh campaigns, and exports it.

    Args:
        module: see `load_sweep`.
        options: what to change in it.
        storage: the sweep's folder is made in here; a folder, or the URI of one.
        console: where progress and the tables go.
        protocol: of the evaluation of the best trial.

    Raises:
        UserError: something that the user can fix.
        Interrupted: a signal came; the sweep can go on.
    """
    sweep = load_sweep(module)
    setup, stop = _setup(sweep, options), _stop(sweep, options)
    default = default_point(setup.base, sweep.search_space)
    validate(setup.config(default))
    folder = SweepFolder.create(
        storage,
        short_name(module),
        {
            "module": str(Path(module).resolve()) if module.endswith(".py") else module,
            "options": dataclasses.asdict(options),
            "metric": sweep.tune_config.metric,
            "mode": sweep.tune_config.mode,
            "stop": stop,
            "default": default,
        },
    )

    def tuner() -> tune.Tuner:
        return tune.Tuner(
            _trainable(setup),
            param_space=copy.deepcopy(sweep.search_space),
            tune_config=_tune_config(sweep, options, default),
            run_config=tune.RunConfig(
                name=folder.name,
                storage_path=folder.storage,
                stop=stop,
                failure_config=tune.FailureConfig(max_failures=_RETRIES),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=True),
                callbacks=[TrialWatcher()],
                verbose=0,
            ),
        )

    return _search(module, tuner, setup, default, folder, console, protocol or EvaluationProtocol())


def resume_sweep(
    module: str,
    options: SweepOptions,
    storage: Path | str,
    console: Console,
    protocol: EvaluationProtocol | None = None,
) -> SweepResult:
    """Goes on with the newest sweep of a module; finished trials stay as they are.

    Args:
        module: of the sweep.
        options: those that the sweep was started with, or none.
        storage: where the sweep's folder lies.
        console: where progress and the tables go.
        protocol: of the evaluation of the best trial.

    Raises:
        UserError, Interrupted: see `run_sweep`.
    """
    sweep = load_sweep(module)
    absolute = str(Path(module).resolve()) if module.endswith(".py") else module
    folder = SweepFolder.newest(storage, absolute)
    settings = folder.settings
    given = dataclasses.asdict(options)
    if options != SweepOptions() and given != settings["options"]:
        raise UserError(
            f"--resume goes on with the sweep's own settings, {settings['options']}; leave the "
            "other options out"
        )
    began_with = dict(settings["options"])
    options = SweepOptions(**{**began_with, "trial": Options(**began_with["trial"])})
    setup = _setup(sweep, options)

    def tuner() -> tune.Tuner:
        return tune.Tuner.restore(folder.place, _trainable(setup), resume_errored=True)

    return _search(
        module, tuner, setup, settings["default"], folder, console, protocol or EvaluationProtocol()
    )


def _setup(sweep: Sweep, options: SweepOptions) -> TrialSetup:
    return TrialSetup(sweep.config, options.trial, options.cpus_per_trial, options.gpus_per_trial)


def _stop(sweep: Sweep, options: SweepOptions) -> dict[str, float]:
    given = {"steps": options.stop_steps, "seconds": options.stop_time_s}
    return {name: value for name, value in given.items() if value is not None} or sweep.stop


def _trainable(setup: TrialSetup) -> Any:
    return tune.with_resources(
        tune.with_parameters(Trial, setup=setup), lambda sample: trial_resources(setup, sample)
    )


def _tune_config(sweep: Sweep, options: SweepOptions, default: dict[str, Any]) -> tune.TuneConfig:
    """The module's, with the default as the first trial and one process for many trials."""
    config = copy.deepcopy(sweep.tune_config)
    if options.num_samples is not None:
        config.num_samples = options.num_samples
    if config.search_alg is None:
        config.search_alg = BasicVariantGenerator(
            points_to_evaluate=[default],
            random_state=options.trial.seed,
            max_concurrent=config.max_concurrent_trials or 0,
        )
        config.max_concurrent_trials = None
    config.scheduler = SparesDefault(config.scheduler or FIFOScheduler(), default)
    config.reuse_actors = True
    config.trial_name_creator = config.trial_dirname_creator = _trial_name
    return config


def _trial_name(trial: TuneTrial) -> str:
    return f"trial_{trial.trial_id.rsplit('_', 1)[-1]}"


def _search(
    module: str,
    tuner: Any,
    setup: TrialSetup,
    default: dict[str, Any],
    folder: SweepFolder,
    console: Console,
    protocol: EvaluationProtocol,
) -> SweepResult:
    console.print(f"sweep folder: {folder.place}", soft_wrap=True, markup=False)
    settings = folder.settings
    needed = trial_resources(setup, default).required_resources.get("CPU", 0.0)
    for name in ("ray.tune", "ray.train"):  # what they say, the display says
        logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    how_to_go_on = f"rllib-seq tune {module} --storage {folder.storage} --resume"
    stopped = Interrupted(f"stopped. Go on with: {how_to_go_on}")
    try:
        with folder, ray_session(needed, console, logs=folder.path / "ray_logs"):
            display = SweepDisplay(console, settings["metric"], settings["mode"])
            with display, _term_is_int():
                results = _fit(tuner(), how_to_go_on)
            if not TrialWatcher.finished:
                raise stopped
            return finish_sweep(folder, setup, results, protocol, console)
    except KeyboardInterrupt:  # before Tune listens, or when it has ended
        raise stopped from None


def _fit(tuner: tune.Tuner, how_to_go_on: str) -> tune.ResultGrid:
    try:
        return tuner.fit()
    except RuntimeError as error:
        # Tune tries no trial again that Ray ended for its memory, but ends itself.
        if not isinstance(error.__cause__, OutOfMemoryError):
            raise
        raise UserError(
            "memory ran out, and Ray ended trials; make room and go on with: "
            f"{how_to_go_on}; or start again with fewer side by side (--cpus-per-trial 2, say)"
        ) from error


@contextmanager
def _term_is_int() -> Iterator[None]:
    """SIGTERM as well as SIGINT makes Tune stop in order."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

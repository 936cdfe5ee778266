"""From a config and command-line options to a checked AlgorithmConfig.

- `Options`: what the command line may change.
- `change_model`: changes settings of the sequence model.
- `prepare`: applies the options and refuses, before any worker starts, what cannot work.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.utils import force_list

from rllib_seq.errors import UserError
from rllib_seq.models.auxiliary import label_trajectories
from rllib_seq.models.rl_module.configure import change_sequence_settings, sequence_settings
from rllib_seq.registration import MODEL
from rllib_seq.rollouts import count_steps, fault_reporting_worker
from rllib_seq.training.config.checks import (
    AUCTION_ENVS,
    CAMPAIGN_ENV,
    REPLAY_ENV,
    check_environment,
    check_model,
    model_settings,
)

_MOST_ENV_RUNNERS = 1000
_RLLIBS_PROBE_SECONDS = AlgorithmConfig().env_runner_health_probe_timeout_s
_PROBE_SECONDS = 1.0


@dataclass(frozen=True)
class Options:
    """What the command line may change in a config; None leaves it as the module says."""

    preset: str | None = None
    """World of the ad auction."""
    world_seed: int | None = None
    """Of preset drawn."""
    budget: float | None = None
    """Budget of one campaign, currency units."""
    window_length: int | None = None
    """Steps that the model sees."""
    num_env_runners: int | None = None
    """Remote rollout workers; 0 samples in the driver."""
    seed: int | None = None
    """Of weights, exploration and campaigns."""
    reward: str | None = None
    """What training pays, see `AuctionConfig.reward` and `ReplayConfig.reward`. In the simulator, a
    gamma of 0 becomes 1 if it is not a regret, which alone prices what comes after a request, and
    the `reward_scale` of regrets is dropped."""
    auction: str | None = None
    """Mechanism: first_price or second_price."""
    log: tuple[str, ...] | None = None
    """Files of preset log; also the following, see `log_replay.world.ReplayConfig`."""
    budget_ratio: float | None = None
    episode_requests: int | None = None
    held_out_days: int | None = None
    stream: str | None = None
    gain: str | None = None
    reading: dict[str, Any] | None = None
    """How the log names its columns, events and times, see `journeys.reading.ReadingOptions`."""
    observed: dict[str, Any] | None = None
    """What a log tells about the users, see `AuctionConfig.observed`."""
    credits: tuple[float, ...] | None = None
    """Of the channels of the same log, see `AuctionConfig.credits`; taken by the reward that needs
    them."""


@dataclass(frozen=True)
class _World:
    """A kind of environment that options can change."""

    name: str
    envs: tuple[Any, ...]
    settings: dict[str, str]
    """Key in `env_config` of every option that it has."""


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_SIMULATION = _World(
    "simulated presets",
    AUCTION_ENVS,
    _same("preset", "world_seed", "budget", "reward", "auction", "observed"),
)
_REPLAY = _World(
    "preset log",
    (REPLAY_ENV,),
    _same("log", "reading", "budget_ratio", "episode_requests", "held_out_days", "stream", "gain")
    | _same("reward", "auction"),
)
_FLIGHTS = _World("campaign flights", (CAMPAIGN_ENV,), {"preset": "world"})
_WORLDS = (_SIMULATION, _REPLAY, _FLIGHTS)
_WORLD_OPTIONS = tuple(dict.fromkeys(name for world in _WORLDS for name in world.settings))


def prepare(config: AlgorithmConfig, options: Options) -> AlgorithmConfig:
    """Applies options to a config and checks it.

    Args:
        config: is changed in place and returned.
        options: what to change.

    Raises:
        UserError: one line that names the value and the fix.
    """
    _apply(config, options)
    check_model(config)
    check_environment(config)
    settings = model_settings(config)
    if settings is not None and settings.auxiliary and not config.enable_rl_module_and_learner:
        label_trajectories(config)
    if config.env_runner_health_probe_timeout_s == _RLLIBS_PROBE_SECONDS:
        # In every iteration, training would wait that long for workers whose node is gone.
        config.fault_tolerance(env_runner_health_probe_timeout_s=_PROBE_SECONDS)
    if config.env_runner_cls is None and not config.output:  # which RLlib has a class for
        config.env_runners(env_runner_cls=fault_reporting_worker(config))
    if config.enable_env_runner_and_connector_v2:
        others = force_list(config.callbacks_on_sample_end)
        config.callbacks(on_sample_end=[*others, count_steps])
    return config


def _apply(config: AlgorithmConfig, options: Options) -> None:
    if options.num_env_runners is not None:
        if not 0 <= options.num_env_runners <= _MOST_ENV_RUNNERS:
            raise UserError(
                f"num-env-runners is {options.num_env_runners}; give 0 (in the driver) to "
                f"{_MOST_ENV_RUNNERS}"
            )
        config.env_runners(num_env_runners=options.num_env_runners)
    if options.seed is not None:
        if not 0 <= options.seed < 2**31:
            raise UserError(f"seed is {options.seed}; give a whole number from 0 to 2147483647")
        config.debugging(seed=options.seed)
    _change_world(config, options)
    if options.window_length is not None:
        change_model(config, window_length=options.window_length)
    elif sequence_settings(config) is not None:
        change_sequence_settings(config)  # what was set up may depend on the options above


def _change_world(config: AlgorithmConfig, options: Options) -> None:
    """Sets what the options say of the world in `env_config`."""
    world = next((world for world in _WORLDS if config.env in world.envs), None)
    given = {name: getattr(options, name) for name in _WORLD_OPTIONS}
    given = {name: value for name, value in given.items() if value is not None}
    if world is _REPLAY and given.get("preset") == "log":
        del given["preset"]  # it is this environment
    _check_options(given, world, config)
    if world is not None and given:
        if world is _SIMULATION:
            _forget_old_world(config, given)
        changes = {world.settings[name]: value for name, value in given.items()}
        config.environment(env_config={**config.env_config, **changes})
    if config.env_config.get("reward") == "attributed" and options.credits is not None:
        config.environment(env_config={"credits": options.credits, **config.env_config})


def _check_options(given: dict[str, Any], world: _World | None, config: AlgorithmConfig) -> None:
    """Refuses options that the environment has no setting for."""
    if given.get("preset") == "log":
        raise UserError(
            f"preset 'log' is another environment, {REPLAY_ENV!r}, and this config's is "
            f"{config.env!r}; leave the config out, or give tune_configs.ppo_log"
        )
    odd = given.keys() - (world.settings.keys() if world is not None else set())
    if not odd:
        return
    if world is None or world is _FLIGHTS:
        raise UserError(
            f"{_spoken(odd)} can be set for the ad auction only; this config's environment is "
            f"{config.env!r}"
        )
    other = _SIMULATION if world is _REPLAY else _REPLAY
    raise UserError(
        f"{_spoken(odd)} can be set for {other.name} only; leave it out, or give --preset"
    )


def _forget_old_world(config: AlgorithmConfig, given: dict[str, Any]) -> None:
    """Removes settings of a config that fit its own preset and reward alone."""
    if "preset" in given:
        config.env_config.pop("world_seed", None)
    if given.get("reward", "regret") != "regret":
        if config.gamma == 0.0:
            config.training(gamma=1.0)  # a regret alone prices what comes after the request
        # What makes regrets about 1 makes other rewards, and sums of them, far larger.
        config.env_config.pop("reward_scale", None)


def _spoken(names: Iterable[str]) -> str:
    """Options as the command line calls them."""
    words = {"observed": "patterns", "reading": "schema, column, event, time-unit, delimiter, ..."}
    return ", ".join(words.get(name, name.replace("_", "-")) for name in sorted(names))


def change_model(config: AlgorithmConfig, **settings: Any) -> None:
    """Changes settings of the sequence model, of either API stack.

    Raises:
        UserError: the config has another model, or a setting is unknown or wrong.
    """
    if config.model.get("custom_model") == MODEL:
        settings = {**config.model["custom_model_config"], **settings}
        config.training(model={**config.model, "custom_model_config": settings})
    elif sequence_settings(config) is not None:
        change_sequence_settings(config, **settings)
    else:
        raise UserError(
            f"{', '.join(settings)} can be set for custom_model='lstm_transformer' or after "
            "use_sequence_module or use_sequence_q_learning only; this config has another model"
        )

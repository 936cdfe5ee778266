"""What the benchmarks of speed share: contenders, the clock, the machine.

Contenders are measured in turn, round after round, so that whatever else happens on the machine
happens to all of them; a figure is the median of its rounds. Time is processor time of one thread
where a contender works alone, so a busy neighbour costs it a cold cache and not its turn.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

import rllib_seq  # noqa: F401, names model and environment to RLlib
from rllib_seq.models import use_sequence_module
from rllib_seq.rollouts import (
    ArrayEnvRunner,
    ArrayRolloutWorker,
    FaultReportingMultiAgentEnvRunner,
    FaultReportingWorker,
)
from rllib_seq.training.run.console import make_console
from rllib_seq.training.run.trainer import build_algorithm

ROUNDS = 5
USERS, WINDOW, WIDTH = 256, 8, 64
JOURNEY = 24  # requests at most: one sequence
BATCH, MINIBATCH, EPOCHS = 3072, 1024, 2

_GTRXL = {
    "use_attention": True,
    "attention_num_transformer_units": 3,
    "attention_dim": WIDTH,
    "attention_memory_inference": WINDOW,
    "attention_memory_training": WINDOW,
    "fcnet_hiddens": [WIDTH],
}
_LSTM = {"use_lstm": True, "lstm_cell_size": WIDTH, "fcnet_hiddens": [WIDTH]}

RIVALS: dict[str, dict[str, Any]] = {
    "RLlib use_lstm": _LSTM,
    "RLlib GTrXL": {
        **_GTRXL,
        "attention_num_heads": 4,
        "attention_head_dim": WIDTH // 4,
        "attention_position_wise_mlp_dim": 2 * WIDTH,
    },
    "RLlib GTrXL, its own sizes": _GTRXL,  # one head of 32, hidden width 32
    "RLlib MLP": {"fcnet_hiddens": [WIDTH, WIDTH]},
}
"""Models of RLlib's old API stack, by name. GTrXL has three units and a memory of as many steps as
our window, and once the widths of our Transformer blocks. On the new stack it does not exist."""


def ours(**changes: Any) -> dict[str, Any]:
    """Fields of our model, alike in all benchmarks."""
    return {
        "window_length": WINDOW,
        "d_model": WIDTH,
        "dropout": 0.0,
        "prev_reward": False,
        **changes,
    }


def algorithm(
    model: Mapping[str, Any] | None,
    *,
    rival: str | None = None,
    new_stack: bool = False,
    arrays: bool = True,
    users: int = USERS,
    campaigns: int = 1,
    workers: int = 0,
    batch: int = BATCH,
) -> Algorithm:
    """PPO in the ad auction, our model as `rllib-seq train` builds it, a rival as RLlib does.

    Args:
        model: fields of our model, or None for a rival.
        rival: a key of `RIVALS`.
        new_stack: of RLlib's API.
        arrays: sample with our workers, not with RLlib's own.
        users: of one campaign.
        campaigns: side by side in a worker.
        workers: remote ones; 0 samples here.
        batch: agent steps that a worker samples at once, on the old stack.
    """
    config = PPOConfig().environment(
        "multi_user_ad_auction", env_config={"preset": "journey", "num_users": users}
    )
    config.multi_agent(
        policies={"bidder"},
        policy_mapping_fn=lambda agent_id, *args, **kwargs: "bidder",
        count_steps_by="agent_steps",
    )
    config.env_runners(num_env_runners=workers, num_envs_per_env_runner=campaigns)
    config.training(minibatch_size=MINIBATCH, num_epochs=EPOCHS).debugging(seed=0)
    if new_stack:
        config.env_runners(
            env_runner_cls=ArrayEnvRunner if arrays else FaultReportingMultiAgentEnvRunner
        )
        if model is not None:
            use_sequence_module(config, **model)
            return build_algorithm(config)
        settings = RIVALS[rival or ""]
        config.rl_module(
            model_config=DefaultModelConfig(
                fcnet_hiddens=settings["fcnet_hiddens"],
                use_lstm=settings.get("use_lstm", False),
                lstm_cell_size=WIDTH,
                max_seq_len=JOURNEY,
            )
        )
        # With cut episodes RLlib's LSTM fails as soon as only some agents act.
        config.env_runners(batch_mode="complete_episodes")
        return config.build_algo()
    config.api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False)
    settings = RIVALS[rival] if rival else {"custom_model": "lstm_transformer"}
    if model is not None:
        settings = {**settings, "custom_model_config": dict(model)}
    config.training(
        model={**settings, "max_seq_len": JOURNEY}, train_batch_size=batch * max(1, workers)
    )
    config.env_runners(
        env_runner_cls=ArrayRolloutWorker if arrays else FaultReportingWorker,
        rollout_fragment_length=-(-batch // campaigns),
    )
    return config.build_algo() if model is None else build_algorithm(config)


def sampled(sample: Any) -> int:
    """Agent steps of what a worker's `sample` returned, on either stack."""
    if isinstance(sample, list):
        return sum(episode.agent_steps() for episode in sample)
    return int(sample.agent_steps())


def serialized_bytes(value: Any) -> int:
    """What a value takes in Ray's object store."""
    context = ray._private.worker.global_worker.get_serialization_context()
    return int(context.serialize(value).total_bytes)


def in_turn(
    jobs: Mapping[str, Callable[[], float]], rounds: int = ROUNDS
) -> dict[str, dict[str, Any]]:
    """Run all jobs, round after round, after one round that warms up.

    Args:
        jobs: each returns how much of its work it did.
        rounds: that count.

    Returns:
        by job: `us` per unit of work, the median of `rounds`, and all of them as `all_us`.
    """
    console = make_console()
    costs: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(rounds + 1):
        for name, job in jobs.items():
            began = time.process_time()
            done = job()
            costs[name].append(1e6 * (time.process_time() - began) / done)
        console.print(f"round {number} of {rounds}", style="dim")
    return {
        name: {
            "us": round(statistics.median(found[1:]), 2),
            "all_us": [round(cost, 2) for cost in found[1:]],
        }
        for name, found in costs.items()
    }


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it, torch computes in one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Parts:
    """Timers around functions: processor seconds by name.

    Examples:
        >>> import math
        >>> with Parts({"root": (math, "sqrt")}) as parts:
        ...     _ = math.sqrt(2.0)
        >>> sorted(parts.seconds)
        ['root']
    """

    def __init__(self, places: Mapping[str, tuple[Any, str]]) -> None:
        self.seconds = dict.fromkeys(places, 0.0)
        self._places = places
        self._kept: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> Parts:
        for name, (place, function) in self._places.items():
            self._kept.append((place, function, getattr(place, function)))
            setattr(place, function, self._timed(name, self._kept[-1][2]))
        return self

    def __exit__(self, *error: object) -> None:
        for place, function, kept in self._kept:
            setattr(place, function, kept)

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            began = time.thread_time()
            result = function(*args, **kwargs)
            self.seconds[name] += time.thread_time() - began
            return result

        return call


def machine() -> dict[str, Any]:
    """Where it was measured."""
    model = next(
        (line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": [round(load, 1) for load in os.getloadavg()],
        **versions(),
    }


def versions() -> dict[str, str]:
    """What it was measured with."""
    return {
        "python": platform.python_version(),
        "ray": ray.__version__,
        "torch": torch.__version__,
    }


def _cpuinfo() -> Iterable[str]:
    try:
        with open("/proc/cpuinfo") as file:
            return file.read().splitlines()
    except OSError:
        return []

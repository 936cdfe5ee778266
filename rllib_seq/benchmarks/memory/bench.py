"""Tasks that only memory solves: our sequence model beside RLlib's own LSTM and an MLP.

    rllib-seq bench memory --json memory.json             # everything, some hours on one core
    rllib-seq bench memory cartpole                       # one task
    rllib-seq bench memory cartpole/sequence/1000         # one run: task/contender/seed

PPO of RLlib's new API stack, in one process and one thread, so that a run repeats itself exactly;
`ArrayEnvRunner` plays for all contenders.
Every contender of a task has the same training settings; see `memory_tasks`. A point of a curve
holds two returns: the mean of the last 100 training episodes, which explore, and the mean of fresh
episodes played without exploration, whose steps are not counted.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium as gym
import numpy as np
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.tune.registry import register_env
from rich.console import Console

from rllib_seq.benchmarks.memory.tasks import LSTM, TASKS, make_env
from rllib_seq.benchmarks.result import Check, Result, Row, chosen
from rllib_seq.benchmarks.speed import one_thread, versions
from rllib_seq.models import use_sequence_module
from rllib_seq.rollouts import ArrayEnvRunner
from rllib_seq.training.run.console import make_console
from rllib_seq.training.run.ray_session import ray_session

SEEDS = (1000, 1001, 1002)
ENVS = 16
GAMES = 20  # fresh episodes at a point of the curve
ROUNDS = 5  # times as many after training
RECENT = 100  # training episodes


class Returns(RLlibCallback):
    """Keeps the unscaled return of every finished episode in its environment runner."""

    def on_episode_end(
        self, *, episode: Any, env_runner: Any, env_index: int, **kwargs: Any
    ) -> None:
        """RLlib calls this."""
        total = float(episode.get_infos(-1)["episode"]["r"])
        env_runner.returns.append((env_index, total))


def run(only: Sequence[str] = (), scale: float = 1.0) -> Result:
    """Trains what `only` selects.

    Args:
        only: starts of `task/contender/seed`; nothing means everything.
        scale: of all step counts; below 1 to try the benchmark itself.

    Raises:
        UserError: something in `only` selects nothing, or popgym is not installed.
    """
    selected = _chosen(only)
    for name in dict.fromkeys(task for task, _, _ in selected):
        make_env(name)  # what is missing shall be said now
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    gym.logger.min_level = gym.logger.ERROR  # RLlib names its environments again for every run
    console = make_console()
    with one_thread(), ray_session(1, console):
        runs = [_train(task, contender, seed, scale, console) for task, contender, seed in selected]
    tasks = {name: _protocol(name) for name in dict.fromkeys(row["task"] for row in runs)}
    return judged({"versions": versions(), "tasks": tasks, "runs": runs})


def judged(figures: Mapping[str, Any]) -> Result:
    """Runs with their summary, and what they must show."""
    runs = figures["runs"]
    title = "Return after training, mean over fresh episodes"
    return Result(figures, {title: summary(runs)}, check(runs))


def summary(runs: Sequence[Row]) -> list[Row]:
    """Returns a row per task and contender, over its seeds.

    `steps_to_goal` is where the slowest seed first reached the goal of the task without
    exploration, or how many seeds did.
    """
    rows = []
    for task, contender, group in _groups(runs):
        finals = [run["final"] for run in group]
        reached = [run["steps_to_goal"] for run in group if run["steps_to_goal"] is not None]
        if len(reached) == len(group):
            steps = f"{max(reached):,}"
        else:
            steps = f"{len(reached)} of {len(group)} seeds"
        rows.append(
            {
                "task": task,
                "contender": contender,
                "seeds": len(group),
                "lowest": min(finals),
                "mean": float(np.mean(finals)),
                "highest": max(finals),
                "steps_to_goal": steps,
                "cpu_seconds": float(np.mean([run["cpu_seconds"] for run in group])),
            }
        )
    return rows


def _chosen(only: Sequence[str]) -> list[tuple[str, str, int]]:
    """The runs that `only` selects, as task, contender and seed."""
    every = {
        f"{name}/{contender}/{seed}": (name, contender, seed)
        for name, task in TASKS.items()
        for contender in task.contenders
        for seed in SEEDS
    }
    return [every[path] for path in chosen(every, only)]


def _train(name: str, contender: str, seed: int, scale: float, console: Console) -> dict[str, Any]:
    """One run: trains, follows the curve, plays the games that count."""
    task = TASKS[name]
    steps, every = int(task.steps * scale), int(task.every * scale)
    path = f"{name}/{contender}/{seed}"
    config = _config(name, seed)
    contestant = task.contenders[contender]
    if contestant.model == "sequence":
        config.rl_module(model_config={"max_seq_len": LSTM["max_seq_len"]})
        use_sequence_module(config, **contestant.settings)
    else:
        config.rl_module(model_config=DefaultModelConfig(**contestant.settings))
    algorithm = config.build_algo()
    algorithm.env_runner.returns = []
    judge = _judge(config, seed)
    # RLlib samples whole steps of all environments, so a batch may be a little larger.
    batch = config.train_batch_size_per_learner + ENVS
    curve: list[dict[str, float]] = []
    taken, due, seconds, busy = 0, 0, 0.0, 0.0
    while taken + batch <= steps:
        began = time.perf_counter(), time.process_time()
        result = algorithm.train()
        seconds += time.perf_counter() - began[0]
        busy += time.process_time() - began[1]
        taken = int(result["env_runners"]["num_env_steps_sampled_lifetime"])
        recent = [total for _, total in algorithm.env_runner.returns[-RECENT:]]
        if taken < due or not recent:
            continue
        due = taken + every
        curve.append(
            {
                "steps": taken,
                "training": float(np.mean(recent)),
                "greedy": float(np.mean(_play(judge, algorithm))),
                "cpu_seconds": round(busy, 1),
            }
        )
        console.print(
            f"{path}: {taken:,} of {steps:,} steps | training {curve[-1]['training']:.2f} | "
            f"greedy {curve[-1]['greedy']:.2f} | {seconds:.0f} s",
            highlight=False,
            markup=False,
        )
    finals = [total for _ in range(ROUNDS) for total in _play(judge, algorithm)]
    algorithm.stop()
    judge.stop()
    return {
        "task": name,
        "contender": contender,
        "seed": seed,
        "command": f"rllib-seq bench memory {path}",
        "steps": taken,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(busy, 1),
        "final": float(np.mean(finals)),
        "final_episodes": len(finals),
        "steps_to_goal": next((at["steps"] for at in curve if at["greedy"] >= task.goal), None),
        "training_steps_to_goal": next(
            (at["steps"] for at in curve if at["training"] >= task.goal), None
        ),
        "curve": curve,
    }


def _config(name: str, seed: int) -> PPOConfig:
    """PPO in this process, without a model."""
    register_env(name, lambda context: make_env(name))
    config = PPOConfig().environment(name).callbacks(Returns)
    config.env_runners(
        env_runner_cls=ArrayEnvRunner, num_env_runners=0, num_envs_per_env_runner=ENVS
    )
    config.training(**TASKS[name].training)
    return config.debugging(seed=seed, log_level="ERROR")


def _judge(config: PPOConfig, seed: int) -> ArrayEnvRunner:
    """Plays apart from the training, in environments that do not know how training went."""
    config = config.copy(copy_frozen=False)
    config.env_runners(num_envs_per_env_runner=GAMES, explore=False)
    return ArrayEnvRunner(config=config.debugging(seed=1000 * seed), worker_index=0)


def _play(judge: Any, algorithm: Any) -> list[float]:
    """Returns of `GAMES` fresh episodes, without exploration."""
    judge.set_state({COMPONENT_RL_MODULE: algorithm.env_runner.module.get_state()})
    judge.returns = []
    judge.sample(num_timesteps=GAMES, force_reset=True)
    # The first of every environment: anyone who takes what ends first, takes the short ones.
    while len(first := dict(reversed(judge.returns))) < GAMES:
        judge.sample(num_timesteps=GAMES * 10)
    return list(first.values())


def _groups(runs: Sequence[Row]) -> Iterator[tuple[str, str, list[Row]]]:
    """Runs by task and contender."""
    for task, contender in dict.fromkeys((run["task"], run["contender"]) for run in runs):
        yield (
            task,
            contender,
            [run for run in runs if (run["task"], run["contender"]) == (task, contender)],
        )


def check(runs: Sequence[Row]) -> list[Check]:
    """Returns what the runs must show: every seed."""
    checks = []
    for task, name, group in _groups(runs):
        contender = TASKS[task].contenders[name]
        finals = [run["final"] for run in group]
        what = f"{task}/{name} returns, {len(finals)} seeds"
        if np.isfinite(contender.at_least):
            checks.append(Check(f"{what}, lowest", min(finals), ">=", contender.at_least))
        if np.isfinite(contender.at_most):
            checks.append(Check(f"{what}, highest", max(finals), "<=", contender.at_most))
    return checks


def _protocol(name: str) -> dict[str, Any]:
    """How a task was run, for the JSON."""
    task = TASKS[name]
    return {
        "about": task.about,
        "goal": task.goal,
        "steps": task.steps,
        "envs": ENVS,
        "reward_scale": task.reward_scale,
        "training": task.training,
        "contenders": {
            key: {"model": contender.model, "settings": contender.settings}
            for key, contender in task.contenders.items()
        },
    }

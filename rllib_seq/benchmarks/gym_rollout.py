"""Part `gym` of `bench rollout`: sampling outside the auction, beside RLlib and RecurrentPPO.

Each task is played by 64 environments in one process and one thread: CartPole-v1, and popgym's
RepeatPreviousEasy. The array workers of both API stacks and RLlib's own play the same model of
width 64; sb3-contrib's RecurrentPPO collects in a process of its own, with two LSTM layers of
64 cells for the policy and two for the value, as our `lstm` has. What is timed is sampling alone.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
from ray.rllib.algorithms.ppo import PPOConfig
from ray.tune.registry import register_env

from rllib_seq.benchmarks.memory.tasks import make_env
from rllib_seq.benchmarks.result import Check, Result, Row
from rllib_seq.benchmarks.speed import ROUNDS, WIDTH, sampled
from rllib_seq.errors import UserError
from rllib_seq.models import use_sequence_module
from rllib_seq.rollouts import (
    ArrayEnvRunner,
    ArrayRolloutWorker,
    FaultReportingSingleAgentEnvRunner,
    FaultReportingWorker,
)
from rllib_seq.training.run.console import make_console

TASKS = ("CartPole-v1", "repeat-previous")
ENCODERS = ("causal", "lstm")
ENVS, STEPS = 64, 32
MINIMUM_TO_RLLIB, MINIMUM_TO_PEER = 3.0, 1.0
NEW, OLD = "ArrayEnvRunner", "ArrayRolloutWorker"
STOCK_NEW, STOCK_OLD = "RLlib's runner, new stack", "RLlib's worker, old stack"
PEER = "sb3-contrib RecurrentPPO"


def require_peer() -> None:
    """Refuse to begin without what is measured beside ours.

    Raises:
        UserError: sb3-contrib or popgym is not installed.
    """
    make_env("repeat-previous")
    try:
        import sb3_contrib  # noqa: F401
    except ImportError as error:
        raise UserError(
            "bench rollout gym needs sb3-contrib; install it with: pip install -c constraints.txt "
            "'rllib-seq[peers]'"
        ) from error


def gym_rollouts() -> Result:
    """Measure all tasks; microseconds of processor time per step."""
    rows, checks = [], []
    for task in TASKS:
        costs = _task(task)
        for name, cost in costs.items():
            rows.append({"task": task, "contender": name, "µs/step": round(cost, 1)})
        for encoder in ENCODERS:
            for ours, stock in ((NEW, STOCK_NEW), (OLD, STOCK_OLD)):
                ratio = costs[f"{stock}, {encoder}"] / costs[f"{ours}, {encoder}"]
                what = f"{task}, {encoder}: {ours} to {stock}"
                checks.append(Check(what, ratio, ">=", MINIMUM_TO_RLLIB))
        ratio = costs[PEER] / costs[f"{NEW}, lstm"]
        checks.append(Check(f"{task}, lstm: {NEW} to {PEER}", ratio, ">=", MINIMUM_TO_PEER))
    return part(f"{ENVS} environments, one thread", rows, checks)


def part(what: str, rows: Sequence[Row], checks: Sequence[Check] = ()) -> Result:
    """A part of `bench rollout`."""
    return Result.of_rows(what, rows, checks, what=what)


def _task(task: str) -> dict[str, float]:
    register_env(task, lambda context: _make(task))
    jobs: dict[str, Callable[[], float]] = {}
    for encoder in ENCODERS:
        for name, runner in (
            (NEW, ArrayEnvRunner),
            (STOCK_NEW, FaultReportingSingleAgentEnvRunner),
        ):
            config = _config(task).rl_module(model_config={"max_seq_len": STEPS})
            use_sequence_module(config, **_settings(encoder))
            made = runner(config=config, worker_index=0)
            jobs[f"{name}, {encoder}"] = _timed(made)
        for name, worker in ((OLD, ArrayRolloutWorker), (STOCK_OLD, FaultReportingWorker)):
            config = _config(task).api_stack(
                enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False
            )
            model = {"custom_model": "lstm_transformer", "custom_model_config": _settings(encoder)}
            config.training(model={**model, "max_seq_len": STEPS}, train_batch_size=ENVS * STEPS)
            built = config.env_runners(env_runner_cls=worker).build_algo()
            jobs[f"{name}, {encoder}"] = _timed(built.env_runner)
    costs: dict[str, list[float]] = {name: [] for name in (*jobs, PEER)}
    console = make_console()
    with multiprocessing.get_context("spawn").Pool(1) as peer:
        for number in range(ROUNDS + 1):
            for name, job in jobs.items():
                costs[name].append(job())
            costs[PEER].append(peer.apply(_peer, (task,)))
            console.print(f"{task}: round {number} of {ROUNDS}", style="dim")
    return {name: statistics.median(found[1:]) for name, found in costs.items()}


def _timed(worker: Any) -> Callable[[], float]:
    def job() -> float:
        began = time.process_time()
        steps = sampled(worker.sample())
        return 1e6 * (time.process_time() - began) / steps

    return job


def _make(task: str) -> gym.Env[Any, Any]:
    return gym.make(task) if task in gym.registry else make_env(task)


def _config(task: str) -> PPOConfig:
    config = PPOConfig().environment(task).debugging(seed=0, log_level="ERROR")
    config.training(train_batch_size_per_learner=ENVS * STEPS)
    return config.env_runners(
        num_env_runners=0, num_envs_per_env_runner=ENVS, rollout_fragment_length=STEPS
    )


def _settings(encoder: str) -> dict[str, Any]:
    return {"encoder": encoder, "d_model": WIDTH, "head_hidden": WIDTH, "dropout": 0.0}


_collector: dict[str, Any] = {}


def _peer(task: str) -> float:
    """Let RecurrentPPO collect once, in a process of its own."""
    import torch
    from sb3_contrib import RecurrentPPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    torch.set_num_threads(1)
    if task not in _collector:
        model = RecurrentPPO(
            "MlpLstmPolicy",
            DummyVecEnv([lambda: _make(task)] * ENVS),
            n_steps=STEPS,
            policy_kwargs={"lstm_hidden_size": WIDTH, "n_lstm_layers": 2, "net_arch": [WIDTH]},
            seed=0,
            device="cpu",
        )
        _, callback = model._setup_learn(10**9)
        _collector[task] = model, callback
    model, callback = _collector[task]
    began = time.process_time()
    model.collect_rollouts(model.env, callback, model.rollout_buffer, STEPS)
    return 1e6 * (time.process_time() - began) / (ENVS * STEPS)

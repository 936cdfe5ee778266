"""What learning costs per step: our model beside RLlib's LSTM, GTrXL and MLP, in RLlib's PPO.

    rllib-seq bench learner --json learner.json

Every contender learns from a batch of its own in `multi_user_ad_auction` with 256 users: about
3,072 steps (whole journeys on the new API stack), two epochs, minibatches of 1,024, sequences of at
most 24 steps (a whole journey), width 64, window or memory 8. So a step is passed through a model
twice; figures are per step and pass, with all that RLlib does around it. See `speed` for the clock.

- `one thread`: processor time, in turn, medians of five rounds
- `all cores`: the same with as many threads as the machine has cores, wall-clock time
"""

from __future__ import annotations

import copy
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from ray.rllib.execution.train_ops import multi_gpu_train_one_step
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME

from rllib_seq.benchmarks.result import Check, Result
from rllib_seq.benchmarks.speed import (
    EPOCHS,
    MINIBATCH,
    RIVALS,
    ROUNDS,
    USERS,
    algorithm,
    in_turn,
    machine,
    one_thread,
    ours,
    sampled,
)
from rllib_seq.training.run.console import make_console
from rllib_seq.training.run.ray_session import ray_session

CONTENDERS: dict[str, dict[str, Any]] = {
    "window": {"encoder": "window"},
    "causal": {"encoder": "causal"},
    "causal, one encoder": {"encoder": "causal", "share_encoder": True},
    "lstm": {"encoder": "lstm"},
    # What RLlib's use_lstm is: one layer, one network for policy and value.
    "lstm, one encoder of one layer": {
        "encoder": "lstm",
        "share_encoder": True,
        "lstm_layers": 1,
    },
}
"""Of ours: what differs from the settings that all benchmarks share."""
LIMITS = {
    ("window", "RLlib GTrXL"): 1.5,
    ("causal", "RLlib GTrXL"): 1.0,
    ("causal, one encoder", "RLlib use_lstm"): 2.5,
    ("lstm, one encoder of one layer", "RLlib use_lstm"): 1.3,
}
"""The most that one may cost, in costs of the other."""


def run() -> Result:
    """Measures everything."""
    with ray_session(1, make_console()), one_thread():
        return _measured()


def _measured() -> Result:
    rows, checks = [], []
    for new_stack in (False, True):
        algorithms = _algorithms(new_stack)
        jobs = {name: _job(built, new_stack) for name, built in algorithms.items()}
        costs = {name: found["us"] for name, found in in_turn(jobs).items()}
        torch.set_num_threads(os.cpu_count() or 1)
        walls = _wall(jobs)
        torch.set_num_threads(1)
        for built in algorithms.values():
            built.stop()
        for name in jobs:
            rows.append(
                {
                    "stack": "new" if new_stack else "old",
                    "contender": name,
                    "one thread, µs/step": costs[name],
                    "all cores, µs/step": walls[name],
                }
            )
        if not new_stack:
            for clock, found in (("one thread", costs), ("all cores", walls)):
                for (one, other), most in LIMITS.items():
                    what, ratio = f"{one} to {other}, {clock}", found[one] / found[other]
                    checks.append(Check(what, ratio, "<=", most))
    result = Result.of_rows("PPO's learner, per step and epoch", rows, checks)
    return replace(result, machine=machine())


def _algorithms(new_stack: bool) -> dict[str, Any]:
    algorithms = {
        name: algorithm(ours(**changes), new_stack=new_stack)
        for name, changes in CONTENDERS.items()
    }
    for rival, model in RIVALS.items():
        if not (new_stack and "use_attention" in model):
            algorithms[rival] = algorithm(None, rival=rival, arrays=False, new_stack=new_stack)
    return algorithms


def _job(built: Any, new_stack: bool) -> Callable[[], float]:
    """Learns from one batch, all epochs; returns the passes of steps."""
    if new_stack:
        episodes = built.env_runner.sample(num_episodes=1)
        # RLlib's connectors append to what they learn from.
        copies = [copy.deepcopy(episodes) for _ in range(2 * (ROUNDS + 1))]

        def update() -> float:
            built.learner_group.update(
                episodes=copies.pop(),
                timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: USERS},
                num_epochs=EPOCHS,
                minibatch_size=MINIBATCH,
                shuffle_batch_per_epoch=True,
            )
            return float(EPOCHS * sampled(episodes))

        return update
    built.env_runner.sample()  # the first batch has the first steps of all users alone
    batch = built.env_runner.sample()

    def train() -> float:
        multi_gpu_train_one_step(built, batch.copy())
        return float(EPOCHS * sampled(batch))

    return train


def _wall(jobs: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Wall-clock microseconds per step and pass, medians."""
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(ROUNDS + 1):
        for name, job in jobs.items():
            began = time.perf_counter()
            steps = job()
            found[name].append(1e6 * (time.perf_counter() - began) / steps)
    return {name: round(statistics.median(times[1:]), 2) for name, times in found.items()}

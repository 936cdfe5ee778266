"""What sampling costs: our array workers beside RLlib's own, and beside RLlib's own models.

    rllib-seq bench rollout --json rollout.json
    rllib-seq bench rollout contenders parts          # some parts of it

Everything plays `multi_user_ad_auction` with 256 users, PPO, exploring, d_model 64, window 8. Steps
are bid requests. One worker in one thread, in turn, medians of five rounds of processor time; see
`speed`. Parts:

- `contenders`: one campaign of 256 users, and four side by side; both API stacks
- `users`, `windows`: array workers and RLlib's own as users or windows grow
- `parts`: where an array worker's time goes
- `workers`: one and two remote array workers, wall-clock time; bytes in the object store
- `gym`: outside the auction, with sb3-contrib's RecurrentPPO beside; see `gym_rollout`
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ray.rllib.execution.rollout_ops import synchronous_parallel_sample

from rllib_seq.benchmarks.gym_rollout import gym_rollouts, part, require_peer
from rllib_seq.benchmarks.result import Check, Result, chosen
from rllib_seq.benchmarks.speed import (
    RIVALS,
    ROUNDS,
    USERS,
    WINDOW,
    Parts,
    algorithm,
    in_turn,
    machine,
    one_thread,
    ours,
    sampled,
    serialized_bytes,
)
from rllib_seq.envs.ad_auction.simulator.step import AuctionSimulator
from rllib_seq.training.run.console import make_console
from rllib_seq.training.run.ray_session import ray_session

SIDE_BY_SIDE = 4
ARRAYS, STOCK, LSTM = "window, array worker", "window, RLlib's worker", "RLlib use_lstm"
MINIMUM_TO_STOCK, MINIMUM_TO_LSTM, MINIMUM_TWO_WORKERS = 4.0, 3.0, 1.6


def run(only: Sequence[str] = ()) -> Result:
    """Measures the parts that `only` names; all, if it names none."""
    parts = chosen(PARTS, only)
    if "gym" in parts:
        require_peer()
    with one_thread(), ray_session(2, make_console()):
        found = {name: PARTS[name]() for name in parts}
        return replace(Result.of_parts(found), machine=machine())


def _contenders() -> Result:
    rows, checks = [], []
    for campaigns in (1, SIDE_BY_SIDE):
        for new_stack in (False, True):
            stack = "new" if new_stack else "old"
            settings: dict[str, Any] = {"new_stack": new_stack, "campaigns": campaigns}
            algorithms = {
                ARRAYS: algorithm(ours(), **settings),
                STOCK: algorithm(ours(), arrays=False, **settings),
                "causal, array worker": algorithm(ours(encoder="causal"), **settings),
            }
            for rival, model in RIVALS.items():
                if not (new_stack and "use_attention" in model):
                    algorithms[rival] = algorithm(None, rival=rival, arrays=False, **settings)
            costs = _cost(algorithms)
            for name, cost in costs.items():
                rows.append(
                    {
                        "stack": stack,
                        "campaigns": campaigns,
                        "contender": name,
                        "steps/s": round(1e6 / cost),
                        "µs/step": round(cost, 1),
                        "times ours": round(cost / costs[ARRAYS], 2),
                    }
                )
            where = f"{stack} stack, {campaigns} x {USERS} users"
            for other, limit in ((STOCK, MINIMUM_TO_STOCK), (LSTM, MINIMUM_TO_LSTM)):
                ratio = costs[other] / costs[ARRAYS]
                checks.append(Check(f"{where}: {ARRAYS} to {other}", ratio, ">=", limit))
    return part(f"{USERS} users, one worker, one thread", rows, checks)


def _users() -> Result:
    rows = []
    for users in (64, USERS, 4 * USERS):
        algorithms = {
            ARRAYS: algorithm(ours(), users=users),
            STOCK: algorithm(ours(), users=users, arrays=False),
        }
        for name, cost in _cost(algorithms, rounds=3).items():
            rows.append({"users": users, "contender": name, "steps/s": round(1e6 / cost)})
    return part("one campaign, old stack, medians of three", rows)


def _windows() -> Result:
    rows = []
    for length in (4, WINDOW, 16, 32):
        algorithms = {
            encoder: algorithm(ours(window_length=length, encoder=encoder))
            for encoder in ("window", "causal")
        }
        for name, cost in _cost(algorithms, rounds=3).items():
            rows.append({"window": length, "encoder": name, "steps/s": round(1e6 / cost)})
    return part(f"array worker, {USERS} users, old stack, medians of three", rows)


def _parts() -> Result:
    rows = []
    for campaigns in (1, SIDE_BY_SIDE):
        built = algorithm(ours(), campaigns=campaigns)
        worker = built.env_runner
        reader = worker.input_reader
        model, memory = reader.policy.model, reader._bidder.memory
        places = {
            "environment": (AuctionSimulator, "step"),
            "observations": (AuctionSimulator, "observe"),
            "policy network": (model.policy.encoder, "sequence"),
            "windows and policy network": (memory, "read"),
            "acting in all": (type(reader._bidder), "__call__"),
            "value network": (model.value.encoder, "sequence"),
            "values in all": (memory, "values"),
            "advantages and columns": (reader, "_columns"),
            "sequences": (reader, "_sequences"),
        }
        worker.sample()
        with Parts(places) as parts:
            began, steps = time.process_time(), 0
            for _ in range(ROUNDS):
                steps += sampled(worker.sample())
            total = time.process_time() - began
        built.stop()
        seconds = parts.seconds
        shares = {
            "policy network": seconds["policy network"],
            "value network": seconds["value network"],
            "windows": seconds["windows and policy network"] - seconds["policy network"],
            "step inputs, actions": seconds["acting in all"]
            - seconds["windows and policy network"],
            "environment": seconds["environment"] + seconds["observations"],
            "windows to be valued": seconds["values in all"] - seconds["value network"],
            "advantages and columns": seconds["advantages and columns"] - seconds["values in all"],
            "sequences": seconds["sequences"],
        }
        shares["the rest"] = total - sum(shares.values())
        for name, spent in shares.items():
            rows.append(
                {
                    "campaigns": campaigns,
                    "part": name,
                    "µs/step": round(1e6 * spent / steps, 1),
                    "%": round(100 * spent / total, 1),
                }
            )
    return part(f"array worker, {USERS} users, old stack", rows)


def _workers() -> Result:
    rows, rates = [], {}
    for workers in (1, 2):
        built = algorithm(ours(), campaigns=SIDE_BY_SIDE, workers=workers)
        group = built.env_runner_group
        rate = []
        for _ in range(ROUNDS + 1):
            began = time.perf_counter()
            batch = synchronous_parallel_sample(worker_set=group)
            rate.append(sampled(batch) / (time.perf_counter() - began))
        rates[workers] = statistics.median(rate[1:])
        rows.append(
            {
                "workers": workers,
                "steps/s": round(rates[workers]),
                "bytes/step": round(serialized_bytes(batch) / sampled(batch)),
            }
        )
        built.stop()
    pair = Check("two array workers to one", rates[2] / rates[1], ">=", MINIMUM_TWO_WORKERS)
    return part(
        f"remote array workers, {SIDE_BY_SIDE} x {USERS} users each, wall-clock time",
        rows,
        [pair] if (os.cpu_count() or 1) >= 2 else [],
    )


def _cost(algorithms: dict[str, Any], rounds: int = ROUNDS) -> dict[str, float]:
    """Microseconds per step of each; ends the algorithms."""

    def job(worker: Any) -> Any:
        return lambda: sampled(worker.sample())

    costs = in_turn({name: job(built.env_runner) for name, built in algorithms.items()}, rounds)
    for built in algorithms.values():
        built.stop()
    return {name: cost["us"] for name, cost in costs.items()}


PARTS: dict[str, Callable[[], Result]] = {
    "contenders": _contenders,
    "users": _users,
    "windows": _windows,
    "parts": _parts,
    "workers": _workers,
    "gym": gym_rollouts,
}

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
from collections.abc import Sequence
from typing import Any

import torch
from ray.rllib.execution.rollout_ops import synchronous_parallel_sample

from rllib_seq.benchmarks.gym_rollout import gym_rollouts, require_peer
from rllib_seq.benchmarks.speed import (
    RIVALS,
    ROUNDS,
    USERS,
    WINDOW,
    Parts,
    algorithm,
    check,
    in_turn,
    machine,
    ours,
    sampled,
    serialized_bytes,
    show_checks,
    show_rows,
)
from rllib_seq.envs.ad_auction.simulator.step import AuctionSimulator
from rllib_seq.errors import UserError
from rllib_seq.training.run.console import make_console
from rllib_seq.training.run.ray_session import ray_session

PARTS = ("contenders", "users", "windows", "parts", "workers", "gym")
SIDE_BY_SIDE = 4
ARRAYS, STOCK, LSTM = "window, array worker", "window, RLlib's worker", "RLlib use_lstm"
MINIMUM_TO_STOCK, MINIMUM_TO_LSTM, MINIMUM_TWO_WORKERS = 4.0, 3.0, 1.6


def run(only: Sequence[str] = PARTS) -> dict[str, Any]:
    """Measures the parts that `only` names."""
    for name in only:
        if name not in PARTS:
            raise UserError(f"bench rollout has no part {name!r}; choose from {', '.join(PARTS)}")
    if "gym" in only:
        require_peer()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    with ray_session(2, make_console()):
        for name in PARTS:
            if name in only:
                found[name] = globals()[f"_{name}"]()
    checks = [row for part in found.values() for row in part.pop("checks", [])]
    where = machine()
    torch.set_num_threads(threads)
    return {
        **found,
        "checks": checks,
        "machine": where,
        "passed": all(row["holds"] for row in checks),
    }


def show(result: dict[str, Any]) -> None:
    """Prints tables."""
    for name in PARTS:
        if name in result:
            show_rows(f"{name}: {result[name]['what']}", result[name]["rows"])
    show_checks(result["checks"], result["machine"])


def _gym() -> dict[str, Any]:
    return gym_rollouts()


def _contenders() -> dict[str, Any]:
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
                checks.append(check(f"{where}: {ARRAYS} to {other}", ratio, limit, True))
    return {"what": f"{USERS} users, one worker, one thread", "rows": rows, "checks": checks}


def _users() -> dict[str, Any]:
    rows = []
    for users in (64, USERS, 4 * USERS):
        algorithms = {
            ARRAYS: algorithm(ours(), users=users),
            STOCK: algorithm(ours(), users=users, arrays=False),
        }
        for name, cost in _cost(algorithms, rounds=3).items():
            rows.append({"users": users, "contender": name, "steps/s": round(1e6 / cost)})
    return {"what": "one campaign, old stack, medians of three", "rows": rows}


def _windows() -> dict[str, Any]:
    rows = []
    for length in (4, WINDOW, 16, 32):
        algorithms = {
            encoder: algorithm(ours(window_length=length, encoder=encoder))
            for encoder in ("window", "causal")
        }
        for name, cost in _cost(algorithms, rounds=3).items():
            rows.append({"window": length, "encoder": name, "steps/s": round(1e6 / cost)})
    return {"what": f"array worker, {USERS} users, old stack, medians of three", "rows": rows}


def _parts() -> dict[str, Any]:
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
    return {"what": f"array worker, {USERS} users, old stack", "rows": rows}


def _workers() -> dict[str, Any]:
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
    pair = check("two array workers to one", rates[2] / rates[1], MINIMUM_TWO_WORKERS, True)
    return {
        "what": f"remote array workers, {SIDE_BY_SIDE} x {USERS} users each, wall-clock time",
        "rows": rows,
        "checks": [pair] if (os.cpu_count() or 1) >= 2 else [],
    }


def _cost(algorithms: dict[str, Any], rounds: int = ROUNDS) -> dict[str, float]:
    """Microseconds per step of each; ends the algorithms."""

    def job(worker: Any) -> Any:
        return lambda: sampled(worker.sample())

    costs = in_turn({name: job(built.env_runner) for name, built in algorithms.items()}, rounds)
    for built in algorithms.values():
        built.stop()
    return {name: cost["us"] for name, cost in costs.items()}


if __name__ == "__main__":
    show(run())

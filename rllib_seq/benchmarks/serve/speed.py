"""Throughput and latency of bids beside echoes.

- `local`: on uvicorn. `on_ray`: on Ray Serve, with state in Redis.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from rllib_seq.benchmarks.result import Check, Result, Row
from rllib_seq.benchmarks.serve.load import Answers, Load, run_load
from rllib_seq.benchmarks.serve.servers import (
    bid_server,
    export_policy,
    free_port,
    module,
    resident_mb,
    wait_for_port,
)

_BIDS = "/openrtb2/bid"
_SECONDS = 4.0
_ROUNDS = 3


def local(export: Path, folder: Path) -> Result:
    """Echoes and bids in turn on servers that run side by side."""
    ports = {name: free_port() for name in ("echo", "bids", "causal")}
    ports["raw"] = ports["echo"]
    paths = {"echo": "/echo", "bids": _BIDS, "causal": _BIDS, "raw": "/raw"}
    export_policy(folder / "causal", encoder="causal")
    children = []
    try:
        started = time.perf_counter()
        children.append(bid_server(export, ports["bids"], folder / "local.sqlite"))
        wait_for_port(ports["bids"])
        ready = time.perf_counter() - started
        memory = resident_mb(children[0].pid)
        children.append(bid_server(folder / "causal", ports["causal"], folder / "causal.sqlite"))
        children.append(module("rllib_seq.benchmarks.serve.echo", ports["echo"]))
        for port in ports.values():
            wait_for_port(port)
        for name, path in paths.items():
            run_load(Load(ports[name], path, 2.0, 32))  # warm
        rows = {}
        for kind, concurrency, burst in (("1", 1, 0), ("32", 32, 0), ("32 in bursts", 32, 8)):
            rounds: dict[str, list[Answers]] = {name: [] for name in paths}
            for _ in range(_ROUNDS):
                for name, path in paths.items():
                    load = Load(ports[name], path, _SECONDS, concurrency, burst=burst)
                    rounds[name].append(run_load(load))
            rows[kind] = {name: _middle(each) for name, each in rounds.items()}
        notices = run_load(Load(ports["bids"], _BIDS, _SECONDS, 32, notices=True))
    finally:
        for child in children:
            child.terminate()
            child.wait()
    compared = {
        peer: {
            "throughput_share": rows["32"]["bids"]["per_second"] / rows["32"][peer]["per_second"],
            "p99_ratio": rows["32"]["bids"]["p99"] / rows["32"][peer]["p99"],
            "median_overhead_ms": rows["1"]["bids"]["p50"] - rows["1"][peer]["p50"],
        }
        for peer in ("echo", "raw")
    }
    share, tail, more = compared["echo"].values()
    figures = {
        "rows": rows,
        "with_notices": _row(notices),
        "compared_with": compared,
        "ready_seconds": ready,
        "resident_mb": memory,
    }
    checks = [
        Check("throughput at 32, to an echo", share, ">=", 0.7),
        Check("p99 at 32, to an echo", tail, "<=", 2.0),
        Check("a single request, ms longer than an echo", more, "<=", 2.0),
        Check("ready, seconds after the start", ready, "<=", 5.0),
        Check("resident before the first user, MB", memory, "<", 260.0),
    ]
    return Result(
        figures, {"ms": _table({**rows, "with notices": {"bids": _row(notices)}})}, checks
    )


def on_ray(export: Path, folder: Path) -> Result:
    """One replica each and state in Redis."""
    port, redis_port = free_port(), free_port()
    redis = subprocess.Popen(
        ["redis-server", "--port", str(redis_port), "--dir", str(folder), "--save", ""],
        stdout=subprocess.DEVNULL,
    )
    wait_for_port(redis_port)
    state = f"redis://127.0.0.1:{redis_port}/0"
    apps = module("rllib_seq.benchmarks.serve.ray_apps", export, state, port)
    try:
        wait_for_port(port, 120.0)
        _wait_for_bids(port)
        rows = {}
        for concurrency in (1, 32):
            rounds: dict[str, list[Answers]] = {name: [] for name in ("echo", "bids")}
            for _ in range(_ROUNDS):
                for name, path in (("echo", "/echo/echo"), ("bids", _BIDS)):
                    rounds[name].append(run_load(Load(port, path, _SECONDS, concurrency)))
            rows[str(concurrency)] = {name: _middle(each) for name, each in rounds.items()}
    finally:
        for child in (apps, redis):
            child.terminate()
            child.wait()
    shares = {n: row["bids"]["per_second"] / row["echo"]["per_second"] for n, row in rows.items()}
    errors = sum(row["bids"]["errors"] for row in rows.values())
    checks = [
        Check("throughput, to an echo", min(shares.values()), ">=", 0.75),
        Check("errors", errors, "<=", 0),
    ]
    return Result({"rows": rows, "throughput_shares": shares}, {"ms": _table(rows)}, checks)


def _table(by_concurrency: Mapping[str, Mapping[str, Row]]) -> list[Row]:
    return [
        {"concurrency": concurrency, "server": name, **row}
        for concurrency, servers in by_concurrency.items()
        for name, row in servers.items()
    ]


def _wait_for_bids(port: int, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if run_load(Load(port, _BIDS, 0.5, 1)).errors == 0:
            return
    raise TimeoutError("the fleet does not bid")


def _row(answers: Answers) -> Row:
    return {
        "per_second": round(answers.per_second, 1),
        **answers.milliseconds,
        "bids": answers.bids,
        "late": answers.late,
        "errors": answers.errors,
        "generator_core": answers.core_share,
    }


def _middle(rounds: list[Answers]) -> Row:
    """The round with the median throughput."""
    return _row(sorted(rounds, key=lambda answers: answers.per_second)[len(rounds) // 2])

"""The bid server beside an echo app on the same server, and what it takes in memory.

Parts: `local` (uvicorn), `ray` (Ray Serve and a Redis), `users` (a million of them), `day` (24
simulated hours), `abuse` (10,000 malformed requests), `chaos` (kills, a full disk, clocks that
jump, damaged exports). See docs/guides/serving.md.
"""

import json
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from rllib_seq.benchmarks.serve.chaos import run_chaos
from rllib_seq.benchmarks.serve.load import Load, run_load
from rllib_seq.config import SequenceConfig
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig
from rllib_seq.errors import UserError
from rllib_seq.nn import SequentialPolicyNetwork
from rllib_seq.nn.step_graph import policy_graph
from rllib_seq.serving.decisions import BidQuery
from rllib_seq.serving.exported.policy import load_policy
from rllib_seq.serving.exported.spec import world_facts
from rllib_seq.serving.service import BidService
from rllib_seq.serving.settings import Settings
from rllib_seq.serving.state.opening import open_storage
from rllib_seq.training.export import export_network

PARTS = ("local", "ray", "users", "day", "abuse", "chaos")
_SECONDS = 4.0
_ROUNDS = 3


def run(only=("local", "users", "day", "abuse")):
    """Measures the parts that are asked for; `ray` needs a redis-server, too."""
    for part in only:
        if part not in PARTS:
            raise UserError(f"bench serve has no part {part!r}; choose from {', '.join(PARTS)}")
    result = {"parts": {}}
    with tempfile.TemporaryDirectory() as folder:
        export = Path(folder) / "export"
        _export(export)
        for part in only:
            print(f"measuring: {part}", file=sys.stderr)
            result["parts"][part] = globals()[f"_{part}"](export, Path(folder))
    result["passed"] = all(part["passed"] for part in result["parts"].values())
    return result


def _export(folder, **changes):
    """A policy of the documented size (d=64, L=8) with random weights, which bids at random."""
    world = AuctionConfig(num_users=1000)
    facts = world_facts(world)
    actions = len(facts["bid_levels"])
    settings = {"window_length": 8, "d_model": 64, "prev_reward": False, **changes}
    torch.manual_seed(0)
    network = SequentialPolicyNetwork(len(facts["observation"]) + actions, actions, **settings)
    torch.nn.init.normal_(network.head.weight, std=3.0)
    config = SequenceConfig.from_dict(settings)
    export_network(
        policy_graph(network.eval()), config, world, False, folder, {"benchmark": "serve"}
    )


def _local(export, folder):
    """Throughput and latency, echoes and bids in turn on servers that run side by side."""
    ports = {name: _free_port() for name in ("echo", "bids", "causal")}
    ports["raw"] = ports["echo"]
    _export(folder / "causal", encoder="causal")
    echo = _child("rllib_seq.benchmarks.serve.echo", ports["echo"])
    bids = _serve(export, ports["bids"], "--state", str(folder / "local.sqlite"))
    causal = _serve(folder / "causal", ports["causal"], "--state", str(folder / "causal.sqlite"))
    paths = {name: "/openrtb2/bid" if name in ("bids", "causal") else f"/{name}" for name in ports}
    try:
        for port in ports.values():
            _wait(port)
        for name in paths:
            run_load(Load(ports[name], paths[name], 2.0, 32))  # warm
        rows = {}
        for concurrency in (1, 32):
            for burst in (0, 8) if concurrency == 32 else (0,):
                rounds = {name: [] for name in paths}
                for _ in range(_ROUNDS):
                    for name, path in paths.items():
                        load = Load(
                            *(ports[name], path, _SECONDS, concurrency),
                            burst=burst,
                            notices=False,
                        )
                        rounds[name].append(run_load(load))
                kind = f"{concurrency} in bursts" if burst else str(concurrency)
                rows[kind] = {name: _middle(results) for name, results in rounds.items()}
        memory = _resident(bids.pid)
        notices = run_load(Load(ports["bids"], "/openrtb2/bid", _SECONDS, 32, notices=True))
    finally:
        for child in (echo, bids, causal):
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
    return {
        "rows": rows,
        "with_notices": _row(notices),
        "compared_with": compared,
        "resident_mb": memory,
        "passed": share >= 0.6 and tail <= 3 and more <= 2.0,
    }


def _ray(export, folder):
    """The same on Ray Serve, with one replica each and state in Redis."""
    port, redis_port = _free_port(), _free_port()
    redis = subprocess.Popen(
        ["redis-server", "--port", str(redis_port), "--dir", str(folder), "--save", ""],
        stdout=subprocess.DEVNULL,
    )
    _wait(redis_port)
    script = "rllib_seq.benchmarks.serve.ray_apps"
    url = f"redis://127.0.0.1:{redis_port}/0"
    child = subprocess.Popen([sys.executable, "-m", script, export, url, str(port)], text=True)
    try:
        _wait(port, 120.0)
        _wait_for_bids(port)
        rows = {}
        for concurrency in (1, 32):
            rounds = {name: [] for name in ("echo", "bids")}
            for _ in range(_ROUNDS):
                for name, path in (("echo", "/echo/echo"), ("bids", "/openrtb2/bid")):
                    rounds[name].append(run_load(Load(port, path, _SECONDS, concurrency)))
            rows[str(concurrency)] = {name: _middle(each) for name, each in rounds.items()}
    finally:
        child.terminate()
        child.wait()
        redis.terminate()
        redis.wait()
    shares = {n: row["bids"]["per_second"] / row["echo"]["per_second"] for n, row in rows.items()}
    errors = sum(row["bids"]["errors"] for row in rows.values())
    passed = min(shares.values()) >= 0.75 and errors == 0
    return {"rows": rows, "throughput_shares": shares, "passed": passed}


def _users(export, folder):
    """A million different users, 131,072 in memory, the others in a file."""
    service, clock = _service(export, str(folder / "users.sqlite"))
    before, started = _own_resident(), time.perf_counter()
    total, batch = 1_000_000, 64
    for start in range(0, total, batch):
        clock.now += 0.01
        service.answer(
            [BidQuery(user, user % 3, 0, 0, 0.0) for user in range(start, start + batch)]
        )
    seconds = time.perf_counter() - started
    # Who came first has long made room; their memory comes back from the file.
    service.answer([BidQuery(0, 0, 0, 0, 0.0)])
    back = service.sessions.last_request(service.sessions.find(0)) == 1
    in_memory, nbytes = len(service.sessions), service.sessions.nbytes
    service.close()
    size = sum(file.stat().st_size for file in folder.glob("users.sqlite*"))
    return {
        "users": total,
        "in_memory": in_memory,
        "sessions_mb": nbytes / 2**20,
        "grown_mb": _own_resident() - before,
        "file_mb": size / 2**20,
        "per_second": total / seconds,
        "first_user_came_back": bool(back),
        "passed": in_memory <= 131_072 and bool(back),
    }


def _day(export, folder):
    """24 hours of traffic on a simulated clock, wins reported, old and new users; memory hourly."""
    service, clock = _service(export, str(folder / "day.sqlite"), max_users=20_000)
    random, memory = np.random.default_rng(0), []
    for hour in range(24):
        for _ in range(300):
            clock.now += 12.0
            users = np.unique((random.zipf(1.2, 40) - 1) % 1_000_000)
            answers = service.answer([BidQuery(int(u), int(u) % 3, 0, 0, 0.0) for u in users])
            for answer in answers:
                if answer.bid is not None:
                    name = service.sign(answer.bid)
                    if random.random() < 0.2:
                        service.notice("win", name, price=answer.bid.amount / 2)
                    else:
                        service.notice("loss", name)
        memory.append(round(_own_resident(), 1))
        print(f"hour {hour + 1}: {memory[-1]} MB", file=sys.stderr)
    service.close()
    growth = memory[-1] - memory[3]
    return {"resident_mb": memory, "grown_after_hour_4_mb": growth, "passed": growth < 20}


def _abuse(export, folder):
    """Malformed, oversized and broken-off requests; then a user goes on where they were."""
    port = _free_port()
    bids = _serve(export, port, "--state", str(folder / "abuse.sqlite"))
    random = np.random.default_rng(0)
    statuses = {}
    try:
        _wait(port)
        before = _live(port)
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
        for each in slow:
            each.sendall(b"POST /openrtb2/bid HTTP/1.1\r\ncontent-length: 100\r\n\r\n{")
        for i in range(10_000):
            body = random.bytes(int(random.integers(0, 300)))
            if i % 100 == 1:
                body = b"x" * 100_000
            with socket.create_connection(("127.0.0.1", port)) as raw:
                raw.settimeout(20.0)
                head = f"POST /openrtb2/bid HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n"
                try:
                    raw.sendall(head.encode() + body)
                    if i % 10 == 0:
                        continue  # and do not wait for the answer
                    status = raw.recv(64)[9:12].decode()
                except OSError:
                    status = "closed"
            statuses[status] = statuses.get(status, 0) + 1
        for each in slow:
            each.close()
        load = run_load(Load(port, "/openrtb2/bid", 2.0, 8))
        after = _live(port)
        alive = bids.poll() is None
    finally:
        bids.terminate()
        bids.wait()
    return {
        "statuses": statuses,
        "requests_before": before["totals"]["requests"],
        "requests_after": after["totals"]["requests"],
        "errors_after": load.errors,
        "passed": alive
        and load.errors == 0
        and set(statuses) <= {"400", "413", "closed"}
        and after["totals"]["requests"] == load.requests,
    }


def _chaos(export, folder):
    """20,000 requests and their notices while everything goes wrong; the books must agree."""
    return run_chaos(export, folder, _free_port())


class _Clock:
    now = 4 * 86400.0 + 2000 * 7 * 86400.0

    def __call__(self):
        return self.now


def _service(export, state, **settings):
    clock = _Clock()
    chosen = Settings(export=str(export), state=state, **settings)
    storage = open_storage(state, "benchmark", 1e7)
    return BidService(load_policy(export), chosen, storage, clock), clock


def _serve(export, port, *options):
    command = ["-m", "rllib_seq.cli", "serve", str(export), "--port", str(port), *options]
    return subprocess.Popen(
        [sys.executable, "-c", "from rllib_seq.cli import main; main()", *command[2:]],
        stderr=subprocess.DEVNULL,
    )


def _child(script, port):
    return subprocess.Popen([sys.executable, "-m", script, str(port)], stderr=subprocess.DEVNULL)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(port, seconds=60.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"nothing listens on port {port}")


def _wait_for_bids(port, seconds=120.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if run_load(Load(port, "/openrtb2/bid", 0.5, 1)).errors == 0:
            return
    raise TimeoutError("the fleet does not bid")


def _live(port):
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/live", timeout=10) as answer:
        return json.load(answer)


def _row(result):
    return {
        "per_second": round(result.per_second, 1),
        **result.milliseconds,
        "bids": result.bids,
        "late": result.late,
        "errors": result.errors,
        "generator_core": result.core_share,
    }


def _middle(results):
    """The round with the median throughput."""
    return _row(sorted(results, key=lambda result: result.per_second)[len(results) // 2])


def _resident(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return None


def _own_resident():
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return _resident("self")


def show(result):
    """Tables."""
    console = Console()
    for part, content in result["parts"].items():
        rows = content.get("rows")
        if rows:
            table = Table(title=part)
            columns = ["server", "requests/s", "p50 ms", "p95", "p99", "p99.9", "late", "errors"]
            for column in ["concurrency", *columns]:
                table.add_column(column, justify="right")
            for kind, servers in rows.items():
                for name, row in servers.items():
                    cells = [row[key] for key in ("per_second", "p50", "p95", "p99", "p99.9")]
                    table.add_row(kind, name, *map(str, [*cells, row["late"], row["errors"]]))
            console.print(table)
        console.print(part, {k: v for k, v in content.items() if k != "rows"})

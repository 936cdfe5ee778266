"""Servers to measure, as processes or within this one.

- `export_policy`: a policy of the documented size.
- `bid_server`, `module`: processes; `wait_for_port`, `live_figures`, `resident_mb`: ask them.
- `bid_service`: a service in this process, on a clock of its own.
"""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import torch

from rllib_seq.config import SequenceConfig
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig
from rllib_seq.nn import SequentialPolicyNetwork
from rllib_seq.nn.step_graph import policy_graph
from rllib_seq.serving.exported.policy import load_policy
from rllib_seq.serving.exported.spec import world_facts
from rllib_seq.serving.service import BidService
from rllib_seq.serving.settings import Settings
from rllib_seq.serving.state.opening import open_storage
from rllib_seq.training.export import export_network


def export_policy(folder: Path, **changes: Any) -> None:
    """A policy of the documented size (d=64, L=8) with random weights, which bids at random."""
    world = AuctionConfig(num_users=1000)
    facts = world_facts(world)
    actions = len(facts["bid_levels"])
    settings = {"window_length": 8, "d_model": 64, "prev_reward": False, **changes}
    config = SequenceConfig.from_dict(settings)
    torch.manual_seed(0)
    network = SequentialPolicyNetwork(len(facts["observation"]) + actions, actions, **settings)
    head: Any = network.head
    torch.nn.init.normal_(head.weight, std=3.0)
    graph = policy_graph(network.eval())
    export_network(graph, config, world, False, folder, {"benchmark": "serve"})


class SimulatedClock:
    """Seconds since the epoch, as the benchmark sets them; begins on a Monday."""

    now = 4 * 86400.0 + 2000 * 7 * 86400.0

    def __call__(self) -> float:
        """Now."""
        return self.now


def bid_service(export: Path, state: Path, **settings: Any) -> tuple[BidService, SimulatedClock]:
    """A service in this process."""
    clock = SimulatedClock()
    chosen = Settings(export=str(export), state=str(state), **settings)
    storage = open_storage(str(state), "benchmark", 1e7)
    return BidService(load_policy(export), chosen, storage, clock), clock


def bid_server(export: Path, port: int, state: Path) -> subprocess.Popen[bytes]:
    """`rllib-seq serve`."""
    return subprocess.Popen(
        [
            *(sys.executable, "-c", "from rllib_seq.cli import main; main()"),
            *("serve", str(export), "--port", str(port), "--state", str(state)),
        ],
        stderr=subprocess.DEVNULL,
    )


def module(name: str, *arguments: object) -> subprocess.Popen[bytes]:
    """`python -m NAME ARGUMENTS`."""
    return subprocess.Popen(
        [sys.executable, "-m", name, *map(str, arguments)], stderr=subprocess.DEVNULL
    )


def free_port() -> int:
    """A port that no one listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, seconds: float = 60.0) -> None:
    """Returns when someone listens on a port.

    Raises:
        TimeoutError: no one did in time.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"nothing listens on port {port}")


def live_figures(port: int) -> dict[str, Any]:
    """What a bid server says at `/live`."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/live", timeout=10) as answer:
        return dict(json.load(answer))


def resident_mb(pid: int | None = None) -> float:
    """Resident memory of a process; None: of this one."""
    if pid is None and sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    status = Path(f"/proc/{pid or 'self'}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024

"""Small policies, exported once for all tests of serving."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from rllib_seq.envs.ad_auction import AuctionConfig, AuctionSimulator
from rllib_seq.models import SequenceRLModule
from rllib_seq.nn.step_graph import policy_graph
from rllib_seq.serving.exported.policy import load_policy
from rllib_seq.serving.service import BidService
from rllib_seq.serving.settings import Settings
from rllib_seq.serving.state.opening import open_storage
from rllib_seq.training.export import export_network

sys.path.insert(0, str(Path(__file__).parent))  # the tests import what stands beside them

SMALL = {
    "window_length": 4,
    "d_model": 8,
    "num_heads": 2,
    "lstm_layers": 1,
    "transformer_layers": 1,
    "feedforward_dim": 8,
    "head_hidden": 8,
}


class Exported(NamedTuple):
    """A policy, as RLlib has it and as it is served."""

    module: SequenceRLModule
    world: AuctionConfig
    folder: Path


def exported(world: AuctionConfig, folder: Path, encoder: str = "window") -> Exported:
    simulator = AuctionSimulator(world)
    torch.manual_seed(0)
    module = SequenceRLModule(
        observation_space=simulator.observation_space,
        action_space=world.build_actions(simulator.preset).space,
        model_config={"sequence_config": {**SMALL, "encoder": encoder}},
    )
    with torch.no_grad():  # so that bids differ from step to step
        for name, weights in module.named_parameters():
            weights.mul_(0.0 if "bias" in name else 3.0)
    module.eval()
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "spec.json").exists():
            graph, settings = policy_graph(module.policy), module.config_of_sequence
            export_network(graph, settings, world, False, folder, {"test": "small"})
    return Exported(module, world, folder)


@pytest.fixture(scope="session")
def exports(tmp_path_factory, worker_id):
    """A folder that all test processes share: an export costs seconds."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder if worker_id == "master" else folder.parent) / "exports"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def journey(exports):
    """Raw observations, users are streams, no budget."""
    return exported(AuctionConfig(num_users=24), exports / "journey")


@pytest.fixture(scope="session")
def causal(exports):
    """The same; every step is read once, and what was made of it is carried on."""
    return exported(AuctionConfig(num_users=12), exports / "causal", "causal")


@pytest.fixture(scope="session")
def display(exports):
    """Full observations, three creatives, a budget, conversions with delay."""
    world = AuctionConfig(preset="display", num_users=24, observation="full", budget=0.6)
    return exported(world, exports / "display")


class Clock:
    """Time as a test wants it; begins on a Monday."""

    def __init__(self) -> None:
        self.now = 4 * 86400.0 + 2000 * 7 * 86400.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def serve(clock):
    """Makes services, and closes them."""
    made = []

    def make(policy: Exported, state: str = ":memory:", **settings) -> BidService:
        storage = open_storage(state, "test", 1e7)
        chosen = Settings(export=str(policy.folder), state=state, max_users=512, **settings)
        made.append(BidService(load_policy(policy.folder), chosen, storage, clock))
        return made[-1]

    yield make
    for service in made:
        service.close()


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory):
    """A Redis of its own for every file of tests."""
    from serving_helpers import free_port, listening, wait_for

    if shutil.which("redis-server") is None:
        if os.environ.get("CI"):
            pytest.fail("redis-server is missing; apt-get install redis-server")
        pytest.skip("needs redis-server")
    folder, port = tmp_path_factory.mktemp("redis"), free_port()
    command = ["redis-server", "--port", str(port), "--dir", str(folder), "--save", ""]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    wait_for(lambda: listening(port))
    yield f"redis://127.0.0.1:{port}"
    child.terminate()
    child.wait()

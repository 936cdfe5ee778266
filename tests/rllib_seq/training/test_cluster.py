"""A real cluster: a head with its dashboard, a second node, and a Python without our packages."""

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from rllib_seq.training.run_folder import RunFolder

ROOT = Path(__file__).parents[3]
CLUSTER = ROOT / "tune_configs" / "cluster"
TOKEN = "a-secret-of-this-test"
STEPS = 6000


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A Python that has what we depend on, but not us."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    # Files of a folder that is named in a .pth file are importable, its own .pth files are not
    # read: an editable installation of ours is none there.
    pth = folder / "lib" / version / "site-packages" / "dependencies.pth"
    pth.write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin"


@pytest.fixture(scope="module")
def cluster(bare, tmp_path_factory):
    """Head and second node, one CPU each; yields (dashboard, environment, the node's process)."""
    port, dashboard = free_port(), free_port()
    environment = {
        "PATH": f"{bare}:/usr/bin:/bin",
        "HOME": str(tmp_path_factory.mktemp("home")),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    temporary = Path(f"/tmp/op-{os.getpid()}")  # sockets need short paths
    ray = [bare / "python", "-m", "ray.scripts.scripts"]
    common = ["--block", "--num-cpus=1", "--num-gpus=0", "--object-store-memory=100000000"]
    head = [*ray, "start", "--head", f"--port={port}", f"--dashboard-port={dashboard}"]
    started = []

    def start(command):
        log = (tmp_path_factory.mktemp("log") / "log").open("w")
        started.append(
            subprocess.Popen(
                [*map(str, command), *common], env=environment, cwd=bare, stdout=log, stderr=log,
                start_new_session=True,
            )
        )

    try:
        start([*head, f"--temp-dir={temporary}"])
        wait_for(lambda: ask(f"http://127.0.0.1:{dashboard}", "/api/version"), 60)
        start([*ray, "start", f"--address=127.0.0.1:{port}"])
        yield f"http://127.0.0.1:{dashboard}", environment, started
    finally:
        for process in reversed(started):
            stop(process)


def ask(dashboard, path):
    request = urllib.request.Request(
        dashboard + path, headers={"Authorization": f"Bearer {TOKEN}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
    except OSError:
        return None


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    return found


if __name__ == "__main__":
    pass

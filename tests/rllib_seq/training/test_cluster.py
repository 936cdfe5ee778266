"""A real cluster: a head with its dashboard, a second node, and a Python without our packages."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import urllib.request
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from rllib_seq.training.storage.run_folder import RunFolder

ROOT = Path(__file__).parents[3]
CLUSTER = ROOT / "tune_configs" / "cluster"
TOKEN = "a-secret-of-this-test"
STEPS = 2000

CONFIG = """
from rllib_seq.tune_configs.ppo import config

config = config.copy(copy_frozen=False)
config.environment(env_config={"num_users": 24, "reward": "regret"})
config.env_runners(num_env_runners=2, num_envs_per_env_runner=1, rollout_fragment_length=128)
model = {"window_length": 4, "d_model": 8, "num_heads": 2, "prev_reward": False}
config.training(
    model={"custom_model": "lstm_transformer", "custom_model_config": model, "max_seq_len": 24},
    train_batch_size=256,
    minibatch_size=128,
    num_epochs=1,
)
"""

GATE = """
import time
from pathlib import Path
from ray.rllib.callbacks.callbacks import RLlibCallback

class WaitForTheDeathOfANode(RLlibCallback):
    def on_train_result(self, *, result, **kwargs):
        if result["training_iteration"] == 2:
            Path(FOLDER, "is_training").touch()
            while not Path(FOLDER, "node_is_dead").exists():
                time.sleep(0.2)

config.callbacks(WaitForTheDeathOfANode)
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The commands of a Python that has what we depend on, but not us."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    # Python reads no .pth files in folders that a .pth file names: an editable installation of
    # ours is none there.
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin"


class Cluster:
    """Head and second node, one CPU each, ended by their process groups."""

    def __init__(self, bare, folder, wait_for):
        self.folder = folder
        self.ray = [bare / "python", "-m", "ray.scripts.scripts"]
        self.environment = {
            "PATH": f"{bare}:/usr/bin:/bin",
            "HOME": str(folder),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKEN,
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
            # A dead node is found within two seconds; one that is slow to answer has a minute.
            "RAY_health_check_period_ms": "500",
        }
        self.processes = []
        port, dashboard, client = (free_port() for _ in range(3))
        self.address = f"127.0.0.1:{port}"
        self.dashboard = f"http://127.0.0.1:{dashboard}"
        self.start(
            f"--head --port={port} --dashboard-port={dashboard} --ray-client-server-port={client}"
        )
        wait_for(lambda: self.ask("/api/version"), 900)
        self.start(f"--address={self.address}")
        wait_for(lambda: len(self.nodes()) == 2, 900)

    def start(self, options):
        number = len(self.processes)
        # Of their own, as on two machines: nodes unpack what a job brings.
        temporary = self.folder / str(number)
        command = [*self.ray, "start", "--block", "--num-cpus=1", f"--temp-dir={temporary}"]
        command += [f"--dashboard-agent-listen-port={free_port()}", *options.split()]
        command += ["--object-store-memory=100000000", "--disable-usage-stats"]
        with (self.folder / f"{number}.log").open("w") as log:
            self.processes.append(
                subprocess.Popen(
                    list(map(str, command)),
                    env=self.environment,
                    cwd=self.folder,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def kill(self, number):
        os.killpg(self.processes[number].pid, signal.SIGKILL)
        self.processes[number].wait()

    def ask(self, path, token=TOKEN):
        headers = {"Authorization": f"Bearer {token}"}
        try:
            request = urllib.request.Request(self.dashboard + path, headers=headers)
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)
        except (OSError, ValueError):
            return None

    def nodes(self):
        answer = self.ask("/api/v0/nodes") or {"data": {"result": {"result": []}}}
        return [n for n in answer["data"]["result"]["result"] if n["state"] == "ALIVE"]

    def workers(self):
        actors = self.ask("/api/v0/actors")["data"]["result"]["result"]
        return [a for a in actors if "RolloutWorker" in a["class_name"] and a["state"] == "ALIVE"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def cluster(bare, wait_for):
    folder = Path(tempfile.mkdtemp(prefix="op-"))  # sockets need short paths
    started = Cluster.__new__(Cluster)
    try:
        started.__init__(bare, folder, wait_for)
        yield started
    finally:
        for number in range(len(started.processes)):
            if started.processes[number].poll() is None:
                started.kill(number)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_a_submitted_job_brings_its_code_and_survives_the_death_of_a_node(
    cluster, wait_for, tmp_path
):
    checkout = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "rllib_seq", checkout / "rllib_seq", ignore=ignored)
    (checkout / "mine.py").write_text(CONFIG + GATE.replace("FOLDER", repr(str(tmp_path))))
    missing = subprocess.run(
        [cluster.ray[0], "-c", "import rllib_seq"],
        cwd=tmp_path,
        env=cluster.environment,
        capture_output=True,
    )
    assert b"No module named 'rllib_seq'" in missing.stderr
    assert cluster.ask("/api/jobs/", token="a-wrong-token") is None
    assert cluster.ask("/api/jobs/") == []

    runs = tmp_path / "runs"
    command = [*cluster.ray, "job", "submit", "--address", cluster.dashboard, "--working-dir", "."]
    command += ["--", "python", "-m", "rllib_seq", "train", "mine.py"]
    command += ["--stop-steps", str(STEPS), "--storage", f"file://{runs}", "--evaluate", "short"]
    with (tmp_path / "job.log").open("w") as log:
        job = subprocess.Popen(
            command, cwd=checkout, env=cluster.environment, stdout=log, stderr=log
        )
    wait_for((tmp_path / "is_training").exists, 900, job)
    assert len({worker["node_id"] for worker in cluster.workers()}) == 2
    cluster.kill(1)
    wait_for(lambda: len(cluster.nodes()) == 1, 900)
    (tmp_path / "node_is_dead").touch()
    code = job.wait(timeout=900)
    printed = (tmp_path / "job.log").read_text()
    assert code == 0, printed
    (place,) = runs.iterdir()
    rows = RunFolder.open(place).read_progress()
    assert STEPS <= rows[-1]["steps"] < STEPS + 2 * 256 + 256
    steps = [row["steps"] for row in rows]
    assert steps == sorted(set(steps))
    assert {"config.json", "evaluation.json", "report.html"} <= {p.name for p in place.iterdir()}
    assert f"file://{place}" in printed


@pytest.mark.slow
def test_a_driver_elsewhere_brings_our_code_to_workers_that_have_none(cluster, tmp_path):
    """`RAY_ADDRESS` set, no job submitted: the packages travel by `py_modules`."""
    (tmp_path / "mine.py").write_text(CONFIG.replace("num_env_runners=2", "num_env_runners=1"))
    arguments = ["train", "mine.py", "--stop-steps", "500", "--evaluate", "none"]
    # Our packages are on the path of the driver alone.
    code = f"import sys; sys.path.append({str(ROOT)!r}); sys.argv[1:] = {arguments!r}; "
    done = subprocess.run(
        [cluster.ray[0], "-c", code + "from rllib_seq.cli import main; main()"],
        cwd=tmp_path,
        env={**cluster.environment, "RAY_ADDRESS": cluster.address},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert RunFolder.open(run).read_progress()[-1]["steps"] >= 500


@pytest.mark.slow
def test_the_tutorial_submits_a_job(cluster, tmp_path):
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "rllib_seq", tmp_path / "rllib_seq", ignore=ignored)
    command = "python -m rllib_seq train --help"
    code = f"import cluster_job; cluster_job.submit({cluster.dashboard!r}, {command!r})"
    done = subprocess.run(
        [cluster.ray[0], "-c", code],
        cwd=tmp_path,
        env={**cluster.environment, "PYTHONPATH": str(ROOT / "examples" / "tutorials")},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert "SUCCEEDED" in done.stdout


def test_the_yaml_of_ray_up_is_valid():
    config = yaml.safe_load((CLUSTER / "ray-up.yaml").read_text())
    prepared = prepare_config(config)
    validate_config(prepared)
    pinned = f"ray[rllib,tune,default]=={version_of_ray()}"
    assert any(pinned in command for command in config["setup_commands"])


def test_the_manifest_of_kuberay_fits_our_command_line():
    manifest = yaml.safe_load((CLUSTER / "rayjob-kuberay.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayJob")
    spec = manifest["spec"]
    cluster = spec["rayClusterSpec"]
    assert cluster["rayVersion"] == version_of_ray()
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
    words = spec["entrypoint"].split()
    assert words[:4] == ["python", "-m", "rllib_seq", "train"]
    asked = int(words[words.index("--num-env-runners") + 1])
    there = sum(
        group["replicas"]
        * int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
        for group in cluster["workerGroupSpecs"]
    )
    assert asked <= there
    help_text = subprocess.run(
        [sys.executable, "-m", "rllib_seq", "train", "--help"], capture_output=True, text=True
    ).stdout
    assert all(word in help_text for word in words if word.startswith("--"))


def version_of_ray():
    import ray

    return ray.__version__

"""Faults, injected for real: docs/guides/faults.md says what each costs."""

import csv
import io
import json
import pickle
import shutil
import sys
from pathlib import Path

import pytest
from rich.console import Console

from rllib_seq.errors import UserError
from rllib_seq.training.config.experiment import Options
from rllib_seq.training.run.trainer import Limits
from rllib_seq.training.storage.run_folder import RunFolder
from rllib_seq.training.train import resume_training, run_training

HERE = Path(__file__).parent


@pytest.mark.parametrize("stack", ["old_stack", "new_stack"])
def test_training_goes_on_after_whatever_befalls_a_worker(stack, ray_session, tmp_path):
    """It raises, is killed, hangs, and brings NaN; every fault is given, and no step is lost."""
    module = tmp_path / "config.py"
    # One file, because what a config file defines travels to the workers by value.
    envs = (HERE / "failing_envs.py").read_text()
    module.write_text(f"{envs}\n\nconfig = failing({stack}(), {str(tmp_path)!r})\n")
    console = Console(file=io.StringIO(), width=200)
    limits = Limits(steps=1600)
    result = run_training(str(module), Options(seed=1), limits, tmp_path / "runs", console)
    printed = console.file.getvalue()
    assert {"raises", "is_killed", "hangs", "is_nan"} <= {path.name for path in tmp_path.iterdir()}
    raised = "rollout worker 1, environment 0, step 5 of the episode: OSError: the log server"
    assert raised in printed
    assert "rollout worker 1 has not answered for 10 s" in printed
    assert "observation feature 1 is nan" in printed
    rows = RunFolder.open(result.run).read_progress()
    assert rows[-1]["steps"] >= 1600
    steps = [row["steps"] for row in rows]
    assert steps == sorted(set(steps))


TRAIN = """
import sys
from pathlib import Path
from rllib_seq.training.run import trainer

trainer._CHECKPOINT_SECONDS = 0
sys.argv = ["rllib-seq", "train", "{config}", "--storage", "{storage}", "--seed", "5",
            "--num-env-runners", "0", "--stop-steps", "1000000"]
from rllib_seq.cli import main
main()
"""


def learning_rate(checkpoint):
    state = pickle.loads((checkpoint / "policies" / "bidder" / "policy_state.pkl").read_bytes())
    (optimizer,) = state["_optimizer_variables"]
    (group,) = optimizer["param_groups"]
    return group["lr"], {int(entry["step"]) for entry in optimizer["state"].values()}


def test_a_killed_driver_and_a_damaged_checkpoint(
    ray_session, tmp_path, traces, wait_for, without_evaluation
):
    """kill -9 leaves no process; --resume goes on, from the checkpoint before if need be."""
    config = tmp_path / "config.py"
    config.write_text(
        f"import sys; sys.path.append({str(HERE)!r})\n"
        "from tiny import config\n"
        "config = config.copy(copy_frozen=False)\n"
        "config.training(lr_schedule=[[0, 1e-3], [10_000, 0.0]])\n"
    )
    storage = tmp_path / "runs"
    code = TRAIN.format(config=config, storage=storage)
    with traces.command(sys.executable, "-c", code) as driver:
        wait_for(lambda: list(storage.glob("*/checkpoint_00000[4-9]")), 900, driver)
        assert any("ray::" in command for command in traces.processes())
        driver.kill()
    wait_for(lambda: not traces.processes(agents=False), 600)

    run = RunFolder.open(next(storage.iterdir()))
    *_, before, newest = run.checkpoints()
    damaged = newest / "policies" / "bidder" / "policy_state.pkl"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with pytest.raises(UserError, match=f"{newest.name}' is damaged.*take the one.*{before.name}$"):
        resume_training(run.path, Limits(steps=1), Console(file=io.StringIO()))

    rows = run.read_progress()
    standing = json.loads((before / "progress.json").read_text())
    rate, (updates,) = learning_rate(before)
    copies = [shutil.copytree(run.path, tmp_path / name) for name in ("first", "second")]
    curves = []
    for copy in copies:
        limits = Limits(steps=standing["steps"] + 600)
        resume_training(copy / before.name, limits, Console(file=io.StringIO()))
        resumed = RunFolder.open(copy)
        after = resumed.read_progress()
        assert after[: standing["iteration"]] == rows[: standing["iteration"]]
        assert after[standing["iteration"]]["steps"] < standing["steps"] + 600
        assert [row["iteration"] for row in after] == list(range(1, len(after) + 1))
        new_rate, (new_updates,) = learning_rate(resumed.checkpoints()[-1])
        per_iteration = updates / standing["iteration"]
        more = per_iteration * (len(after) - standing["iteration"])
        assert new_updates == pytest.approx(updates + more, rel=0.5)
        assert new_updates > updates
        # The schedule is where the steps are, within an iteration.
        assert new_rate < rate
        assert new_rate == pytest.approx(1e-3 * (1 - after[-1]["steps"] / 10_000), abs=5e-5)
        numbers = ("steps", "episode_return", "policy_loss", "entropy")
        curves.append([[row[name] for name in numbers] for row in after])
    assert curves[0] == curves[1]  # random state: the session's seed, nothing else


CLEAN = """
import os, sys
from pathlib import Path
from rich.console import Console
from rllib_seq.training.config.experiment import Options
from rllib_seq.training.evaluation.comparison import EvaluationProtocol
from rllib_seq.training.train import run_training
from rllib_seq.training.run.trainer import Limits

def train(module, options):
    return run_training(module, options, Limits(steps=300), Path({storage!r}), Console(),
                        EvaluationProtocol(episodes=1, num_users=64))

def left_behind():
    rllibs = Path("~/ray_results").expanduser()
    return os.listdir(os.environ["TMPDIR"]) + ([str(rllibs)] if rllibs.exists() else [])

train({tiny!r}, Options())
assert left_behind() == [], left_behind()
try:
    train({failing!r}, Options(num_env_runners=0))
except Exception as error:
    (place,), (logs,) = error.__cause__.__notes__, error.__notes__
assert "environment 0, step 3 of the episode" in place, place
logs = Path(logs.removeprefix("Ray's logs: "))
assert (logs / "raylet.out").is_file()
assert left_behind() == [], left_behind()
print("clean")
"""

RAISES = """
import gymnasium as gym
from ray.rllib.algorithms.ppo import PPOConfig
from ray.tune.registry import register_env

class Raises(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (3,))
    action_space = gym.spaces.Discrete(2)
    t = 0

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}

    def step(self, action):
        self.t += 1
        if self.t == 3:
            raise OSError("no market")
        return self.observation_space.sample(), 0.0, False, False, {}

register_env("raises", lambda _: Raises())
config = PPOConfig().environment("raises")
"""


def test_success_and_failure_leave_no_process_and_no_folder(tmp_path, traces):
    failing = tmp_path / "failing.py"
    failing.write_text(RAISES)
    code = CLEAN.format(
        storage=str(tmp_path / "runs"),
        tiny=str(HERE / "tiny.py"),
        failing=str(failing),
    )
    with traces.command(sys.executable, "-c", code) as command:
        printed, errors = command.communicate(timeout=900)
    assert printed.rstrip().endswith("clean"), printed + errors
    assert not traces.processes(agents=False)


def test_two_learners_learn_as_one(ray_session, tmp_path, without_evaluation):
    """On CPUs; with GPUs the same setting gives each learner its own."""
    module = tmp_path / "learners.py"
    module.write_text(
        "from ray.rllib.algorithms.ppo import PPOConfig\n"
        "from rllib_seq.models import use_sequence_module\n"
        "config = PPOConfig().environment('AdAuction-v0', env_config={'num_users': 24})\n"
        "use_sequence_module(config, window_length=4, d_model=8, num_heads=2)\n"
        "config.training(train_batch_size_per_learner=64, minibatch_size=32, num_epochs=1)\n"
        "config.env_runners(num_env_runners=0)\n"
        "config.learners(num_learners=2, num_cpus_per_learner=1)\n"
    )
    console, limits = Console(file=io.StringIO()), Limits(steps=200)
    result = run_training(str(module), Options(seed=1), limits, tmp_path / "runs", console)
    run = RunFolder.open(result.run)
    with (run.path / "progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert any(row["policy_loss"] for row in rows)
    learner = run.checkpoints()[-1] / "learner_group" / "learner"
    state = pickle.loads((learner / "state.pkl").read_bytes())
    (optimizer,) = state["optimizer"].values()
    assert all(int(entry["step"]) > 0 for entry in optimizer["state"]["state"].values())

"""Runs as users start them: a real Ray, real workers, a small model."""

import csv
import functools
import io
import json
import os
import pickle
import re
import signal
import sys
from pathlib import Path

import pytest
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.policy.policy import Policy
from rich.console import Console

from rllib_seq.cli import main
from rllib_seq.errors import UserError
from rllib_seq.training.config.experiment import Options
from rllib_seq.training.evaluation import comparison
from rllib_seq.training.evaluation.comparison import EvaluationProtocol
from rllib_seq.training.run.trainer import Limits
from rllib_seq.training.storage.run_folder import RunFolder
from rllib_seq.training.train import resume_training, run_training

TINY = str(Path(__file__).with_name("tiny.py"))
STACKS = {"old": TINY, "new": str(Path(__file__).with_name("tiny_new_stack.py"))}
SMALL = EvaluationProtocol(episodes=1, num_users=256)


@pytest.fixture(scope="module", params=list(STACKS))
def finished(request, ray_session, tmp_path_factory):
    """A finished run of either API stack, and what it printed."""
    console = Console(file=io.StringIO(), width=110)
    storage = tmp_path_factory.mktemp("runs")
    config = STACKS[request.param]
    # With a worker of its own on the old stack; test_faults.py has those of the new one.
    options = Options(seed=3, num_env_runners=int(request.param == "old"))
    result = run_training(config, options, Limits(steps=800), storage, console, SMALL)
    return result, console.file.getvalue()


def test_a_run_leaves_its_folder(finished):
    run = Path(finished[0].run)
    names = {path.name for path in run.iterdir()}
    assert {"config.json", "progress.csv", "evaluation.json", "report.html"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    config = json.loads((run / "config.json").read_text())
    assert config["seed"] == 3
    assert config["versions"]["ray"].startswith("2.")
    with (run / "progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert int(rows[-1]["steps"]) >= 800
    assert [int(row["iteration"]) for row in rows] == list(range(1, len(rows) + 1))
    assert float(rows[-1]["pct_of_bayes"]) != 0
    learned = ["entropy", "policy_loss", "value_loss", "value_explained_variance", "grad_norm"]
    assert all(row[name] for row in rows for name in learned)


def test_the_last_lines_are_the_table_and_the_places(finished):
    result, printed = finished
    tail = printed[printed.index("profit / user") :]
    for policy in ("random", "fixed", "memoryless", "bayes", "full_information", "trained"):
        assert policy in tail
    assert printed.rstrip().splitlines()[-1] == f"run folder: {result.run}"
    assert f"checkpoint: {result.checkpoint}" in tail


def test_evaluation_follows_the_contract(finished):
    evaluation = json.loads((Path(finished[0].run) / "evaluation.json").read_text())
    assert evaluation == finished[0].evaluation.to_json()
    assert len(evaluation["seeds"]) >= 3
    assert {row["policy"] for row in evaluation["policies"]} >= {"trained", "bayes", "memoryless"}


def test_auxiliary_heads_are_calibrated(finished):
    result, printed = finished
    cards = {card.head: card for card in result.evaluation.calibration}
    assert cards.keys() == {"won", "converted"}
    trained = [row for row in result.evaluation.policies if row.policy == "trained"]
    requests = sum(row.requests for row in trained)
    for name, card in cards.items():
        assert card.requests == sum(row["count"] for row in card.bins) == requests
        assert 0 < card.base_rate < 1 and 0 <= card.ece <= 1
        assert card.brier_base_rate == pytest.approx(card.base_rate * (1 - card.base_rate))
        truth = card.truth
        assert truth.base_rate == pytest.approx(card.base_rate, abs=0.05)
        assert sum(row["count"] for row in truth.bins) == truth.requests <= requests
        assert name in printed[printed.index("auxiliary heads") :]
    won = sum(row.wins for row in trained)
    assert cards["won"].base_rate == pytest.approx(won / requests)
    assert cards["won"].truth.futures is None and cards["converted"].truth.futures == 8


def test_the_report_stands_alone(finished):
    page = (Path(finished[0].run) / "report.html").read_text()
    assert "Reliability: won | bid" in page and "Reliability: converted in 8" in page
    assert "memoryless" in page
    assert "Plotly.newPlot" in page
    assert "<script src=" not in page
    assert "<link" not in page


def learner_state(checkpoint):
    """Weights, and the steps that each moment of the optimizer is an average over."""
    if (checkpoint / "policies").is_dir():
        state = Policy.from_checkpoint(str(checkpoint / "policies" / "bidder")).get_state()
        (optimizer,) = state["_optimizer_variables"]
        return state["weights"], {int(entry["step"]) for entry in optimizer["state"].values()}
    learner = checkpoint / "learner_group" / "learner"
    weights = RLModule.from_checkpoint(str(learner / "rl_module" / "bidder")).get_state()
    (optimizer,) = pickle.loads((learner / "state.pkl").read_bytes())["optimizer"].values()
    return weights, {int(entry["step"]) for entry in optimizer["state"]["state"].values()}


def test_a_resumed_run_joins_the_old_curve(finished, without_evaluation):
    run = RunFolder.open(Path(finished[0].run))
    before, checkpoint = run.read_progress(), run.checkpoints()[-1]
    weights, (updates,) = learner_state(checkpoint)
    # A row after the checkpoint, as a killed run leaves it, is written again.
    run.append_progress({**before[-1], "iteration": before[-1]["iteration"] + 1})
    limits = Limits(steps=before[-1]["steps"] + 300)
    resume_training(run.path, limits, Console(file=io.StringIO()))
    after = run.read_progress()
    assert after[: len(before)] == before
    assert [row["iteration"] for row in after] == list(range(1, len(after) + 1))
    first_new = after[len(before)]
    assert before[-1]["steps"] < first_new["steps"] <= before[-1]["steps"] + 800
    assert first_new["seconds"] > before[-1]["seconds"]
    newest, (all_updates,) = learner_state(run.checkpoints()[-1])
    moved = [abs(newest[key] - weights[key]).max() for key in weights]
    assert 0 < max(moved) < 0.1  # went on from the old weights, not from new ones
    # Iterations differ in size, so in updates, by less than two.
    assert all_updates == pytest.approx(updates * len(after) / len(before), rel=0.5)
    assert all_updates > updates


def test_a_finished_run_has_nothing_left_to_do(finished, without_evaluation):
    run = RunFolder.open(Path(finished[0].run))
    rows = run.read_progress()
    resume_training(run.path, None, Console(file=io.StringIO()))
    assert run.read_progress() == rows


def test_ctrl_c_writes_a_last_checkpoint_that_evaluate_reads(
    tmp_path, traces, wait_for, monkeypatch
):
    command = Path(sys.executable).with_name("rllib-seq")
    arguments = ["train", TINY, "--stop-time-s", "500", "--storage", str(tmp_path)]
    with traces.command(command, *arguments) as process:
        wait_for(lambda: list(tmp_path.glob("*/progress.csv")), 900, process)
        assert any("ray::" in command for command in traces.processes())
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to Ray's processes, too
        _, errors = process.communicate(timeout=900)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert traces.folders() == []
    assert traces.processes() == []
    run = RunFolder.open(next(tmp_path.iterdir()))
    assert f"--resume {run.path}" in errors
    assert len(run.checkpoints()) == 1
    standing = json.loads((run.checkpoints()[0] / "progress.json").read_text())
    assert standing == run.read_progress()[-1]

    out = tmp_path / "out.json"
    protocol = functools.partial(EvaluationProtocol, num_users=64)
    monkeypatch.setattr(comparison, "EvaluationProtocol", protocol)
    words = ["rllib-seq", "evaluate", run.path, "--episodes", 1, "--seed", 50, "--json", out]
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert json.loads(out.read_text())["seeds"] == [50, 51, 52]
    assert json.loads((run.path / "evaluation.json").read_text())["seeds"] == [50, 51, 52]


ONE_STREAM = """
from ray.rllib.algorithms.impala import IMPALAConfig
from rllib_seq.models import use_sequence_module

config = IMPALAConfig().environment("AdAuction-v0", env_config={"num_users": 6})
config.env_runners(num_env_runners=1, num_envs_per_env_runner=2, rollout_fragment_length=16)
config.training(train_batch_size_per_learner=64).learners(num_learners=0)
config.reporting(min_time_s_per_iteration=0)  # iterations end before anything has come in
use_sequence_module(config, window_length=4, d_model=8, num_heads=2)
"""


def test_an_asynchronous_run_in_which_the_campaign_is_the_stream(ray_session, tmp_path):
    path = tmp_path / "one_stream.py"
    path.write_text(ONE_STREAM)
    console = Console(file=io.StringIO())
    options, limits = Options(seed=3, window_length=3), Limits(steps=400)
    result = run_training(str(path), options, limits, tmp_path / "runs", console, SMALL)
    run = RunFolder.open(Path(result.run))
    assert run.config["model"]["sequence_config"]["window_length"] == 3
    steps = [row["steps"] for row in run.read_progress()]
    assert steps[0] > 0 and steps == sorted(set(steps))
    assert any(row["policy_loss"] is not None for row in run.read_progress())
    # With more users between two requests of one, a window would reach less far than in training.
    assert result.evaluation.num_users == 6
    assert "trained" in {row.policy for row in result.evaluation.policies}


NAN_CONFIG = """
import gymnasium as gym
import numpy as np
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.tune.registry import register_env
from rllib_seq.models import use_sequence_module

class Broken(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gym.spaces.Discrete(2)
    steps = 0

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.t += 1
        self.steps += 1
        observation = np.zeros(3, np.float32)
        if self.steps == 207:
            observation[1] = np.nan
        return observation, 0.0, self.t == 10, False, {}

def old_stack():
    model = {"custom_model": "lstm_transformer", "custom_model_config": {"d_model": 8}}
    config = PPOConfig().api_stack(
        enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False
    )
    return config.training(model=model, train_batch_size=64, minibatch_size=64)

def ppo():
    config = PPOConfig().training(train_batch_size_per_learner=64, minibatch_size=64)
    return use_sequence_module(config.environment("broken"), d_model=8)

def appo():
    config = APPOConfig().training(train_batch_size_per_learner=64).learners(num_learners=0)
    config.env_runners(rollout_fragment_length=16).reporting(min_time_s_per_iteration=0)
    return use_sequence_module(config.environment("broken"), d_model=8)

register_env("broken", lambda _: Broken())
config = ALGORITHM().environment("broken")
"""


@pytest.mark.parametrize(
    ("algorithm", "workers"), [("old_stack", 0), ("old_stack", 1), ("ppo", 0), ("appo", 1)]
)
def test_a_nan_observation_stops_the_run_with_one_line(algorithm, workers, ray_session, tmp_path):
    """Also in a remote worker, whose death tells the driver nothing by itself."""
    path = tmp_path / f"nan_{algorithm}_{workers}.py"
    path.write_text(NAN_CONFIG.replace("ALGORITHM", algorithm))
    console, storage = Console(file=io.StringIO()), tmp_path / "runs"
    options, limits = Options(num_env_runners=workers), Limits(steps=10_000)
    with pytest.raises(UserError, match=r"observation feature 1 is nan.*replace or clip") as error:
        run_training(str(path), options, limits, storage, console)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith("rollout worker 1: ") == bool(workers)
    assert re.search("episode [0-9a-f]+, step 7: observation", message)
    (run,) = storage.iterdir()
    assert len(RunFolder.open(run).checkpoints()) == 1

"""The loop over an algorithm that is no more than what it returns."""

import csv
import math
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import tree

from rllib_seq.envs.ad_auction import AuctionConfig, AuctionSimulator, play
from rllib_seq.envs.ad_auction.references.oracles import BayesBids
from rllib_seq.errors import UserError
from rllib_seq.rollouts import STEPS_SAMPLED, worker
from rllib_seq.training.config.experiment import Options, prepare
from rllib_seq.training.config.modules import load_config
from rllib_seq.training.run import iterations, trainer
from rllib_seq.training.run.trainer import Limits, resumed_config, train
from rllib_seq.training.storage.run_folder import RunFolder


class Scripted:
    """An algorithm of the new API stack that returns what it is given, the last forever."""

    def __init__(self, *results):
        self.results = list(results)

    def train(self):
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, Exception):
            raise result
        return result

    def save_checkpoint(self, path):
        pass


def sampled(steps, episode_return=1.0):
    return {"env_runners": {STEPS_SAMPLED: steps, "episode_return_mean": episode_return}}


def learned(loss):
    return {"learners": {"__all_modules__": {}, "bidder": {"policy_loss": loss}}}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "error_of_worker", lambda: None)
    monkeypatch.setattr(iterations.Iterations, "take_faults", lambda self: [])
    monkeypatch.setattr(iterations, "WorkerWatch", lambda algorithm: None)
    monkeypatch.setattr(iterations, "_PAUSE_SECONDS", 0.0)
    return RunFolder.create(tmp_path, "x", {})


def rows(run):
    with (run.path / "progress.csv").open() as file:
        return list(csv.DictReader(file))


def test_iterations_without_data_leave_no_rows_and_lose_nothing(run):
    algorithm = Scripted(
        {}, sampled(10), sampled(10), learned(0.5), {}, sampled(30) | learned(0.25), sampled(50)
    )
    assert not train(algorithm, run, Limits(steps=50), lambda row: None, print, None)
    table = rows(run)
    assert [row["steps"] for row in table] == ["10", "30", "50"]
    assert [row["iteration"] for row in table] == ["1", "2", "3"]
    assert [row["policy_loss"] for row in table] == ["", "0.25", ""]
    assert [path.name for path in run.checkpoints()] == ["checkpoint_000003"]


def test_a_loss_that_comes_between_two_samples_stands_in_the_next_row(run):
    algorithm = Scripted(sampled(10), learned(0.5), {}, sampled(30))
    train(algorithm, run, Limits(steps=30), lambda row: None, print, None)
    assert [row["policy_loss"] for row in rows(run)] == ["", "0.5"]


def test_time_runs_out_without_data_too(run):
    algorithm = Scripted(sampled(10), {})
    train(algorithm, run, Limits(seconds=0.3), lambda row: None, print, None)
    assert len(rows(run)) == 1
    assert len(run.checkpoints()) == 1


def test_a_run_that_never_got_a_step_says_so(run):
    with pytest.raises(UserError, match="before the first steps came in; give it more time"):
        train(Scripted({}), run, Limits(seconds=0.1), lambda row: None, print, None)


def test_silence_ends_the_run(run, monkeypatch):
    monkeypatch.setattr(trainer, "_MOST_SILENT_SECONDS", 0.1)
    with pytest.raises(RuntimeError, match="no worker has sampled anything in"):
        train(Scripted(sampled(10), {}), run, Limits(steps=20), lambda row: None, print, None)
    assert len(run.checkpoints()) == 1


@pytest.mark.parametrize("end", [{}, ValueError("no env"), sampled(20)])
def test_a_workers_note_ends_the_run_however_the_algorithm_takes_it(run, end, monkeypatch):
    """Some algorithms go on without workers, others do not."""
    notes = iter([None, "rollout worker 1: bad data"])
    monkeypatch.setattr(worker, "error_of_worker", lambda: next(notes))
    with pytest.raises(UserError, match="^rollout worker 1: bad data$"):
        train(Scripted(sampled(10), end), run, Limits(steps=20), lambda row: None, print, None)
    assert len(run.checkpoints()) == 1


def test_other_errors_stay_what_they_are(run):
    with pytest.raises(ValueError, match="no env"):
        train(Scripted(ValueError("no env")), run, Limits(steps=20), lambda row: None, print, None)


def test_numbers_that_are_none_are_empty(run):
    train(Scripted(sampled(10, math.nan)), run, Limits(steps=5), lambda row: None, print, None)
    assert rows(run)[0]["episode_return"] == ""


def test_the_learner_takes_one_thread_unless_told_otherwise(monkeypatch):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        trainer._take_threads()
        assert torch.get_num_threads() == 2
        monkeypatch.delenv("OMP_NUM_THREADS")
        trainer._take_threads()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("preset", ["journey", "display"])
@pytest.mark.parametrize(("reward", "luck"), [("expected", 25), ("regret", 8)])
def test_progress_tells_what_is_earned_whatever_the_reward(run, preset, reward, luck):
    """Bayes' own campaigns stand at about 100 % of Bayes."""
    world = AuctionConfig(preset, num_users=8192, reward=reward, reward_scale=3.0)
    simulator = AuctionSimulator(world)
    play(simulator, BayesBids(), seed=5)
    reported = sampled(1, float(simulator.take_campaign_rewards()[0]))
    assert not train(Scripted(reported), run, Limits(steps=1), lambda row: None, print, world)
    assert float(rows(run)[0]["pct_of_bayes"]) == pytest.approx(100, abs=luck)


@pytest.mark.parametrize("module", ["tiny", "tiny_new_stack"])
def test_adam_is_fused_and_takes_the_same_steps(ray_session, module, monkeypatch):
    """Of either API stack, from the same samples."""
    path = str(Path(__file__).parents[1].joinpath(f"{module}.py"))
    config = prepare(load_config(path), Options(seed=3, num_env_runners=0))
    weights = []
    for fused in (True, False):
        if not fused:
            monkeypatch.setattr(trainer, "_fuse_optimizers", lambda algorithm: None)
        algorithm = trainer.build_algorithm(config.copy(copy_frozen=False))
        before = [np.array(part) for part in tree.flatten(algorithm.get_weights())]  # copies
        algorithm.train()
        assert [group["fused"] or False for group in _adam(algorithm).param_groups] == [fused]
        after = tree.flatten(algorithm.get_weights())
        weights.append([new - old for old, new in zip(before, after, strict=True)])
        algorithm.stop()
    assert max(abs(change).max() for change in weights[0]) > 1e-4
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def _adam(algorithm):
    if algorithm.config.enable_rl_module_and_learner:
        ((_, adam),) = algorithm.learner_group._learner.get_optimizers_for_module("bidder")
    else:
        (adam,) = algorithm.get_policy("bidder")._optimizers
    return adam


def test_a_class_that_cannot_be_imported_is_named(tmp_path, monkeypatch):
    module = types.ModuleType("maze_of_mine")
    module.Maze = type("Maze", (), {"__module__": module.__name__})
    monkeypatch.setitem(sys.modules, module.__name__, module)
    state = pickle.dumps({"config": {"env": module.Maze}})
    (tmp_path / "algorithm_state.pkl").write_bytes(state)
    monkeypatch.delitem(sys.modules, module.__name__)
    with pytest.raises(UserError, match="'maze_of_mine'.* put its folder on PYTHONPATH") as found:
        resumed_config(tmp_path)
    assert "\n" not in str(found.value)

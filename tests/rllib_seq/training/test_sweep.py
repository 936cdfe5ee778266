"""A sweep whose trial is killed, then its driver; resumed, it ends as if nothing had happened."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from rllib_seq.errors import UserError
from rllib_seq.training import trial
from rllib_seq.training.run import Protocol
from rllib_seq.training.sweep import SweepOptions, load_sweep, resume_sweep
from rllib_seq.training.sweep_folder import SweepFolder

HERE = Path(__file__).parent
MODULE = str(HERE / "tiny_sweep.py")
SMALL = Protocol(episodes=1, num_users=64)

TUNE = f"""
import sys
from rllib_seq.cli import main
from rllib_seq.training import trial

trial.CHECKPOINT_SECONDS = 0
sys.argv = ["rllib-seq", "tune", {MODULE!r}, "--num-samples", "3", "--seed", "1",
            "--storage", sys.argv[1]]
main()
"""


def results_of(sweep):
    return {
        path.parent.name: [json.loads(line) for line in path.read_text().splitlines()]
        for path in sweep.glob("trial_*/result.json")
    }


def test_validation_plays_neither_training_nor_evaluation_campaigns():
    from rllib_seq.training import evaluation

    assert trial._VALIDATION_BRANCH not in (1, evaluation._BRANCH)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("", "has no search_space"),
        ("search_space = {}", "search_space is {}; give a dict"),
        ("search_space = {'learning_rate': tune.uniform(0, 1)}", "names 'learning_rate'"),
        ("search_space = {'sequence_config': {'layers': tune.choice([1])}}", "names 'sequence_co"),
        ("search_space = {'lr': tune.uniform(0, 1)}", "lr_schedule of the config wins"),
        ("search_space = {'lr_schedule': tune.choice([None])}", "search a number or a name"),
        ("search_space = {'gamma': tune.uniform(0, 1)}", "no ray.tune.TuneConfig named"),
    ],
)
def test_a_wrong_module_is_refused(code, words, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(f"from ray import tune\nfrom tune_configs.ppo import config\n{code}\n")
    with pytest.raises(UserError, match=words):
        load_sweep(str(path))


def test_there_is_no_sweep_to_resume(tmp_path):
    with pytest.raises(UserError, match="no sweep of 'tune_configs.ppo_asha' in"):
        resume_sweep("tune_configs.ppo_asha", SweepOptions(), tmp_path, Console())
    with pytest.raises(UserError, match="num-samples is 0"):
        SweepOptions(num_samples=0)


def test_other_options_than_the_sweep_began_with_are_refused(tmp_path):
    settings = {"module": MODULE, "options": {"num_samples": 3}, "metric": "x", "mode": "max"}
    SweepFolder.create(tmp_path, "tiny_sweep", settings)
    with pytest.raises(UserError, match="--resume goes on with the sweep's own settings"):
        resume_sweep(MODULE, SweepOptions(num_samples=5), tmp_path, Console())

"""A sweep whose trial is killed, then its driver; resumed, it ends as if nothing had happened."""

import io
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from ray.exceptions import OutOfMemoryError
from rich.console import Console

from rllib_seq.errors import UserError
from rllib_seq.training.run.trainer import Limits
from rllib_seq.training.storage.run_folder import RunFolder
from rllib_seq.training.sweeps import sweep
from rllib_seq.training.sweeps.console import SweepDisplay, TrialWatcher
from rllib_seq.training.sweeps.folder import SweepFolder
from rllib_seq.training.sweeps.sweep import SweepOptions, load_sweep, resume_sweep
from rllib_seq.training.train import resume_training

HERE = Path(__file__).parents[1]
MODULE = str(HERE / "tiny_sweep.py")

TUNE = f"""
import sys
from rllib_seq.cli import main
from rllib_seq.training.sweeps import sweep, trial
from rllib_seq.training.evaluation.comparison import EvaluationProtocol

trial.CHECKPOINT_SECONDS = 0
sweep.EvaluationProtocol = lambda: EvaluationProtocol(episodes=1, num_users=64)
sys.argv = ["rllib-seq", "tune", {MODULE!r}, *sys.argv[1:]]
main()
"""


def read(path):
    """The results of a trial so far; Tune may be writing the last one."""
    return [
        json.loads(line) for line in path.read_text().splitlines(keepends=True) if line[-1:] == "\n"
    ]


@pytest.fixture(scope="module")
def swept(traces, wait_for, tmp_path_factory):
    """A sweep that lost a trial's process and its driver, was stopped by Ctrl-C, and went on.

    Its result, what the last session printed, its folder, and the rows of the first trial after it
    had been restored.
    """
    storage = tmp_path_factory.mktemp("sweeps")

    def tune(*arguments):
        return traces.command(sys.executable, "-c", TUNE, "--storage", storage, *arguments)

    def results(trial="*"):
        return [row for path in storage.glob(f"*/trial_{trial}/result.json") for row in read(path)]

    with tune("--num-samples", "2", "--seed", "1") as driver:
        wait_for(lambda: list(storage.glob("*/trial_00000/checkpoint_*")), 900, driver)
        killed = wait_for(lambda: results("00000"), 600, driver)[-1]["pid"]
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: results("00000")[-1]["pid"] != killed, 900, driver)
        restored = results("00000")
        assert any("ray::" in command for command in traces.processes())
        driver.kill()
    wait_for(lambda: not traces.processes(agents=False), 600)
    with tune("--resume") as driver:
        wait_for(lambda: any("Trainable" in one for one in traces.processes()), 900, driver)
        os.killpg(driver.pid, signal.SIGINT)  # as a terminal does
        _, stopped = driver.communicate(timeout=900)
    assert driver.returncode == 130, stopped
    assert f"--storage {storage} --resume" in stopped
    assert "Traceback" not in stopped
    assert traces.folders() == [] and traces.processes(agents=False) == []
    result = storage / "result.json"
    with tune("--resume", "--json", result) as driver:
        printed, errors = driver.communicate(timeout=900)
    assert driver.returncode == 0, errors
    assert traces.folders() == [] and traces.processes(agents=False) == []
    (folder,) = storage.glob("tiny_sweep-*")
    return json.loads(result.read_text()), printed, folder, restored


def test_a_killed_trial_goes_on_from_its_checkpoint(swept):
    _, _, _, rows = swept
    before = [row for row in rows if row["pid"] == rows[0]["pid"]]
    first_again = rows[len(before)]
    # Tune copies the checkpoint of an iteration into the storage, and may lose its row to the kill.
    assert 1 < first_again["iteration"] <= before[-1]["iteration"] + 2
    assert first_again["steps"] > before[0]["steps"]


def test_a_resumed_sweep_ends_with_every_trial_at_its_limit(swept):
    result, printed, sweep, _ = swept
    assert result["sweep"] == str(sweep)
    trials = {trial["trial"]: trial for trial in result["trials"]}
    assert sorted(trials) == ["trial_00000", "trial_00001"]
    assert all(trial["error"] is None for trial in trials.values())
    # The default is not stopped early, whatever the scheduler thinks of it.
    assert trials["trial_00000"]["steps"] >= 3000
    settings = [json.dumps(trial["settings"]) for trial in trials.values()]
    assert len(set(settings)) == 2
    for trial_ in trials.values():
        steps = [step for step, _ in trial_["curve"]]
        assert steps == sorted(set(steps))
        assert steps[-1] == trial_["steps"]
    best = max(trials.values(), key=lambda t: t["value"])
    assert result["best"] == best["trial"]
    assert best["trial"] in printed


def test_the_default_is_the_configs_own_values(swept):
    result, _, sweep, _ = swept
    defaults = json.loads((sweep / "sweep.json").read_text())["default"]
    assert result["default"] == "trial_00000"
    assert defaults == {"lr": 0.001, "sequence_config": {"window_length": 4}}
    if result["best"] == result["default"]:
        assert "no trial did better than the default" in result["verdict"]
    else:
        over, words = result["over_default"], result["verdict"]
        better = over["mean"] > over["half_width"]
        assert ("does not beat" in words) != better


def test_the_best_trial_is_a_run_folder(swept, ray_session, without_evaluation):
    result, _, sweep, _ = swept
    run = RunFolder.open(sweep / "best")
    (checkpoint,) = run.checkpoints()
    best = next(trial for trial in result["trials"] if trial["trial"] == result["best"])
    rows = run.read_progress()
    assert rows[-1]["steps"] == best["steps"]
    assert json.loads((run.path / "evaluation.json").read_text()) == result["evaluation"]
    assert (run.path / "report.html").is_file()
    limits = Limits(steps=rows[-1]["steps"] + 200)
    resume_training(run.path, limits, Console(file=io.StringIO()))
    after = RunFolder.open(run.path)
    assert after.read_progress()[: len(rows)] == rows
    assert after.read_progress()[-1]["steps"] >= limits.steps
    assert checkpoint.name < after.checkpoints()[-1].name


def test_the_report_shows_settings_and_curves(swept):
    result, _, sweep, _ = swept
    page = (sweep / "report.html").read_text()
    assert '"type":"parcoords"' in page
    assert "Learning curves" in page
    assert all(trial["trial"] in page for trial in result["trials"])
    assert result["verdict"].split(":")[0] in page
    assert "<script src=" not in page


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


def test_trials_that_ray_ends_for_their_memory_end_in_one_line():
    class Tuner:
        def fit(self):
            raise RuntimeError("unexpected") from OutOfMemoryError("2 worker(s) were killed")

    with pytest.raises(UserError, match="memory ran out.*go on with: rllib-seq tune mine"):
        sweep._fit(Tuner(), "rllib-seq tune mine --resume")


def test_a_sweep_that_was_stopped_says_nothing_of_the_next_one():
    TrialWatcher().on_step_begin(1, [])
    assert not TrialWatcher.finished
    with SweepDisplay(Console(file=io.StringIO()), "validation_profit", "max"):
        assert TrialWatcher.finished

import json
import math
from pathlib import Path

import pytest

from rllib_seq.errors import UserError
from rllib_seq.training.storage.files import write_json
from rllib_seq.training.storage.run_folder import (
    RunFolder,
    evaluation_path,
    find_checkpoint,
    modules_folder,
)


def folder(tmp_path):
    return RunFolder.create(tmp_path, "x", {"seed": 1})


def save(run, iteration, content="weights"):
    def write(path):
        (path / "policies").mkdir(parents=True)
        (path / "policies" / "state").write_text(content)

    return run.save_checkpoint(write, {"iteration": iteration, "steps": 10, "seconds": 1.0})


def test_two_runs_of_the_same_second_do_not_share_a_folder(tmp_path):
    assert folder(tmp_path).path != folder(tmp_path).path


def test_progress_survives_reading_and_is_cut_at_a_checkpoint(tmp_path):
    run = folder(tmp_path)
    assert run.read_progress() == []
    rows = [
        {"iteration": i, "seconds": i / 2, "steps": 10 * i, "entropy": None} for i in range(1, 5)
    ]
    for row in rows:
        run.append_progress(row)
    assert run.read_progress() == rows
    run.rewind_progress(2)
    assert run.read_progress() == rows[:2]
    run.append_progress(rows[2])
    assert run.read_progress() == rows[:3]
    with (run.path / "progress.csv").open("a") as file:
        file.write("4,2.")  # as kill -9 leaves it
    assert run.read_progress() == rows[:3]
    run.rewind_progress(3)
    run.append_progress(rows[3])
    assert run.read_progress() == rows


def test_a_checkpoint_that_fails_half_way_leaves_the_one_before(tmp_path):
    run = folder(tmp_path)
    good = save(run, 1)

    def broken(path):
        path.mkdir()
        (path / "half").write_text("")
        raise OSError("disk full")

    with pytest.raises(UserError, match="disk full; checkpoint_000001 is whole"):
        run.save_checkpoint(broken, {"iteration": 2, "steps": 20, "seconds": 2.0})
    assert run.checkpoints() == [good]
    assert find_checkpoint(run.path) == good
    assert save(run, 2).name == "checkpoint_000002"  # what was left over does not hinder


def test_the_newest_checkpoints_are_kept(tmp_path):
    run = folder(tmp_path)
    for iteration in (1, 2, 9, 10, 100):
        save(run, iteration)
    names = [path.name for path in run.checkpoints()]
    assert names == ["checkpoint_000009", "checkpoint_000010", "checkpoint_000100"]
    assert json.loads((run.checkpoints()[-1] / "progress.json").read_text())["iteration"] == 100


def test_missing_things_are_named(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="checkpoint .*nowhere' does not exist"):
        find_checkpoint(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is not a checkpoint"):
        find_checkpoint(tmp_path)
    with pytest.raises(UserError, match="has no checkpoint yet"):
        find_checkpoint(folder(tmp_path).path)
    monkeypatch.chdir(tmp_path)
    for modules in ("policies", "learner_group/learner/rl_module"):  # of both API stacks
        (tmp_path / modules[:3] / modules).mkdir(parents=True)
        checkpoint = find_checkpoint(Path(modules[:3]))
        assert checkpoint.is_absolute()  # RLlib takes others for URIs
        assert modules_folder(checkpoint) == checkpoint / modules
    with pytest.raises(UserError, match="is not a run folder"):
        RunFolder.open(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="storage"):
        RunFolder.create(tmp_path / "file", "x", {})


def test_evaluations_go_into_the_run_folder(tmp_path, monkeypatch):
    run = folder(tmp_path)
    assert evaluation_path(save(run, 1)) == run.path / "evaluation.json"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "alone").mkdir()
    assert evaluation_path(tmp_path / "alone") == tmp_path / "evaluation.json"


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"a": math.nan})
    assert list(tmp_path.iterdir()) == []

"""Folders by URI: pyarrow's filesystem and one of fsspec stand for all."""

import uuid

import fsspec
import pytest

from rllib_seq.errors import UserError
from rllib_seq.training.storage.locations import Remote, is_uri, local_copy, send_back
from rllib_seq.training.storage.run_folder import RunFolder, find_checkpoint, split_checkpoint
from rllib_seq.training.sweeps.folder import SweepFolder


@pytest.fixture(params=["file", "memory"])
def uri(request, tmp_path):
    if request.param == "file":
        return f"file://{tmp_path}/bucket"
    return f"memory://{uuid.uuid4()}"


def save(run, iteration, content="weights"):
    def write(path):
        (path / "policies").mkdir(parents=True)
        (path / "policies" / "state").write_text(content)

    return run.save_checkpoint(write, {"iteration": iteration, "steps": 10, "seconds": 1.0})


def test_a_run_is_kept_there_and_opened_from_there(uri):
    run = RunFolder.create(uri, "x", {"seed": 1})
    assert run.place.startswith(f"{uri}/x-")
    run.append_progress({"iteration": 1, "steps": 10})
    for iteration in range(1, 6):
        save(run, iteration)
    run.publish()
    there = Remote(run.place)
    names = [f"checkpoint_00000{i}" for i in (3, 4, 5)]
    assert there.names() == [*names, "config.json", "progress.csv"]
    run.close()
    assert not run.path.parent.exists()

    again = RunFolder.open(run.place)
    assert again.read_progress() == [{"iteration": 1, "steps": 10}]
    assert [path.name for path in again.checkpoints()] == names
    again.remove_checkpoint(again.checkpoints()[-1])
    assert Remote(run.place).names()[:2] == names[:2]
    again.close()


def test_a_checkpoint_whose_copying_was_cut_short_is_none(uri):
    run = RunFolder.create(uri, "x", {"seed": 1})
    save(run, 1)
    save(run, 2)
    filesystem, root = fsspec.core.url_to_fs(run.place)
    filesystem.rm(f"{root}/checkpoint_000002/files.json")
    run.close()
    again = RunFolder.open(run.place)
    assert [path.name for path in again.checkpoints()] == ["checkpoint_000001"]
    again.close()


def test_a_copy_to_read_goes_and_what_is_written_goes_back(uri):
    run = RunFolder.create(uri, "x", {"seed": 1})
    save(run, 1)
    run.close()
    with local_copy(run.place) as folder:
        assert find_checkpoint(folder).name == "checkpoint_000001"
        (folder / "report.html").write_text("page")
        assert send_back(folder / "report.html", folder, run.place) == f"{run.place}/report.html"
    assert not folder.exists()
    assert "report.html" in Remote(run.place).names()


def test_sweeps_are_found_again(uri):
    for module in ("a", "b", "a"):
        with SweepFolder.create(uri, "sweep", {"module": module}) as last:
            pass
    with SweepFolder.newest(uri, "a") as found:
        assert found.place == last.place
        assert found.settings == {"module": "a"}
    with pytest.raises(UserError, match="no sweep of 'c'"):
        SweepFolder.newest(uri, "c")


def test_what_is_not_there_is_named(uri):
    with pytest.raises(UserError, match="is not a run folder"):
        RunFolder.open(f"{uri}/nothing")
    with pytest.raises(UserError, match="does not exist"), local_copy(f"{uri}/nothing"):
        pass
    with pytest.raises(UserError, match="cannot use storage 'nope://x'"):
        Remote("nope://x")
    assert not is_uri("runs/x")


@pytest.mark.parametrize(
    ("place", "parts"),
    [
        ("runs/x", ("runs/x", None)),
        ("runs/x/checkpoint_000001/", ("runs/x", "checkpoint_000001")),
        ("checkpoint_000001", (".", "checkpoint_000001")),
        ("s3://b/x/checkpoint_000001?a=b", ("s3://b/x?a=b", "checkpoint_000001")),
        ("s3://b/x?a=b", ("s3://b/x?a=b", None)),
    ],
)
def test_a_checkpoint_is_told_from_its_run(place, parts):
    assert split_checkpoint(place) == parts


def test_options_of_a_uri_stay_behind_its_path():
    remote = Remote("file:///tmp/bucket?").child("run")
    assert (remote.name, remote.uri) == ("run", "file:///tmp/bucket/run?")

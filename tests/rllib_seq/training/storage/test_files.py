import resource
import signal

import pytest

from rllib_seq.errors import UserError
from rllib_seq.training.storage.files import SEAL, check_seal, seal
from rllib_seq.training.storage.run_folder import RunFolder


def save(run, iteration, size=1000):
    def write(path):
        (path / "policies").mkdir(parents=True)
        (path / "policies" / "state").write_bytes(bytes(size))

    return run.save_checkpoint(write, {"iteration": iteration, "steps": 10, "seconds": 1.0})


def change(path):
    path.write_bytes(b"\1" + path.read_bytes()[1:])


@pytest.fixture
def run(tmp_path):
    return RunFolder.create(tmp_path, "x", {"seed": 1})


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (change, "policies/state is not what was written"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "is not what was written"),
        (lambda path: path.unlink(), "policies/state is missing"),
        (lambda path: (path.parents[1] / SEAL).write_text("{"), f"{SEAL} is not what was written"),
    ],
)
def test_damage_is_found_and_the_newest_whole_checkpoint_is_offered(harm, words, run):
    first, second, third = (save(run, iteration) for iteration in (1, 2, 3))
    for checkpoint in (first, second, third):
        check_seal(checkpoint)
    harm(third / "policies" / "state")
    with pytest.raises(UserError, match=f"{words}; take the one before: {second}$"):
        check_seal(third)
    change(second / "policies" / "state")
    with pytest.raises(UserError, match=f"take the one before: {first}$"):
        check_seal(third)
    change(first / "policies" / "state")
    with pytest.raises(UserError, match="there is none before that is whole$"):
        check_seal(third)


def test_a_pickle_that_was_added_is_damage(run):
    checkpoint = save(run, 1)
    (checkpoint / "policies" / "note.txt").write_text("x")
    check_seal(checkpoint)
    (checkpoint / "policies" / "more.pkl").write_bytes(b"x")
    with pytest.raises(UserError, match="policies/more.pkl was added after it was written"):
        check_seal(checkpoint)


def test_checkpoints_of_rllib_itself_pass(tmp_path):
    (tmp_path / "state").write_text("x")
    check_seal(tmp_path)
    seal(tmp_path)
    check_seal(tmp_path)


def test_a_full_disk_leaves_the_checkpoint_before_and_says_how_to_go_on(run):
    """The system refuses to write more, as it does on a full disk."""
    good = save(run, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
        with pytest.raises(UserError, match="cannot write checkpoint_000002: .*--resume") as error:
            save(run, 2, size=10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "checkpoint_000001 is whole" in str(error.value)
    assert run.checkpoints() == [good]
    check_seal(good)
    assert sorted(path.name for path in run.path.iterdir()) == ["checkpoint_000001", "config.json"]
    check_seal(save(run, 2, size=10_000))  # once there is room

import pytest

from rllib_seq.rollouts import faults
from rllib_seq.rollouts.faults import Faults, leave_fault, name_faults


class Env:
    def reset(self, *, seed=None):
        return seed

    def step(self, action):
        if action == {"user_2": 1, "user_1": 0}:
            raise KeyError("market")
        return action


@pytest.fixture
def reported(monkeypatch):
    lines = []
    monkeypatch.setattr(faults, "leave_fault", lambda who, error: lines.append((who, error)))
    return lines


def test_an_exception_says_where_and_when(reported):
    env = name_faults(Env(), "rollout worker 2, environment 0")
    assert env.reset(seed=7) == 7
    assert env.step(3) == 3
    env.reset()
    env.step(1)
    with pytest.raises(KeyError) as error:
        env.step({"user_2": 1, "user_1": 0})
    place = "rollout worker 2, environment 0, step 2 of the episode, with actions of user_1, user_2"
    assert error.value.__notes__ == [place]
    assert reported == [(place, error.value)]


def test_faults_are_read_once_and_equal_ones_are_counted(ray_session):
    Faults().new()
    leave_fault("worker 1", ValueError("odd\nand long"))
    leave_fault("worker 2", OSError("gone"))
    leave_fault("worker 1", ValueError("odd"))
    assert Faults().new() == ["worker 1: ValueError: odd (2 times)", "worker 2: OSError: gone"]
    assert Faults().new() == []

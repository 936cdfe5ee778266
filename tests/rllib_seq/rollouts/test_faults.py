import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, Tuple

from rllib_seq.errors import UserError
from rllib_seq.rollouts import faults
from rllib_seq.rollouts.faults import Faults, leave_fault, name_faults


class Env:
    def reset(self, *, seed=None):
        return seed, {}

    def step(self, action):
        if action == {"user_2": 1, "user_1": 0}:
            raise KeyError("market")
        return action, 0.0, False, False, {}


class Returns:
    """`reset` and `step` return what they are made with."""

    def __init__(self, space, begin, after):
        self.observation_space, self.begin, self.after = space, begin, after

    def reset(self):
        return self.begin

    def step(self, action):
        return self.after


@pytest.fixture
def reported(monkeypatch):
    lines = []
    monkeypatch.setattr(faults, "leave_fault", lambda who, error: lines.append((who, error)))
    return lines


def test_an_exception_says_where_and_when(reported):
    env = name_faults(Env(), "rollout worker 2, environment 0")
    assert env.reset(seed=7) == (7, {})
    assert env.step(3)[0] == 3
    env.reset()
    env.step(1)
    with pytest.raises(KeyError) as error:
        env.step({"user_2": 1, "user_1": 0})
    place = "rollout worker 2, environment 0, step 2 of the episode, with actions of user_1, user_2"
    assert error.value.__notes__ == [place]
    assert reported == [(place, error.value)]


FLAT = Box(-1, 1, (3,))
NESTED = Dict({"a": Tuple((Discrete(3), FLAT)), "b": MultiBinary(2)})
GOOD = {"a": (np.int64(2), np.zeros(3)), "b": [0, 1]}


@pytest.mark.parametrize(
    ("space", "begin", "after", "message"),
    [
        (FLAT, np.zeros(3), (), r"step 0 .*: reset\(\) returned ndarray; .*\(observation, info\)"),
        (FLAT, (np.zeros(4), {}), (), r"step 0 .*: the observation has shape \(4,\), .* \(3,\)"),
        (FLAT, (np.zeros(3), {}), (np.zeros(3), 0, False, {}), r"step\(\) returned 4 values"),
        (
            FLAT,
            (np.zeros(3), {}),
            (np.zeros(3), np.zeros(1), False, False, {}),
            r"step 1 .*: the reward has shape \(1,\)",
        ),
        (
            NESTED,
            (GOOD, {}),
            ({**GOOD, "a": (2, np.zeros(2))}, 0.0, False, False, {}),
            r"step 1 .*: part 1 of 'a' has shape \(2,\), .* \(3,\)",
        ),
    ],
)
def test_what_gymnasium_does_not_ask_for_is_one_line(space, begin, after, message):
    env = name_faults(Returns(space, begin, after), "environment 0")
    with pytest.raises(UserError, match=message) as error:
        env.reset()
        env.step(0)
    assert "\n" not in str(error.value)


def test_faults_are_read_once_and_equal_ones_are_counted(ray_session):
    Faults().new()
    leave_fault("worker 1", ValueError("odd\nand long"))
    leave_fault("worker 2", OSError("gone"))
    leave_fault("worker 1", ValueError("odd"))
    assert Faults().new() == ["worker 1: ValueError: odd (2 times)", "worker 2: OSError: gone"]
    assert Faults().new() == []

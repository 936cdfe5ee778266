"""Learners from outcomes side by side: the table, and the one that is outside Ray."""

import numpy as np
import pytest

from rllib_seq.benchmarks.learning import sb3_runs
from rllib_seq.benchmarks.learning.contenders import PEERS, config_of
from rllib_seq.benchmarks.learning.statistics import median_to_goal
from rllib_seq.benchmarks.learning.summary import reached
from rllib_seq.training.config.checks import training_signal


@pytest.mark.parametrize("name", PEERS)
def test_all_of_them_learn_from_outcomes(name):
    config = config_of(PEERS[name], "journey", 1000, 1)
    config.validate()
    assert training_signal(config) == "outcomes"


def cell(contender, seed, curve):
    """A run whose curve is `[(steps, % of Bayes)]`; a processor second is a thousand requests."""
    points = [
        {"steps": steps, "seconds": 1.0, "cpu_seconds": steps / 1000, "pct_of_bayes": share}
        for steps, share in curve
    ]
    return {"contender": contender, "seed": seed, "curve": points}


def test_goals_are_the_first_points_that_reach_them():
    rows = [
        cell("a", 1, [(1000, 70.0), (2000, 81.0), (3000, 79.0), (4000, 92.0)]),
        cell("a", 2, [(1000, 85.0), (2000, 88.0)]),
        cell("b", 1, [(1000, 10.0)]),
    ]
    found = reached([row for row in rows if row["contender"] == "a"])
    assert [point and (point["steps"], point["cpu_seconds"]) for point in found["80"]] == [
        (2000, 2.0),
        (1000, 1.0),
    ]
    assert [point and point["steps"] for point in found["90"]] == [4000, None]
    assert median_to_goal(found["80"]) == "1,500 (2 s)"
    assert median_to_goal(found["90"]) == "1 of 2"
    assert median_to_goal(found["95"]) == "not reached"


def test_sb3_learns_and_its_policy_remembers_every_stream(monkeypatch):
    pytest.importorskip("sb3_contrib")
    monkeypatch.setattr(sb3_runs, "_USERS", 4)
    seen = []
    contender = PEERS["sb3_recurrent_ppo"]
    row, actor = sb3_runs.train_sb3(contender, "journey", 150, 1, lambda at, _: seen.append(at))
    assert [at["steps"] for at in seen] == [96, 192] == [seen[0]["steps"], row["steps"]]
    observations = np.random.default_rng(0).random((3, 2, 8)).astype(np.float32)
    everyone = np.arange(2)
    actor.start(2)
    together = [actor.act(everyone, step, np.zeros(2)) for step in observations]
    alone = []
    for stream in range(2):
        actor.start(2)
        who = np.array([stream])
        alone.append([actor.act(who, step[who], np.zeros(1))[0] for step in observations])
    np.testing.assert_array_equal(np.transpose(together), alone)
    forked = actor.fork()
    last = observations[-1, :1]
    first = np.zeros(1, np.int64)
    np.testing.assert_array_equal(
        actor.act(first, last, np.zeros(1)), forked.act(first, last, np.zeros(1))
    )

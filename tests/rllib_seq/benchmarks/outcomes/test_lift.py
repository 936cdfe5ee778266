"""`rllib-seq bench lift`: which runs, that they go on, and what must hold."""

import pytest

from rllib_seq.benchmarks.outcomes import lift
from rllib_seq.errors import UserError


def test_parts_name_runs():
    """Worlds, who learns, seeds; first seeds first."""
    assert [run.path for run in lift.runs_of(("journey", "drawn-3/informed"), 2)] == [
        "journey/lift/1",
        "drawn-3/informed/1",
        "journey/lift/2",
        "drawn-3/informed/2",
    ]
    assert len(lift.runs_of((), 1)) == 11
    for odd in ("uniform", "journey/ppo", "drawn-", "journey/lift/7", "drawn-3/lift/1/2"):
        with pytest.raises(UserError, match=odd):
            lift.runs_of((odd,), 1)


def test_what_must_hold_is_a_mean_and_a_least():
    """Of the runs that were trained so long; a privileged one proves nothing."""

    def run(world, steps, gap, who="lift"):
        point = {"steps": steps, "pct_of_bayes": 97.0, "pct_of_gap": gap}
        return {"world": world, "who": who, "points": [point]}

    good = [run("drawn-100", 1_510_000, 90.0), run("drawn-101", 1_510_000, 41.0)]
    assert [row.holds for row in lift.check(good)] == [True, True]
    worse = lift.check([*good, run("drawn-102", 1_510_000, 39.0)])
    assert [row.holds for row in worse] == [False, False]
    assert lift.check([run("drawn-100", 600_000, 90.0)]) == []
    assert lift.check([run("journey", 1_210_000, 90.0, "informed")]) == []


@pytest.mark.ray
def test_a_run_goes_on_where_it_was(ray_session, tmp_path, monkeypatch):
    """A second command adds a point, and trains nothing again."""
    monkeypatch.setattr(lift, "SEEDS", (500,))
    monkeypatch.setattr(lift, "USERS", 64)
    first = lift.run(("journey",), steps=10_000, folder=tmp_path).figures["runs"][0]["points"]
    again = lift.run(("journey",), steps=10_000, folder=tmp_path).figures["runs"][0]["points"]
    assert again == first
    result = lift.run(("journey",), steps=first[0]["steps"] + 1, folder=tmp_path)
    (run,) = result.figures["runs"]
    assert run["points"][:1] == first
    assert run["points"][1]["steps"] > first[0]["steps"]
    assert run["signal"] == "outcomes"
    assert result.passed

"""What benchmarks say, on a terminal, as JSON and by the exit code."""

import json
import sys
from types import SimpleNamespace

import pytest

from rllib_seq import benchmarks
from rllib_seq.benchmarks.result import Check, Result, chosen
from rllib_seq.cli import main
from rllib_seq.errors import UserError

ROWS = [{"contender": "ours [a]", "us": 1234.5}, {"contender": "theirs", "us": None, "more": 1}]


@pytest.mark.parametrize(
    ("sign", "holds"),
    [(">=", [False, True, True]), (">", [False, False, True])]
    + [("<=", [True, True, False]), ("<", [True, False, False])],
)
def test_limits(sign, holds):
    assert [Check("x", ratio, sign, 2.0).holds for ratio in (1.0, 2.0, 3.0)] == holds


def test_parts_are_one_result_that_passes_if_all_do():
    good = Result.of_rows("a", ROWS, [Check("fast", 2.0, ">=", 1.0)], what="speed")
    both = Result.of_parts({"one": good, "two": Result({}, {}, [Check("small", 2.0, "<", 1.0)])})
    assert good.passed and not both.passed
    assert both.to_json() == {
        "one": {"what": "speed", "rows": ROWS},
        "two": {},
        "checks": [
            {"what": "fast >= 1", "ratio": 2.0, "limit": 1.0, "holds": True},
            {"what": "small < 1", "ratio": 2.0, "limit": 1.0, "holds": False},
        ],
        "passed": False,
    }
    assert Result({}).passed


@pytest.mark.parametrize(("figure", "code"), [(3.0, 0), (1.0, 1)])
def test_the_command_shows_writes_and_exits(figure, code, monkeypatch, capsys, tmp_path):
    found = Result.of_rows("speed", ROWS, [Check("ours to theirs", figure, ">=", 2.0)])
    monkeypatch.setitem(sys.modules, "made_up", SimpleNamespace(run=lambda: found))
    monkeypatch.setitem(benchmarks.BENCHMARKS, "made_up", "made_up")
    path = tmp_path / "result.json"
    monkeypatch.setattr(sys, "argv", ["rllib-seq", "bench", "made_up", "--json", str(path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code or 0) == code
    printed = capsys.readouterr().out
    verdict = "MISSED" if code else "holds"
    for word in ("speed", "ours [a]", "1,234", f"{verdict}: ours to theirs >= 2"):
        assert word in printed
    assert json.loads(path.read_text()) == found.to_json()


def test_parts_by_name():
    assert chosen(("a", "b", "c"), ()) == ["a", "b", "c"]
    assert chosen(("a", "b", "c"), ("c", "a")) == ["a", "c"]
    runs = ("task/a/1", "task/b/1", "task/a/2")
    assert chosen(runs, ("task/a",)) == ["task/a/1", "task/a/2"]
    with pytest.raises(UserError, match="no part 'd'; choose from: a, b, c"):
        chosen(("a", "b", "c"), ("d",))
    with pytest.raises(UserError, match="no part 'task/'; choose from: tasks/a"):
        chosen(("tasks/a/1",), ("task/",))

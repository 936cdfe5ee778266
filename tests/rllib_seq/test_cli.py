"""Bad input: exit code 2, one line on stderr that names the value and the fix."""

import itertools
import json
import pickle
import sys
from pathlib import Path

import pytest

from rllib_seq.cli import main
from rllib_seq.errors import UserError
from rllib_seq.training.evaluation.comparison import EvaluationProtocol
from rllib_seq.training.storage.files import seal


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["rllib-seq", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code, capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--preset", "jurney"], ["'jurney'", "'journey'"]),
        (["train", "--budget", "-1"], ["budget is -1.0", "at least 0"]),
        (["train", "--budget", "nan"], ["budget is nan", "at least 0"]),
        (["train", "--window-length", "0"], ["window_length=0", "at least 1"]),
        (["train", "--num-env-runners", "-2"], ["num-env-runners is -2", "give 0"]),
        (["train", "--stop-steps", "0"], ["stop-steps is 0", "above 0"]),
        (["train", "--stop-time-s", "nan"], ["stop-time-s is nan", "above 0"]),
        (["train", "--seed", "one"], ["--seed", "integer"]),
        (["train", "--evaluate", "fast"], ["'fast'", "none, short, full"]),
        (["train", "--sed", "1"], ["--sed", "--seed"]),
        (["train", "tune_configs.pp"], ["'tune_configs.pp'", "such as ppo"]),
        (["train", "--resume", "nowhere"], ["'nowhere'", "run folder"]),
        (["train", "--resume", "nowhere", "--seed", "3"], ["--resume", "--stop-time-s"]),
        (["train", "tune_configs.ppo", "--resume", "nowhere"], ["--resume", "--stop-time-s"]),
        (["tune"], ["config"]),
        (["tune", "tune_configs.ppo"], ["tune_configs.ppo", "no search_space"]),
        (["tune", "tune_configs.ppo_asha", "--num-samples", "0"], ["num-samples is 0", "above 0"]),
        (["tune", "tune_configs.ppo_asha", "--cpus-per-trial", "-1"], ["cpus-per-trial is -1.0"]),
        (["tune", "tune_configs.ppo_asha", "--stop-steps", "0"], ["stop-steps is 0", "above 0"]),
        (["tune", "tune_configs.ppo_asha", "--resume"], ["no sweep of", "'sweeps'", "--storage"]),
        (["train", "--storage", "nope://x"], ["cannot use storage 'nope://x'"]),
        (["evaluate", "nowhere"], ["nowhere'", "does not exist"]),
        (["evaluate", "nowhere", "--episodes", "few"], ["--episodes", "integer"]),
        (["train", "--json", "no/where.json"], ["--json", "existing folder"]),
        (["train", ""], ["'' is not a module name"]),
        ([], ["Missing command", "--help"]),
        (["serve", "nowhere"], ["'nowhere'", "an export, a run or a checkpoint"]),
        (["report", "nowhere"], ["'nowhere'", "run folder"]),
        (["train", "--preset", "log"], ["'log'", "give --log FILE"]),
        (["train", "--preset", "log", "--log", "nowhere"], ["nowhere'", "CSV, JSON or Parquet"]),
        (["train", "--log", "nowhere"], ["log", "give --preset"]),
        (["train", "--budget-ratio", "1/0"], ["'1/0'", "such as 1/32"]),
        (["train", "tune_configs.ppo", "--preset", "log"], ["give tune_configs.ppo_log"]),
        (["train", "--reward", "attributed"], ["'attributed' needs credits"]),
        (["train", "--patterns", "nowhere"], ["'nowhere'", "cannot read patterns"]),
        (["bench", "speed"], ["'speed'", "discover", "memory"]),
        (["bench", "discover", "half"], ["'discover'", "no parts", "'half'"]),
        (["bench", "serve", "half"], ["'half'", "local", "abuse"]),
        (["discover"], ["events"]),
        (["discover", "nowhere.csv"], ["'nowhere.csv'", "CSV, JSON or Parquet"]),
        (["trian"], ["trian"]),
        (["export", "nowhere", "out"], ["nowhere'", "does not exist"]),
        (["serve", "nowhere"], ["nowhere'", "does not exist"]),
        (["serve", "nowhere", "--engine", "cloud"], ["'cloud'", "local, ray"]),
        (["score", "nowhere", "records"], ["cannot read export", "nowhere"]),
        (["train", "--offline", "nowhere"], ["no records in 'nowhere'", "serve --record"]),
    ],
)
def test_bad_input(arguments, words, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, printed = run(monkeypatch, capsys, *arguments)
    assert code == 2
    assert printed.out == ""
    lines = printed.err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_unknown_model_key_in_a_users_config(monkeypatch, capsys, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from rllib_seq.tune_configs.ppo import config\n"
        "config = config.copy(copy_frozen=False)\n"
        "config.training(model={**config.model, 'custom_model_config': {'layers': 3}})\n"
    )
    code, printed = run(monkeypatch, capsys, "train", path)
    assert code == 2
    assert printed.err.startswith("error: unknown key 'layers' in custom_model_config")
    assert printed.err.count("\n") == 1


def test_help_shows_every_command_with_an_example(monkeypatch, capsys):
    code, printed = run(monkeypatch, capsys, "--help")
    assert code == 0
    for command in (
        *("train", "tune", "evaluate", "report", "discover", "bench"),
        *("export", "serve", "score"),
    ):
        assert f"rllib-seq {command}" in printed.out
        code, text = run(monkeypatch, capsys, command, "--help")
        assert code == 0
        assert "Example" in text.out
        assert "--json" in text.out


def test_discover_leaves_its_files(monkeypatch, capsys, tmp_path):
    data = Path(__file__).parents[1] / "data/ipinyou_discover/rows.txt"
    out = tmp_path / "out"
    code, printed = run(
        monkeypatch, capsys, "discover", data, "--output", out, "--json", tmp_path / "r.json"
    )
    assert code == 0
    assert "finding: attribution" in printed.out  # progress without a terminal
    assert "Window length: 1" in printed.out
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["patterns"] == str(out / "patterns.json")
    assert json.loads((out / "patterns.json").read_text())["source"]["events"] == 210
    page = (out / "discover.html").read_text()
    assert "Window length" in page
    assert "<script src" not in page  # nothing is loaded from elsewhere


def test_strict_discover_stops_at_the_line(monkeypatch, capsys, tmp_path):
    path = tmp_path / "e.csv"
    path.write_text("timestamp,user_id,event\n2026-03-01,a,visit\n2026-03-01,a,buy\n")
    assert run(monkeypatch, capsys, "discover", path, "--output", tmp_path)[0] == 0
    code, printed = run(monkeypatch, capsys, "discover", path, "--strict", "--output", tmp_path)
    assert code == 2
    assert printed.err.count("\n") == 1
    assert "line 3: event 'buy'" in printed.err
    assert "--strict" in printed.err


def test_json_of_a_report(monkeypatch, capsys, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    row = {
        "profit_per_user": {"mean": 0.1, "half_width": 0.0},
        "over_memoryless": {"mean": 0.0, "half_width": 0.0},
        "pct_of_bayes": None,
    }
    evaluation = {
        "preset": "journey",
        "seeds": [1],
        "episodes": 1,
        "num_users": 2,
        "summary": [{"policy": name, **row} for name in ("trained", "<b>")],
    }
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation))
    code, _ = run(monkeypatch, capsys, "report", tmp_path, "--json", tmp_path / "out.json")
    assert code == 0
    written = json.loads((tmp_path / "out.json").read_text())
    page = Path(written["report"]).read_text()
    assert "&lt;b&gt;" in page
    code, printed = run(monkeypatch, capsys, "report", tmp_path, "--json", tmp_path / "no" / "x")
    assert code == 2
    assert "cannot write --json" in printed.err


@pytest.mark.parametrize(
    ("command", "file", "content"),
    [
        ("report", "evaluation.json", '{"cut'),
        ("train --resume", "config.json", "{"),
        ("train --resume", "config.json", "{}"),
        ("evaluate", "checkpoint_000001/policies/bidder/policy_state.pkl", "cut"),
        ("evaluate", "checkpoint_000001/algorithm_state.pkl", "cut"),
        ("evaluate", "checkpoint_000001/class_and_ctor_args.pkl", "cut"),
    ],
)
def test_damaged_files_are_named(command, file, content, monkeypatch, capsys, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "checkpoint_000001" / "policies" / "bidder").mkdir(parents=True)
    (tmp_path / file).write_text(content)
    code, printed = run(monkeypatch, capsys, *command.split(), tmp_path)
    assert code == 2
    assert printed.err.count("\n") == 1
    assert str(tmp_path) in printed.err


class _Traps:
    """What runs as soon as it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


_PICKLES = {
    "algorithm_state.pkl": "policies/bidder",
    "policies/bidder/policy_state.pkl": "policies/bidder",
    "class_and_ctor_args.pkl": "learner_group/learner/rl_module/bidder",
}


@pytest.mark.parametrize(
    ("command", "name"),
    [
        *itertools.product(("evaluate", "export", "train --resume"), _PICKLES),
        # It exports in a process of its own.
        pytest.param("serve", "algorithm_state.pkl", marks=pytest.mark.slow),
    ],
)
def test_nothing_of_a_damaged_checkpoint_is_unpickled(command, name, monkeypatch, capsys, tmp_path):
    checkpoint = tmp_path / "checkpoint_000001"
    (checkpoint / _PICKLES[name]).mkdir(parents=True)
    stop = {"seconds": 1.0, "steps": 1.0}
    module = {"module": "rllib_seq.tune_configs.ppo", "seed": 1, "stop": stop}
    (tmp_path / "config.json").write_text(json.dumps(module))
    (checkpoint / name).write_bytes(b"as it was written")
    (checkpoint / "progress.json").write_text('{"iteration": 1}')
    seal(checkpoint)
    marker = tmp_path / "ran"
    (checkpoint / name).write_bytes(pickle.dumps(_Traps(marker)))
    more = [tmp_path / "policy"] if command == "export" else []
    code, printed = run(monkeypatch, capsys, *command.split(), tmp_path, *more)
    assert code == 2
    assert f"is damaged: {name} is not what was written" in printed.err
    assert printed.err.count("\n") == 1
    assert not marker.exists()


def test_evaluation_protocol_is_checked(monkeypatch, capsys):
    with pytest.raises(UserError, match="episodes is 0"):
        EvaluationProtocol(episodes=0)
    with pytest.raises(UserError, match="seed is -3"):
        EvaluationProtocol(seed=-3)

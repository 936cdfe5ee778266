"""The benchmark of memory does what it says, tried on a few thousand steps."""

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rllib_seq.benchmarks.memory import bench as bench_memory
from rllib_seq.benchmarks.memory import curves as memory_curves
from rllib_seq.benchmarks.memory import report as memory_report
from rllib_seq.benchmarks.memory import tasks as memory_tasks
from rllib_seq.benchmarks.result import Result
from rllib_seq.errors import UserError

SCALE = 0.012  # of the steps: just one batch


@pytest.fixture(scope="module")
def found(ray_session: None) -> Result:
    """Two of the contenders, trained on one batch each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_memory, "GAMES", 3)
        return bench_memory.run(["cartpole/mlp/1000", "cartpole/sequence/1001"], SCALE)


@pytest.fixture(scope="module")
def result(found: Result) -> dict[str, Any]:
    """The same as JSON."""
    return found.to_json()


def test_a_run_stays_within_its_steps_and_says_how_to_repeat_it(result: dict[str, Any]) -> None:
    assert [row["contender"] for row in result["runs"]] == ["sequence", "mlp"]
    for row in result["runs"]:
        assert 512 <= row["steps"] <= SCALE * memory_tasks.TASKS["cartpole"].steps
        assert row["command"] == f"rllib-seq bench memory cartpole/{row['contender']}/{row['seed']}"
        assert row["final_episodes"] == 3 * bench_memory.ROUNDS
        assert 8 <= row["final"] <= 500  # unscaled: steps of CartPole
        assert [at["steps"] for at in row["curve"]] == sorted(at["steps"] for at in row["curve"])
        assert row["curve"][-1]["steps"] <= row["steps"]
    json.dumps(result)


def test_the_same_run_again_is_the_same(
    result: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_memory, "GAMES", 3)
    (again,) = bench_memory.run(["cartpole/mlp/1000"], SCALE).figures["runs"]
    first = result["runs"][1]
    assert again["final"] == first["final"]
    for point, other in zip(again["curve"], first["curve"], strict=True):
        assert (point["training"], point["greedy"]) == (other["training"], other["greedy"])


def test_a_missed_limit_is_said(found: Result, capsys: Any) -> None:
    assert not found.passed  # no one learns to balance in one batch
    verdicts = {check.what.split()[0]: check.holds for check in found.checks}
    assert verdicts == {"cartpole/sequence": False, "cartpole/mlp": True}
    found.show()
    printed = capsys.readouterr().out
    assert "MISSED: cartpole/sequence returns, 1 seeds, lowest >= 450: " in printed


def test_only_the_first_episode_of_an_environment_counts() -> None:
    """Short episodes come in more often; counting what comes first would prefer them."""
    judge = SimpleNamespace(set_state=lambda state: None)
    arriving = iter([[(0, 5.0), (0, 6.0)], [(1, 50.0), (0, 7.0)]])
    judge.sample = lambda **kwargs: judge.returns.extend(next(arriving, _rest))
    _rest = [(index, 100.0) for index in range(bench_memory.GAMES)]
    module = SimpleNamespace(get_state=lambda: {})
    played = bench_memory._play(judge, SimpleNamespace(env_runner=SimpleNamespace(module=module)))
    assert sorted(played) == [5.0, 50.0] + [100.0] * (bench_memory.GAMES - 2)


def test_cartpole_hides_velocities_and_scales_rewards_for_learning_alone() -> None:
    env, plain = memory_tasks.make_env("cartpole"), gym.make("CartPole-v1")
    seen, whole = env.reset(seed=3)[0], plain.reset(seed=3)[0]
    over = False
    while not over:
        assert np.allclose(seen, whole[[0, 2]] / [0.5, 0.05], rtol=1e-6)
        seen, reward, over, _, info = env.step(1)
        whole = plain.step(1)[0]
        assert reward == memory_tasks.TASKS["cartpole"].reward_scale
    assert info["episode"]["r"] == info["episode"]["l"]  # one per step


def test_what_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"'cartpole/transformer'; choose from: cartpole/"):
        bench_memory.run(["cartpole/transformer"])
    assert len(bench_memory._chosen(["cartpole/mlp"])) == len(bench_memory.SEEDS)
    assert len(bench_memory._chosen(["cartpole/mlp", "cartpole/mlp/1000"])) == 3
    monkeypatch.setitem(sys.modules, "popgym", None)
    with pytest.raises(UserError, match=r"needs popgym; .*rllib-seq\[bench\]"):
        bench_memory.run(["repeat-previous/mlp/1000"])


def test_curves_are_a_small_picture(result: dict[str, Any]) -> None:
    picture = memory_curves.draw(result)
    root = ElementTree.fromstring(picture)
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert {"cartpole", "sequence", "mlp", "0.5k"} <= set(texts)
    assert len(picture) < 10_000
    assert "nan" not in picture


def test_repeat_previous_needs_the_current_card_and_the_three_before() -> None:
    """Naming the suit of three steps ago earns 1: a window of 4 holds it, one of 3 does not."""
    pytest.importorskip("popgym")
    env = memory_tasks.make_env("repeat-previous")
    suits = [int(env.reset(seed=0)[0].argmax())]
    over = False
    while not over:
        seen, _, over, _, info = env.step(suits[max(0, len(suits) - 4)])
        suits.append(int(seen.argmax()))
    assert info["episode"]["r"] == pytest.approx(1.0)


def test_every_task_has_its_environment() -> None:
    pytest.importorskip("popgym")
    for name, task in memory_tasks.TASKS.items():
        env = memory_tasks.make_env(name)
        assert env.observation_space.dtype == np.float32
        assert env.reset(seed=0)[0] in env.observation_space
        assert task.every <= task.steps


def test_single_runs_join_to_one_result(result: dict[str, Any], tmp_path: Path) -> None:
    single = [result | {"runs": [run]} for run in reversed(result["runs"])]
    joined = memory_report.join(single).to_json()
    assert [run["command"] for run in joined["runs"]] == [run["command"] for run in result["runs"]]
    assert joined["checks"] == result["checks"]
    memory_report.write(memory_report.join(single), tmp_path / "memory.json")
    again = json.loads((tmp_path / "memory.json").read_text())
    assert again == joined == memory_report.join([again]).to_json()
    with pytest.raises(UserError, match="two runs of: rllib-seq bench memory cartpole/mlp/1000"):
        memory_report.join([result, *single])
    other = single[0] | {"tasks": {"cartpole": result["tasks"]["cartpole"] | {"steps": 1}}}
    with pytest.raises(UserError, match="'cartpole' with different settings"):
        memory_report.join([single[1], other])

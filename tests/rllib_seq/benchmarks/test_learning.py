"""The benchmark of learning chooses, keeps, judges and sums up as it says."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from rllib_seq.benchmarks import stale as bench_stale
from rllib_seq.benchmarks.learning import bench as bench_learning
from rllib_seq.benchmarks.learning import cells as learning_cells
from rllib_seq.benchmarks.learning import runs as learning_runs
from rllib_seq.benchmarks.learning import statistics as learning_statistics
from rllib_seq.benchmarks.learning.cells import Cell, train_cell
from rllib_seq.benchmarks.learning.contenders import ABLATIONS, CONTENDERS
from rllib_seq.benchmarks.learning.statistics import interval, iqm, probability_of_improvement
from rllib_seq.benchmarks.learning.summary import summarize, tables, write_page
from rllib_seq.benchmarks.result import Result
from rllib_seq.errors import UserError
from rllib_seq.nn import SequentialPolicyNetwork
from rllib_seq.rollouts.faults import leave_error
from rllib_seq.training.seeds import resume_seed


def test_the_interquartile_mean_drops_the_ends() -> None:
    assert iqm([[0.0, 1.0, 2.0, 1000.0]]) == 1.5
    assert iqm([[0.0, 1.0], [2.0, 1000.0]]) == 1.5  # tasks are pooled
    assert interval([[3.0] * 5]) == (3.0, 3.0)


@pytest.mark.slow
def test_bootstrap_draws_within_tasks_and_covers_the_mean(monkeypatch: Any) -> None:
    """With one run per task nothing can vary, however different the tasks are."""
    monkeypatch.setattr(learning_statistics, "DRAWS", 200)
    assert interval([[1.0], [50.0], [99.0]]) == (50.0, 50.0)
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(40):
        low, high = interval([rng.normal(0, 1, 20)], seed)
        covered += low <= 0 <= high
    assert covered >= 33


def test_probability_of_improvement_counts_pairs() -> None:
    assert probability_of_improvement([[2.0, 3.0]], [[1.0, 1.5]]) == 1.0
    assert probability_of_improvement([[1.0, 2.0]], [[1.0, 2.0]]) == 0.5
    assert probability_of_improvement([[2.0], [0.0]], [[1.0], [1.0]]) == 0.5


def _plan(tmp_path: Any, **changes: Any) -> learning_runs.Plan:
    settings = {"presets": ("journey",), "contenders": ("mlp", "causal"), "folder": tmp_path}
    return learning_runs.Plan(**{**settings, "seeds": 2, **changes})


def test_only_selects_by_the_start_of_a_path(tmp_path: Any) -> None:
    paths = [cell.path for cell in learning_runs.cells_of(_plan(tmp_path, only=("journey/mlp",)))]
    assert paths == ["journey/mlp/1", "journey/mlp/2"]
    with pytest.raises(UserError, match="no part 'journey/mlps'; choose from: journey/mlp, "):
        learning_runs.cells_of(_plan(tmp_path, only=("journey/mlps",)))
    with pytest.raises(UserError, match="give --log FILE"):
        learning_runs.cells_of(_plan(tmp_path, presets=("log",)))
    with pytest.raises(UserError, match="seeds is 0"):
        _plan(tmp_path, seeds=0)
    with pytest.raises(UserError, match="no cell is finished"):
        learning_runs.train_all(_plan(tmp_path, jobs=0))


def test_cells_of_other_steps_are_not_mixed(tmp_path: Any) -> None:
    path = tmp_path / "journey" / "mlp" / "1.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"asked_steps": 7}))
    with pytest.raises(UserError, match="trained for 7 steps, and 9 are asked for"):
        learning_runs.train_all(_plan(tmp_path, steps=9))


@pytest.fixture(scope="module")
def small() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning_cells, "USERS", 32)
        patch.setattr(learning_cells, "CURVE_USERS", 32)
        patch.setattr(learning_cells, "CAMPAIGNS", {"journey": 1})
        patch.setattr(learning_cells, "SAVE_SECONDS", 0.0)
        yield


def test_an_interrupted_cell_goes_on_and_is_written_once(
    small: None, ray_session: None, tmp_path: Any, monkeypatch: Any
) -> None:
    cell, console = Cell("journey", "causal", 1, 12_000), Console(quiet=True)
    leave_error("worker 1", ValueError("of an algorithm before"))  # is no matter of this one

    def stop(*args: Any) -> dict[str, Any]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(learning_cells._Judge, "final", stop)
        train_cell(cell, tmp_path, console)
    state = json.loads((tmp_path / "journey/causal/1.part/state.json").read_text())
    assert state["row"]["steps"] >= 12_000
    assert train_cell(cell, tmp_path, console)
    written = json.loads((tmp_path / "journey/causal/1.json").read_text())
    assert written["steps"] == state["row"]["steps"]  # nothing was trained twice
    assert written["curve"] == state["curve"]
    assert [row["seed"] for row in written["policies"]] == [1000, 1001, 1002]
    assert sorted(path.name for path in (tmp_path / "journey/causal").iterdir()) == ["1.json"]


def test_every_seed_of_a_cell_that_goes_on_is_accepted() -> None:
    """Those that training does not accept would be refused at the second start, or the third."""
    seeds = [resume_seed(1, iteration) for iteration in range(64)]
    assert len(set(seeds)) == 64
    for seed in seeds:
        learning_cells.config_of(CONTENDERS["mlp"], "journey", 1000, seed)


def _cell(contender: str, seed: int, score: float) -> dict[str, Any]:
    row = {"policy": "trained", "seed": 1000, "spend": 50.0, "budget": None, "conversions": 100}
    row |= {"roas": 2.0, "pct_of_bayes": score + 1, "pct_of_full_information": score / 2}
    return {
        "preset": "journey",
        "contender": contender,
        "about": CONTENDERS[contender].about,
        "seed": seed,
        "steps": 120,
        "asked_steps": 100,
        "seconds": 10.0,
        "cpu_seconds": 8.0,
        "expected_pct_of_bayes": score,
        "policies": [row],
        "curve": [
            {"steps": 60 * i, "seconds": 5.0 * i, "cpu_seconds": 4.0 * i, "pct_of_bayes": share}
            for i, share in ((1, score - 10), (2, score))
        ],
    }


@pytest.mark.slow
def test_a_summary_ranks_and_compares(tmp_path: Any, capsys: Any) -> None:
    cells = [_cell("causal", 1, 96.0), _cell("causal", 2, 85.0), _cell("mlp", 1, 50.0)]
    references = [
        {**_cell("mlp", 0, share)["policies"][0], "policy": name, "profit": share}
        for name, share in (("one_step", 60.0), ("bayes", 100.0))
    ]
    result = summarize(cells, {"journey": references})
    rows = {row["policy"]: row for row in result["presets"]["journey"]["rows"]}
    assert list(rows) == ["mlp", "one_step", "causal", "bayes"]
    causal = rows["causal"]
    assert (causal["score"], causal["score_interval"]) == (90.5, (85.0, 96.0))
    assert (causal["steps_to_goal"], causal["seconds_to_goal"]) == (120, 10.0)  # the slowest
    assert (rows["mlp"]["steps_to_goal"], rows["mlp"]["reached_goal"]) == (None, 0)
    assert (causal["cpa"], causal["roas"]) == (0.5, 2.0)
    checks = bench_learning.check(result)
    assert [entry.holds for entry in checks] == [False, True]  # 90.5 is below 95
    Result(result, tables(result), checks).show()
    printed = capsys.readouterr().out
    assert "probability that causal improves" in printed
    assert "MISSED: journey: % of Bayes, causal >= 95: 90.5" in printed
    write_page(result, cells, tmp_path / "learning.html")
    assert "What memory is worth" in (tmp_path / "learning.html").read_text()


def test_every_contender_has_a_config_that_training_accepts() -> None:
    configs = {
        name: learning_cells.config_of(contender, "journey", 1000, 1)
        for name, contender in (CONTENDERS | ABLATIONS).items()
    }
    for name, config in configs.items():
        assert config.num_env_runners == 0, name
        if name != "dqn":
            assert config.lr_schedule[-1][0] == config.entropy_coeff_schedule[-1][0] == 1000
            stock = (CONTENDERS | ABLATIONS)[name].stock is not None
            assert config.model["custom_model"] == (None if stock else "lstm_transformer")
    sequences = {
        name: config.model["custom_model_config"]
        for name, config in configs.items()
        if config.model.get("custom_model")
    }
    assert sequences["window"] == sequences["window_12"]
    assert sequences["no_lstm"] == {**sequences["window"], "lstm_layers": 0}
    assert configs["reward_sampled"].gamma == 1.0
    assert configs["window"].gamma == 0.0


@pytest.mark.parametrize(("encoder", "stale"), [("causal", True), ("window", False)])
def test_a_state_of_other_weights_is_stale_and_a_window_never_is(encoder: str, stale: bool) -> None:
    torch.manual_seed(0)
    settings = {"encoder": encoder, "window_length": 4, "d_model": 8, "num_heads": 2}
    weights = [SequentialPolicyNetwork(5, 3, **settings).eval() for _ in range(2)]
    for network in weights:  # heads begin near zero, where all bids are alike
        torch.nn.init.normal_(network.head.weight)
    inputs = torch.randn(6, bench_stale.REQUESTS, 5)
    same, changed = bench_stale.compare(encoder, [(0, weights[0]), (9, weights[1])], inputs)
    assert same["apart_after_the_cut"] < 1e-5 and changed["requests_since"] == 9
    assert (changed["apart_after_the_cut"] > 1e-3) == stale

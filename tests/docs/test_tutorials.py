"""The tutorials run in their short forms; one trained policy serves all that need one."""

import importlib
import sys
from pathlib import Path

import pytest
from rich.console import Console

ROOT = Path(__file__).parents[2]
TUTORIALS = ROOT / "examples" / "tutorials"
STEPS = 256

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tutorial():
    """Imports a tutorial as `python examples/tutorials/NAME.py` does."""
    sys.path.insert(0, str(TUTORIALS))
    yield importlib.import_module
    sys.path.remove(str(TUTORIALS))


@pytest.fixture(scope="module")
def small(tutorial):
    """The config of the first tutorial, with batches that a test can afford."""
    config = tutorial("own_environment").config
    config.env_runners(num_envs_per_env_runner=4)
    return config.training(train_batch_size_per_learner=128, minibatch_size=64, num_epochs=1)


@pytest.fixture(scope="module")
def trained(tutorial, small, ray_session, tmp_path_factory):
    """A policy that the first tutorial trained, and its mean return."""
    folder = tmp_path_factory.mktemp("tutorial") / "policy"
    return folder, tutorial("own_environment").train(small, STEPS, folder)


def test_each_is_short_and_has_a_page():
    scripts = sorted(TUTORIALS.glob("*.py"))
    assert len(scripts) == 8
    pages = "".join(page.read_text() for page in (ROOT / "docs" / "tutorials").glob("*.md"))
    for script in scripts:
        assert len(script.read_text().splitlines()) < 100, script.name
        assert f'--8<-- "examples/tutorials/{script.name}"' in pages, script.name


def test_own_environment(trained):
    folder, mean = trained
    assert folder.is_dir() and 0.0 <= mean <= 1.0


def test_act(tutorial, trained, capsys):
    tutorial("act").main(trained[0])
    printed = capsys.readouterr().out
    assert "symbol" in printed and "per episode" in printed


def test_choose_encoder(tutorial, small, ray_session, capsys):
    returns = tutorial("choose_encoder").compare(128, ["causal"])
    assert returns.keys() == {"causal"}
    assert "seconds" in capsys.readouterr().out


def test_write_encoder(tutorial, small, ray_session, tmp_path, capsys):
    result = tutorial("write_encoder").main(128, tmp_path / "policy")
    assert result["difference of whole and pieces"] < 1e-5
    assert "encoder gru" in capsys.readouterr().out


def test_log_to_bidder(tutorial, ray_session, tmp_path, capsys):
    result = tutorial("log_to_bidder").main(tmp_path, users=200, steps=2_000)
    assert Path(result.run).is_dir()
    assert "trained" in {row["policy"] for row in result.to_json()["evaluation"]["policies"]}
    assert "window length" in capsys.readouterr().out


def test_sweep(tutorial, small, ray_session, tmp_path):
    from rllib_seq.training.sweeps.sweep import SweepOptions, run_sweep

    options = SweepOptions(num_samples=1, stop_steps=STEPS)
    console = Console(file=(tmp_path / "printed").open("w"))
    result = run_sweep(str(TUTORIALS / "sweep.py"), options, tmp_path / "sweeps", console)
    assert len(result.trials) == 1 and Path(result.training.run).is_dir()


def test_serve_and_call(tutorial, free_tcp_port, capsys):
    bids = tutorial("serve_and_call").main(free_tcp_port)
    assert bids and all(bid > 0 for bid in bids)
    assert "user alice" in capsys.readouterr().out

"""Probes find what is there, and nothing where nothing is."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from rllib_seq.benchmarks.probes import bench as bench_probes
from rllib_seq.benchmarks.probes.bench import (
    attention_shares,
    bids_by_belief,
    bids_by_channels,
    probe_stage,
)
from rllib_seq.benchmarks.probes.record import TYPES, Minds
from rllib_seq.benchmarks.result import Result
from rllib_seq.errors import UserError
from rllib_seq.nn import SequentialPolicyNetwork

SMALL: dict[str, Any] = {"d_model": 8, "num_heads": 2, "window_length": 4, "dropout": 0.0}


def _columns(features: Any, rng: np.random.Generator) -> dict[str, Any]:
    """Stages drawn from beliefs, and features made of those."""
    belief = rng.dirichlet((0.5, 0.5, 0.5), 4000)
    stage = (belief.cumsum(axis=1) < rng.random((4000, 1))).sum(axis=1)
    campaign = np.repeat(np.arange(4), 1000)
    return {
        "belief": belief,
        "stage": stage,
        "campaign": campaign,
        "features": features(belief, rng).astype(np.float32),
    }


def test_a_probe_reads_what_the_features_hold_and_no_more() -> None:
    rng = np.random.default_rng(0)
    known = probe_stage(
        _columns(lambda belief, rng: np.log(belief + 1e-3) @ rng.normal(size=(3, 6)), rng)
    )
    assert known["features"]["loss"] == pytest.approx(known["bayes"]["loss"], abs=0.02)
    assert known["features"]["agrees_with_bayes"] > 0.9
    noise = probe_stage(_columns(lambda belief, rng: rng.normal(size=(4000, 6)), rng))
    assert noise["features"]["loss"] == pytest.approx(noise["nothing known"]["loss"], abs=0.02)
    assert noise["bayes"]["loss"] < noise["nothing known"]["loss"] - 0.2


def test_even_attention_is_indifference() -> None:
    kinds = np.array([[0, 1, 2, 3], [0, 1, 1, -1], [0, 3, -1, -1]])
    even = np.array([[0.4, 0.2, 0.2, 0.2], [0.4, 0.3, 0.3, 0], [0.5, 0.5, 0, 0]])
    kinds, even = np.repeat(kinds, 3, axis=0), np.repeat(even, 3, axis=0)
    shares = attention_shares({"attention": even, "kinds": kinds})
    for name in TYPES[1:]:
        assert shares["by_type"][name]["times_even"] == pytest.approx(1)
    assert shares["by_type"]["no impression"]["times_even"] is None
    # All on clicks: three times even, where three tokens are there. Shorter memories do not count.
    shares = attention_shares({"attention": np.array([[0, 0, 1.0, 0]]), "kinds": kinds[:1]})
    assert shares["by_type"]["click"]["times_even"] == pytest.approx(3)
    assert shares["by_age"] == [0, 0, 1.0, 0]


def test_bids_are_told_apart_by_the_last_two_impressions() -> None:
    columns = {
        "campaign": np.zeros(5, int),
        "user": np.array([0, 0, 0, 0, 1]),
        "request": np.array([3, 1, 0, 2, 0]),
        "channel": np.array([0, 0, 1, 0, 0]),
        "won": np.array([True, True, True, False, True]),
        "bid": np.array([0.5, 9.0, 9.0, 0.3, 9.0]),
        "bayes_bid": np.ones(5),
    }
    (row,) = bids_by_channels(columns, ("display", "video"))
    assert row["channels"] == ["video", "display"]  # requests 0 and 1; 2 was lost
    assert (row["requests"], row["bid"]) == (2, pytest.approx(0.4))


def test_bids_rise_with_belief_where_they_do() -> None:
    bayes = np.linspace(0, 1, 1000)
    columns = {"bid": bayes**2, "bayes_bid": bayes, "belief": np.stack([1 - bayes, bayes], 1)}
    found = bids_by_belief(columns)
    assert found["rank_correlation_with_bayes"] == pytest.approx(1)
    bids = [row["bid"] for row in found["by_bayes_bid"]]
    assert bids == sorted(bids)
    assert found["by_belief_in_last_stage"] == found["by_bayes_bid"]


def test_attention_of_windows_falls_on_valid_slots_alone() -> None:
    torch.manual_seed(0)
    policy = SequentialPolicyNetwork(3, 2, **SMALL)
    minds = Minds(SimpleNamespace(policy=policy))
    valid = torch.tensor([[False, False, True, True], [True] * 4])
    with minds.open(), torch.no_grad():
        outputs = policy(torch.randn(2, 4, 3), valid)
    features, attention = minds.take()
    assert torch.allclose(policy.head(torch.as_tensor(features)), outputs)
    assert attention.sum(axis=1) == pytest.approx(1)
    assert (attention[0] > 0).tolist() == [True, True, False, False]  # newest first


def test_attention_of_the_causal_encoder_grows_with_what_it_has_seen() -> None:
    torch.manual_seed(0)
    policy = SequentialPolicyNetwork(3, 2, encoder="causal", **SMALL)
    minds = Minds(SimpleNamespace(policy=policy))
    state = policy.encoder.initial_state(1)
    for seen in (1, 2, 3, 4, 4):
        with minds.open(), torch.no_grad():
            expected, state = policy.encoder.sequence(state, torch.randn(1, 1, 3))
        features, attention = minds.take()
        assert features[0] == pytest.approx(expected[0, 0].numpy())
        assert attention.sum() == pytest.approx(1)
        assert (attention[0] > 0).sum() == seen


def test_what_cannot_be_probed_is_refused() -> None:
    with pytest.raises(UserError, match="give its folder"):
        bench_probes.run(())
    with pytest.raises(UserError, match="this run has a Linear"):
        Minds(torch.nn.Linear(1, 1))


def test_tables_show_what_was_found(capsys: Any) -> None:
    path = Path(__file__).parents[3] / "docs/results/learning/probes.json"
    figures = {**json.loads(path.read_text()), "signal": "outcomes"}
    Result(figures, bench_probes.tables(figures)).show()
    printed = capsys.readouterr().out
    for row in figures["channels"]:
        assert " ".join(row["channels"]) in printed
    for title in ("hidden stage", "bids where Bayes bids alike", "attention by age"):
        assert title in printed

"""Scores of probabilities: closed forms, and what theory says of calibrated forecasters."""

import numpy as np
import pytest

from rllib_seq.training.evaluation.calibration import (
    Truth,
    against_truth,
    brier_score,
    expected_calibration_error,
    reliability,
    scorecard,
)


def test_closed_forms():
    forecast = np.array([0.1, 0.9, 0.6, 0.4])
    outcome = np.array([0.0, 1.0, 0.0, 1.0])
    assert brier_score(forecast, outcome) == pytest.approx((0.01 + 0.01 + 0.36 + 0.36) / 4)
    curve = reliability(forecast, outcome, bins=2)
    assert [row["count"] for row in curve] == [2, 2]
    assert [row["forecast"] for row in curve] == pytest.approx([0.25, 0.75])
    assert [row["outcome"] for row in curve] == pytest.approx([0.5, 0.5])
    assert expected_calibration_error(curve) == pytest.approx(0.25)
    card = scorecard(forecast, outcome)
    assert (card.requests, card.base_rate, card.brier_base_rate) == (4, 0.5, 0.25)
    assert card.skill == pytest.approx(1 - card.brier / 0.25)
    assert scorecard(forecast, np.zeros(4)).skill is None


def test_bins_are_as_equal_as_can_be_and_never_empty():
    forecast = np.random.default_rng(0).random(23)
    curve = reliability(forecast, forecast, bins=10)
    assert sorted({row["count"] for row in curve}) == [2, 3]
    assert sum(row["count"] for row in curve) == 23
    assert [row["forecast"] for row in curve] == sorted(row["forecast"] for row in curve)
    assert expected_calibration_error(curve) == 0
    assert len(reliability(forecast[:3], forecast[:3], bins=10)) == 3
    uneven = [
        {"count": 1, "forecast": 0.0, "outcome": 1.0},
        {"count": 3, "forecast": 0.5, "outcome": 0.5},
    ]
    assert expected_calibration_error(uneven) == 0.25


@pytest.fixture(scope="module")
def world():
    """True probabilities, and outcomes drawn from them."""
    rng = np.random.default_rng(1)
    true = rng.beta(1, 6, 200_000)
    return true, (rng.random(len(true)) < true).astype(float)


def test_the_truth_scores_as_theory_says(world):
    true, outcome = world
    card = scorecard(true, outcome)
    luck = np.mean(true * (1 - true))
    error = np.std((true - outcome) ** 2) / np.sqrt(len(true))
    assert card.brier == pytest.approx(luck, abs=4 * error)
    # Of calibrated forecasts, skill is the share of the variance that they explain.
    explained = true.var() / (outcome.mean() * (1 - outcome.mean()))
    assert card.skill == pytest.approx(explained, abs=0.01)
    # Only chance is left of the calibration error: a normal's mean absolute value.
    chance = np.sqrt(2 / np.pi * luck * 10 / len(true))
    assert card.ece == pytest.approx(chance, rel=0.8)
    known = against_truth(true, Truth(true, np.zeros_like(true)))
    assert (known.mse, known.ece) == (0, 0)
    assert known.brier_of_truth == pytest.approx(luck)
    assert known.mse_base_rate == pytest.approx(true.var())


def test_a_biased_forecaster_is_found_out(world):
    true, outcome = world
    forecast = np.sqrt(true)
    card = scorecard(forecast, outcome)
    assert card.ece == pytest.approx(np.mean(forecast - true), abs=0.003)
    known = against_truth(forecast, Truth(true, np.zeros_like(true)))
    assert known.ece == pytest.approx(np.mean(forecast - true))
    # Brier's decomposition: distance to the truth plus luck.
    assert card.brier == pytest.approx(known.mse + known.brier_of_truth, abs=0.001)


def test_few_futures_estimate_the_distance_to_the_truth_without_bias(world):
    true, _ = world
    forecast = 0.5 * true + 0.05
    futures = (np.random.default_rng(2).random((4, len(true))) < true).astype(float)
    estimate = Truth(futures.mean(0), futures.var(0, ddof=1) / 4)
    exact = against_truth(forecast, Truth(true, np.zeros_like(true)))
    few = against_truth(forecast, estimate)
    for key in ("base_rate", "mse", "mse_base_rate", "brier_of_truth", "ece"):
        assert getattr(few, key) == pytest.approx(getattr(exact, key), abs=0.001), key
    assert exact.mse > 0.004
    assert brier_score(forecast, estimate.probability) > exact.mse + 0.01

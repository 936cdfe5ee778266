import numpy as np
import pytest

from rllib_seq.envs.ad_auction.market.competitors import LognormalPrices
from rllib_seq.envs.ad_auction.references.equilibrium import (
    best_first_price_bids,
    best_response_play,
    first_price_regret,
    win_probability,
)

VALUES = (np.arange(400) + 0.5) / 400
GRID = np.linspace(0, 1, 801)


def equilibrium(n):
    return (n - 1) / n * VALUES


def test_win_probability_counts_ties_half_and_multiplies_over_rivals():
    rivals = np.array([[0.0, 0.2, 0.2, 0.6], [0.1, 0.1, 0.1, 0.1]])
    bids = np.array([0.05, 0.1, 0.2, 0.7])
    assert win_probability(rivals, bids).tolist() == [0.0, 0.25 * 0.5, 0.5, 1.0]


def test_best_responses_to_three_equilibrium_rivals():
    fine = np.linspace(0, 1, 4001)
    rivals = np.tile(0.75 * np.linspace(0, 1, 2001), (3, 1))
    bids, _ = best_first_price_bids(np.array([0.2, 0.5, 0.9]), fine, win_probability(rivals, fine))
    assert bids == pytest.approx([0.15, 0.375, 0.675], abs=1e-3)


def test_best_bids_against_a_lognormal_market_price():
    prices = LognormalPrices(median=60.0, spread=0.85)
    values, grid = np.array([40.0, 80.0, 160.0]), np.linspace(0, 200, 20_001)
    bids, surplus = best_first_price_bids(values, grid, prices.cdf(grid))
    assert bids == pytest.approx([25.67, 44.07, 70.93], abs=0.02)
    assert surplus == pytest.approx([2.278, 12.874, 51.486], abs=1e-3)
    # Truth in second price; the references come from a grid, this is the closed form.
    second = values * prices.cdf(values) - prices.mean_below(values)
    assert second == pytest.approx([4.721, 24.376, 86.777], abs=6e-3)


@pytest.mark.parametrize("n", [2, 3, 6])
def test_nobody_regrets_the_equilibrium_and_the_truthful_do(n):
    regret = first_price_regret(VALUES, np.tile(equilibrium(n), (n, 1)), GRID)
    assert (np.abs(regret) < 3e-4).all()  # the grids
    truthful = first_price_regret(VALUES, np.tile(VALUES, (n, 1)), GRID)
    assert (truthful > 0.009).all()


@pytest.mark.parametrize("n", [2, 3, 6])
def test_best_response_play_finds_the_equilibrium(n):
    bids = best_response_play(VALUES, n, GRID, rounds=50)
    assert bids == pytest.approx(equilibrium(n), abs=0.012)
    assert np.abs(bids - equilibrium(n)).mean() < 0.005

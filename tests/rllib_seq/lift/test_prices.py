"""Price models against exact distributions, whatever is censored."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllib_seq.lift.prices import cell_masses, price_model, price_models

LEVELS = np.concatenate([[0.0], np.geomspace(0.02, 0.6, 12)])
SCALE = 0.15


def exact_win(levels=LEVELS):
    """Prices are exponential."""
    return 1 - np.exp(-levels / SCALE)


def exact_payment(levels=LEVELS):
    """E[m; m <= b] of exponential prices."""
    return SCALE - (levels + SCALE) * np.exp(-levels / SCALE)


def auctions(count, rule, floor=0.0, probabilities=None, seed=0):
    """Bids at levels, and what came of them."""
    rng = np.random.default_rng(seed)
    action = rng.choice(len(LEVELS), count, p=probabilities)
    market = rng.exponential(SCALE, count)
    bid = LEVELS[action]
    won = (bid > 0) & (bid >= np.maximum(market, floor))
    price = np.maximum(market, floor)
    paid = np.where(won, price if rule == "second_price" else bid, 0.0)
    return action, won, paid, price


class TestPriceModel:
    """One price model."""

    @pytest.mark.parametrize("low_bids", [False, True])
    def test_finds_the_distribution_in_second_price(self, low_bids):
        """Most bids lose: the plain mean of the prices paid would be far too low."""
        size = len(LEVELS)
        weights = 0.7 ** np.arange(size) if low_bids else np.ones(size)
        data = auctions(200_000, "second_price", probabilities=weights / weights.sum())
        model = price_model(LEVELS, *data[:3], "second_price")
        tolerance = 0.03 if low_bids else 0.006
        np.testing.assert_allclose(model.win, exact_win(), atol=tolerance)
        np.testing.assert_allclose(model.payment, exact_payment(), atol=tolerance * 0.3)

    def test_finds_the_distribution_in_first_price(self):
        """A win shows the own payment alone."""
        action, won, paid, _ = auctions(200_000, "first_price")
        model = price_model(LEVELS, action, won, paid, "first_price")
        np.testing.assert_allclose(model.win, exact_win(), atol=0.01)
        np.testing.assert_allclose(model.payment, LEVELS * exact_win(), atol=0.005)

    def test_notices_sharpen_first_price(self):
        """Where the minimum to win is given, the error is smaller, and nothing is censored."""
        action, won, paid, price = auctions(3000, "first_price", seed=3)
        rng = np.random.default_rng(4)
        reported = np.where(rng.random(3000) < 0.8, price, np.nan)
        blind = price_model(LEVELS, action, won, paid, "first_price")
        sharp = price_model(LEVELS, action, won, paid, "first_price", reported)
        error = [np.abs(model.win - exact_win()).mean() for model in (blind, sharp)]
        assert error[1] < 0.7 * error[0]

    @pytest.mark.parametrize("rule", ["second_price", "first_price"])
    def test_a_floor_is_the_least_price(self, rule):
        """Bids below the floor never win; in second price the floor is paid."""
        floor = LEVELS[5] * 0.99
        action, won, paid, _ = auctions(100_000, rule, floor)
        model = price_model(LEVELS, action, won, paid, rule)
        assert (model.win[:5] < 1e-6).all()
        np.testing.assert_allclose(model.win[5:], exact_win()[5:], atol=0.01)
        if rule == "second_price":
            at_floor = floor * (1 - np.exp(-floor / SCALE))
            above = exact_payment() - exact_payment(np.array([floor]))
            np.testing.assert_allclose(model.payment[5:], at_floor + above[5:], atol=0.003)

    def test_a_win_above_its_bid_is_refused(self):
        """Columns that do not belong together."""
        with pytest.raises(ValueError, match="dearer than its bid"):
            price_model(LEVELS, np.array([1]), np.array([True]), np.array([0.5]), "second_price")

    def test_an_unknown_auction_is_refused(self):
        """By name."""
        with pytest.raises(ValueError, match="third_price"):
            price_model(LEVELS, np.array([1]), np.array([True]), np.array([0.01]), "third_price")

    @given(st.integers(0, 1000), st.sampled_from(["second_price", "first_price"]))
    def test_is_a_distribution(self, seed, rule):
        """However few auctions there were."""
        count = 1 + seed % 40
        action, won, paid, _ = auctions(count, rule, seed=seed)
        model = price_model(LEVELS, action, won, paid, rule)
        assert model.win[0] == model.payment[0] == 0
        assert (np.diff(model.win) >= -1e-12).all() and model.win[-1] <= 1 + 1e-12
        assert (np.diff(model.payment) >= -1e-12).all()
        assert (model.payment <= LEVELS * model.win + 1e-9).all()


class TestPriceModels:
    """One for each channel."""

    def test_channels_have_their_own(self):
        """Twice as dear on one of them; the third was hardly ever seen, and leans on the others."""
        action, won, paid, _ = auctions(60_000, "second_price")
        dear = auctions(60_000, "second_price", seed=1)[3] * 2
        dear_won = (LEVELS[action] > 0) & (LEVELS[action] >= dear)
        context = np.repeat([0, 1], 60_000)
        context[:5] = 2
        models = price_models(
            LEVELS,
            np.tile(action, 2),
            np.concatenate([won, dear_won]),
            np.concatenate([paid, np.where(dear_won, dear, 0.0)]),
            "second_price",
            context,
            3,
        )
        np.testing.assert_allclose(models.win[0], exact_win(), atol=0.01)
        np.testing.assert_allclose(models.win[1], exact_win(LEVELS / 2), atol=0.01)
        pooled = (exact_win() + exact_win(LEVELS / 2)) / 2
        np.testing.assert_allclose(models.win[2], pooled, atol=0.05)


class TestCellMasses:
    """The self-consistent estimator."""

    @given(st.integers(0, 10_000))
    def test_is_kaplan_meier_where_losses_alone_are_censored(self, seed):
        """Life tables: deaths and losses of each cell, losses after deaths."""
        rng = np.random.default_rng(seed)
        cells = 5
        cell, bid = rng.integers(0, cells, (2, 200))
        bid[0], cell[0] = cells, 0  # nothing is left beyond the last
        exact = cell <= bid
        first = np.where(exact, cell, bid + 1)
        last = np.where(exact, cell, cells - 1)
        masses = cell_masses(first, last, cells)
        survival = 1.0
        for number in range(cells):
            at_risk = np.where(exact, cell >= number, bid >= number).sum()
            # Who lost at `bid` is known to be above it: they are at risk in cells up to it.
            died = (exact & (cell == number)).sum()
            hazard = died / at_risk if at_risk else 0.0
            expected = survival * hazard
            if number < cells - 1:
                assert masses[number] == pytest.approx(expected, abs=2e-3)
            survival -= expected

    def test_says_nothing_where_nothing_is_known(self):
        """All cells alike."""
        np.testing.assert_allclose(cell_masses(np.array([0]), np.array([3]), 4), 0.25)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.ad_auction.market import AUCTIONS, first_price, second_price

prices = st.floats(0, 10)


@pytest.mark.parametrize(("bidders", "revenue"), [(2, 1 / 3), (3, 1 / 2), (5, 2 / 3), (8, 7 / 9)])
def test_second_price_revenue_of_uniform_values(bidders, revenue):
    values = np.sort(np.random.default_rng(0).random((200_000, bidders)), axis=1)
    _, paid = second_price(values[:, -1], values[:, -2], 0.0)
    assert paid.mean() == pytest.approx(revenue, abs=0.002)


def test_reserve_raises_second_price_revenue_to_five_twelfths():
    values = np.sort(np.random.default_rng(1).random((400_000, 2)), axis=1)
    _, paid = second_price(values[:, 1], values[:, 0], 0.5)
    assert paid.mean() == pytest.approx(5 / 12, abs=0.002)


def test_first_price_equilibrium_earns_the_same_revenue():
    n = 4
    values = np.sort(np.random.default_rng(2).random((200_000, n)), axis=1) * (n - 1) / n
    _, paid = first_price(values[:, -1], values[:, -2], 0.0)
    assert paid.mean() == pytest.approx((n - 1) / (n + 1), abs=0.002)


@given(value=prices, bid=prices, market=prices, floor=prices)
def test_truth_is_dominant_in_second_price(value, bid, market, floor):
    def profit(b):
        won, paid = second_price(np.array([b]), np.array([market]), floor)
        return float(won[0] * value - paid[0])

    assert profit(value) >= profit(bid)


@given(bid=prices, more=prices, market=prices, floor=prices, auction=st.sampled_from([*AUCTIONS]))
def test_raising_a_bid_never_loses_a_win(bid, more, market, floor, auction):
    won, paid = AUCTIONS[auction](np.array([bid, bid + more]), np.array([market] * 2), floor)
    assert won[1] >= won[0]
    assert (paid <= [bid, bid + more]).all()
    assert (paid[~won] == 0).all()


def test_no_bid_never_wins_even_if_nobody_else_bids():
    for auction in AUCTIONS.values():
        won, _ = auction(np.zeros(1), np.zeros(1), 0.0)
        assert not won[0]


def test_openrtb_example():
    """Floor .85; bids 1.00, .90, .80: first price pays 1.00, second price what had to be beaten."""
    bid, market = np.array([1.00]), np.array([0.90])
    assert first_price(bid, market, 0.85)[1] == [1.00]
    assert second_price(bid, market, 0.85)[1] == [0.90]
    assert not second_price(np.array([0.80]), np.array([0.0]), 0.85)[0][0]

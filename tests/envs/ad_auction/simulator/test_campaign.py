import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllib_seq.envs.ad_auction.market.auctions import second_price
from rllib_seq.envs.ad_auction.simulator.campaign import Ledger, affordable

money = st.floats(0, 5)


@given(st.lists(st.tuples(money, money), min_size=1, max_size=30), money)
def test_spend_never_exceeds_the_budget_and_batches_equal_single_requests(requests, budget):
    bids, market = np.array(requests).T
    _, paid = second_price(bids, market, 0.0)
    made = affordable(bids, paid, budget)
    assert paid[made].sum() <= budget + 1e-9

    remaining = budget
    for i in range(len(bids)):
        one = slice(i, i + 1)
        assert affordable(bids[one], paid[one], remaining)[0] == made[i]
        remaining -= paid[i] * made[i]


def test_ledger_arithmetic():
    ledger = Ledger(budget=10.0, spend=4.0, value=9.0)
    assert ledger.budget_left == pytest.approx(0.6)
    assert ledger.profit(shadow_price=0.5) == pytest.approx(3.0)
    assert Ledger(budget=np.inf).budget_left == 1.0
    assert Ledger(budget=0.0).budget_left == 0.0

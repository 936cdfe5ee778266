import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rllib_seq.envs.ad_auction.market.auctions import (
    AUCTIONS,
    FIRST_PRICE,
    SECOND_PRICE,
    ChannelAuctions,
    first_price,
    gsp,
    minimum_to_win,
    own_slot,
    second_price,
    sell,
    soft_floor_price,
    top_two,
    vcg,
)

prices = st.floats(0, 10)
bid_matrices = arrays(np.float64, (3, 5), elements=prices)
qualities = arrays(np.float64, (3, 5), elements=st.floats(0.1, 3))
auctions = st.sampled_from([*AUCTIONS.values()])


def uniform_values(bidders, seed=0, auctions=200_000):
    return np.random.default_rng(seed).random((auctions, bidders))


@pytest.mark.parametrize(("bidders", "revenue"), [(2, 1 / 3), (3, 1 / 2), (5, 2 / 3), (8, 7 / 9)])
def test_second_price_revenue_of_uniform_values(bidders, revenue):
    _, paid = sell(second_price, uniform_values(bidders), 0.0)
    assert paid.mean() == pytest.approx(revenue, abs=0.002)


@pytest.mark.parametrize("bidders", [2, 4])
def test_first_price_equilibrium_earns_the_same_revenue(bidders):
    shading = (bidders - 1) / bidders
    _, paid = sell(first_price, shading * uniform_values(bidders, seed=2), 0.0)
    assert paid.mean() == pytest.approx((bidders - 1) / (bidders + 1), abs=0.002)


def test_reserve_raises_second_price_revenue_to_five_twelfths():
    _, paid = sell(second_price, uniform_values(2, seed=1, auctions=400_000), 0.5)
    assert paid.mean() == pytest.approx(5 / 12, abs=0.002)


def test_soft_floors_do_not_change_the_revenue_of_symmetric_bidders():
    """Zeithammer (2019): two bidders U[0,1] and soft floor s bid v/2 below v = 2s, above it v."""
    values = uniform_values(2, seed=3, auctions=400_000)
    bids = np.where(values < 0.5, values / 2, values)
    _, paid = sell(lambda own, market, floor: soft_floor_price(own, market, floor, 0.25), bids, 0.0)
    assert paid.mean() == pytest.approx(1 / 3, abs=0.002)


@given(bid=prices, market=prices, floor=prices, soft=prices)
def test_soft_floor_is_first_price_below_and_second_price_above(bid, market, floor, soft):
    assume(soft >= floor)
    one = [np.array([x]) for x in (bid, market)]
    won, paid = soft_floor_price(*one, floor, soft)
    first, second = first_price(*one, floor), second_price(*one, soft)
    assert won == first[0]  # who wins is a matter of the hard floor
    below = won[0] and bid < soft
    assert paid[0] == (bid if below else second[1][0])


@given(value=prices, bid=prices, market=prices, floor=prices)
def test_truth_is_dominant_in_second_price(value, bid, market, floor):
    def profit(b):
        won, paid = second_price(np.array([b]), np.array([market]), floor)
        return float(won[0] * value - paid[0])

    assert profit(value) >= profit(bid)


@given(bid=prices, more=prices, market=prices, floor=prices, soft=prices, increment=prices)
def test_raising_a_bid_never_loses_a_win_and_no_payment_exceeds_its_bid(
    bid, more, market, floor, soft, increment
):
    bids, markets = np.array([bid, bid + more]), np.array([market] * 2)
    won, paid = soft_floor_price(bids, markets, floor, soft, increment)
    assert won[1] >= won[0]
    assert (paid <= bids).all()
    assert (paid[won] >= max(floor, market)).all()
    assert (paid[~won] == 0).all()


def test_no_bid_never_wins_even_if_nobody_else_bids():
    for auction in AUCTIONS.values():
        won, _ = auction(np.zeros(1), np.zeros(1), 0.0)
        assert not won[0]
    assert (gsp(np.zeros((1, 3)), 2).bidder == -1).all()
    assert own_slot(np.zeros(1), np.zeros((1, 2)), 0.0)[0] == 2


def test_openrtb_example():
    """Floor .85 and bids 1.00, .90, .80, as in the implementation guide of OpenRTB 2.6."""
    bids, floor = np.array([[1.00, 0.90, 0.80]]), 0.85
    winner, paid = sell(first_price, bids, floor)
    assert (winner[0], paid[0]) == (0, 1.00)
    assert minimum_to_win(bids, winner, paid, floor).tolist() == [[0.90, 1.00, 1.00]]

    def second_price_plus(bids, market_prices, floor):
        return second_price(bids, market_prices, floor, increment=0.01)

    winner, paid = sell(second_price_plus, bids, floor)
    assert (winner[0], paid[0]) == (0, pytest.approx(0.91))
    reported = minimum_to_win(bids, winner, paid, floor)
    assert reported == pytest.approx(np.array([[0.90, 0.91, 0.91]]))
    # The floor keeps the third bid out, and the increment does not lift a price above the bid.
    assert sell(second_price_plus, bids[:, 2:], floor)[0] == [-1]
    assert sell(second_price_plus, np.array([[0.90, 0.895]]), floor)[1] == [0.90]


def test_floors_refuse_and_set_the_price():
    bids = np.array([[0.5, 0.2], [0.5, 0.4], [0.2, 0.1]])
    winner, paid = sell(second_price, bids, 0.3)
    assert winner.tolist() == [0, 0, -1]
    assert paid.tolist() == [0.3, 0.4, 0.0]
    reported = minimum_to_win(bids, winner, paid, 0.3)
    assert reported[0].tolist() == [0.3, 0.3]
    assert reported[2].tolist() == [0.3, 0.3]  # nothing sold: the floor


@given(bids=bid_matrices, floor=prices, auction=auctions)
def test_first_price_minimum_to_win_is_what_wins(bids, floor, auction):
    winner, paid = sell(first_price, bids, floor)
    reported = minimum_to_win(bids, winner, paid, floor)
    for i in range(bids.shape[1]):
        others = np.delete(bids, i, axis=1).max(axis=1)
        assert reported[:, i] == pytest.approx(np.maximum(others, floor))


def test_channels_sell_by_rules_of_their_own():
    rng = np.random.default_rng(0)
    bids, market, channel = rng.random(500), rng.random(500), rng.integers(0, 3, 500)
    rules = ChannelAuctions(
        np.array([0.1, 0.2, 0.3]), np.array([SECOND_PRICE, FIRST_PRICE, 0.6]), increment=0.01
    )
    won, paid = rules.clear(bids, market, channel)
    by_hand = [
        second_price(bids, market, 0.1, increment=0.01),
        first_price(bids, market, 0.2),
        soft_floor_price(bids, market, 0.3, 0.6, increment=0.01),
    ]
    for c, (won_c, paid_c) in enumerate(by_hand):
        at = channel == c
        assert (won[at] == won_c[at]).all()
        assert (paid[at] == paid_c[at]).all()


@given(bids=bid_matrices)
def test_top_two_are_the_two_highest_and_ties_go_to_the_first(bids):
    winner, best, runner_up = top_two(bids)
    ordered = np.sort(bids, axis=1)
    assert (best == ordered[:, -1]).all()
    assert (runner_up == ordered[:, -2]).all()
    assert (winner == bids.argmax(axis=1)).all()
    assert (top_two(np.asfortranarray(bids)).winner == winner).all()
    assert top_two(bids[:, :1]).runner_up.tolist() == [0.0] * 3


@given(bids=bid_matrices, floor=prices)
def test_one_slot_of_gsp_and_of_vcg_is_second_price(bids, floor):
    winner, paid = sell(second_price, bids, floor)
    for slots in (gsp(bids, 1, floor=floor), vcg(bids, [0.7], floor=floor)):
        assert (slots.bidder[:, 0] == winner).all()
        assert slots.price[:, 0] == pytest.approx(paid)


def test_gsp_by_hand():
    """Ranks 8, 6, 4.5, 1: prices are the next rank over the own quality."""
    bids, quality = np.array([[4.0, 2.0, 9.0, 1.0]]), np.array([2.0, 3.0, 0.5, 1.0])
    slots = gsp(bids, 3, quality)
    assert slots.bidder.tolist() == [[0, 1, 2]]
    assert slots.price == pytest.approx(np.array([[6 / 2, 4.5 / 3, 1 / 0.5]]))
    with_floor = gsp(bids, 3, quality, floor=1.6)
    assert with_floor.bidder.tolist() == [[0, 1, 2]]
    assert with_floor.price == pytest.approx(np.array([[3.0, 1.6, 1.6]]))
    # Four bidders leave two of six slots empty.
    assert gsp(bids, 6, quality).bidder.tolist() == [[0, 1, 2, 3, -1, -1]]
    assert gsp(bids, 6, quality).price[0, 3:].tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="num_slots is 0"):
        gsp(bids, 0)


def test_vcg_by_hand():
    """The example of Edelman, Ostrovsky and Schwarz (2007): 600 and 200, in GSP 800 and 200."""
    bids, clicks = np.array([[10.0, 4.0, 2.0]]), [200.0, 100.0]
    assert (vcg(bids, clicks).price * clicks).tolist() == [[600.0, 200.0]]
    assert (gsp(bids, 2).price * clicks).tolist() == [[800.0, 200.0]]


@given(
    bids=bid_matrices,
    quality=qualities,
    clicks=st.lists(st.floats(0.05, 1), min_size=1, max_size=7),
    floor=prices,
)
def test_slot_prices_are_rational_and_vcg_never_charges_more_than_gsp(bids, quality, clicks, floor):
    clicks = sorted(clicks, reverse=True)
    cheap, dear = vcg(bids, clicks, quality, floor), gsp(bids, len(clicks), quality, floor)
    assert (cheap.bidder == dear.bidder).all()
    taken = dear.bidder >= 0
    own = np.take_along_axis(bids, np.maximum(dear.bidder, 0), axis=1)
    assert (dear.price[taken] <= own[taken]).all()
    assert (dear.price[taken] >= floor).all()
    assert (cheap.price <= dear.price + 1e-9).all()
    assert (cheap.price[taken] >= floor - 1e-9).all()
    assert (dear.price[~taken] == 0).all() and (cheap.price[~taken] == 0).all()
    for row in dear.bidder:  # no one holds two slots
        assert len(set(row[row >= 0])) == (row >= 0).sum()


@given(bids=bid_matrices, quality=qualities, deviation=prices, floor=prices)
def test_truth_is_dominant_in_vcg(bids, quality, deviation, floor):
    """Bidder 0's value is their bid in the matrix; quality counts as clicks per impression."""
    clicks = np.array([1.0, 0.6, 0.25])

    def profit(own_bid):
        tried = bids.copy()
        tried[:, 0] = own_bid
        slots = vcg(tried, clicks, quality, floor)
        return (np.where(slots.bidder == 0, bids[:, :1] - slots.price, 0.0) * clicks).sum(axis=1)

    assert (profit(bids[:, 0]) >= profit(deviation) - 1e-9).all()


def test_truth_is_not_dominant_in_gsp():
    """The example of Edelman, Ostrovsky and Schwarz: the first bidder gains by giving way."""
    values, clicks = np.array([[10.0, 4.0, 2.0]]), np.array([200.0, 199.0])

    def profit(own_bid):
        slots = gsp(np.array([[own_bid, 4.0, 2.0]]), 2)
        return float(((values[0, 0] - slots.price) * (slots.bidder == 0) * clicks).sum())

    assert profit(3.0) > profit(10.0)


@given(bids=bid_matrices, quality=qualities, more=prices, floor=prices)
def test_raising_only_one_bid_never_worsens_its_slot(bids, quality, more, floor):
    def slot(matrix):
        mine = gsp(matrix, 3, quality, floor).bidder == 2
        return np.where(mine.any(axis=1), mine.argmax(axis=1), 3)

    raised = bids.copy()
    raised[:, 2] += more
    assert (slot(raised) <= slot(bids)).all()


@given(bids=bid_matrices, num_slots=st.integers(1, 4), floor=prices)
def test_own_slot_is_the_first_column_of_gsp(bids, num_slots, floor):
    competing = np.sort(bids[:, 1:], axis=1)[:, ::-1][:, :num_slots]
    slot, paid = own_slot(bids[:, 0], competing, floor)
    slots = gsp(bids, num_slots, floor=floor)
    mine = slots.bidder == 0
    assert (slot == np.where(mine.any(axis=1), mine.argmax(axis=1), num_slots)).all()
    assert (paid == (slots.price * mine).sum(axis=1)).all()

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_seq.envs.ad_auction.market.auctions import (
    FIRST_PRICE,
    SECOND_PRICE,
    ChannelAuctions,
    gsp,
)
from rllib_seq.envs.ad_auction.market.bidders import Bidder, Population
from rllib_seq.envs.ad_auction.market.pacing import PID, Constant, Hedge, OnlineDual, Proportional
from rllib_seq.envs.ad_auction.market.valuations import LognormalValues, Regimes, UniformValues

TICKS, REQUESTS = 12, 40  # per tick
FLIGHT = TICKS * REQUESTS
PACED = [
    Bidder(Constant(), budget=0.1),
    Bidder(Proportional(), budget=0.1),
    Bidder(PID(), budget=0.1),
    Bidder(OnlineDual(), budget=0.05),
    Bidder(Hedge()),
]
MEMORYLESS = [Bidder(), Bidder(Constant(0.7)), Bidder(value=1.3)]
RULES = ChannelAuctions(np.array([0.0, 0.2]), np.array([FIRST_PRICE, SECOND_PRICE]))
REGIMES = Regimes(changes=2, spread=0.3)


def population(bidders, rules=RULES, ticks=TICKS, requests=REQUESTS, **changes):
    values = LognormalValues((1.0, 0.8), 0.8, 0.3)
    options = {"values": values, "plan": np.ones(ticks) / ticks, "requests": ticks * requests}
    return Population(bidders, auctions=rules, **(options | changes))


def play(rivals, own_bids, seed=0, batches=1, requests=REQUESTS):
    """All competing bids `[T, n, B]` when we bid `own_bids [T, n]`."""
    rng = np.random.default_rng(seed)
    rivals.reset([np.random.default_rng(seed + 1)])
    seen = []
    for tick, own in enumerate(own_bids):
        uniforms, channel = rng.random((requests, rivals.num_draws)), rng.integers(0, 2, requests)
        bids = []
        for rows in np.array_split(np.arange(requests), batches):
            zero = np.zeros(len(rows), np.int64)
            bids.append(rivals.bids(uniforms[rows], channel[rows], zero, np.array([tick])).copy())
            rivals.observe(own[rows])
        seen.append(np.concatenate(bids))
    return np.array(seen)


own_bids = st.integers(0, 2**32 - 1).map(
    lambda seed: (
        np.random.default_rng(seed).lognormal(size=(TICKS, REQUESTS))
        * (np.random.default_rng(seed + 1).random((TICKS, REQUESTS)) < 0.5)
    )
)


@settings(max_examples=25, deadline=None)
@given(own=own_bids, other=own_bids, change=st.integers(0, TICKS - 1))
def test_no_competitor_sees_our_bids_of_the_same_tick(own, other, change):
    mixed = np.concatenate([own[:change], other[change:]])
    rivals = population(PACED + MEMORYLESS, regimes=REGIMES)
    before, after = play(rivals, own), play(rivals, mixed)
    assert (before[: change + 1] == after[: change + 1]).all()


@settings(max_examples=10, deadline=None)
@given(own=own_bids)
def test_competitors_without_memory_never_see_our_bids(own):
    rivals = population(MEMORYLESS, regimes=REGIMES)
    assert (play(rivals, own) == play(rivals, np.zeros_like(own))).all()


def test_competitors_with_memory_answer_in_later_ticks():
    silent = np.zeros((TICKS, REQUESTS))
    for bidder in PACED[1:]:
        rivals = population([bidder, *MEMORYLESS])
        assert (play(rivals, silent) != play(rivals, silent + 3.0)).any(), bidder


@settings(max_examples=25, deadline=None)
@given(own=own_bids, tight=st.floats(0.001, 0.2), exposure=st.sampled_from([(1.0,), (1.0, 0.5)]))
def test_no_competitor_overspends(own, tight, exposure):
    rules = [Constant(), Constant(3.0), Proportional(), PID(), OnlineDual(highest=4.0)]
    rivals = population([Bidder(rule, budget=tight) for rule in rules], exposure=exposure)
    play(rivals, own)
    assert (rivals.spent <= tight * FLIGHT * (1 + 1e-12)).all()
    # We may have won everything, or no one could afford a price; not so with money and without us.
    rich = population([Bidder(rule, budget=0.2) for rule in rules], exposure=exposure)
    play(rich, np.zeros_like(own))
    assert rich.spent.sum() > 0


@settings(max_examples=15, deadline=None)
@given(
    own=own_bids, batches=st.integers(2, REQUESTS), exposure=st.sampled_from([(1.0,), (1.0, 0.5)])
)
def test_batches_of_any_size_are_the_same_market(own, batches, exposure):
    bidders = PACED[:4] if len(exposure) > 1 else PACED
    one, many = (population(bidders, regimes=REGIMES, exposure=exposure) for _ in range(2))
    assert (play(one, own) == play(many, own, batches=batches)).all()
    assert (one.spent == many.spent).all()


def test_campaigns_in_lockstep_are_the_campaigns_alone():
    seeds, ticks, n = [3, 4, 5], 6, 30
    alone, together = population(PACED, regimes=REGIMES), population(PACED, regimes=REGIMES)
    streams = [np.random.default_rng(seed) for seed in seeds]
    uniforms = np.stack([rng.random((ticks, n, alone.num_draws)) for rng in streams])
    channel = np.stack([rng.integers(0, 2, (ticks, n)) for rng in streams])
    own = np.stack([rng.random((ticks, n)) for rng in streams])

    together.reset([np.random.default_rng(seed) for seed in seeds])
    order = np.random.default_rng(0).permutation(len(seeds) * n)  # campaigns stand mixed
    campaign, row = np.divmod(np.sort(order.reshape(-1, 2), axis=0).ravel(), n)
    prices = np.zeros((len(seeds), ticks, n))
    for t in range(ticks):
        at = (campaign, t, row)
        # The third campaign's clock stands still for a while.
        clock = np.array([t, t, max(t - 2, 0)])
        prices[campaign, t, row] = together.prices(uniforms[at], channel[at], campaign, clock)[:, 0]
        together.observe(own[at])
    for e, seed in enumerate(seeds):
        alone.reset([np.random.default_rng(seed)])
        rows = row[campaign == e]
        zero = np.zeros(n, np.int64)
        for t in range(ticks):
            clock = np.array([max(t - 2, 0) if e == 2 else t])
            at = (e, t, rows)
            expected = alone.prices(uniforms[at], channel[at], zero, clock)[:, 0]
            assert (prices[e, t, rows] == expected).all()
            alone.observe(own[at])
        assert (alone.spent[0] == together.spent[e]).all()
        assert (alone.multiplier[0] == together.multiplier[e]).all()


@pytest.mark.parametrize("exposure", [(1.0,), (1.0, 0.5)])
def test_a_campaign_that_starts_again_is_a_new_one_and_the_others_go_on(exposure):
    bidders, n = PACED[:4] if len(exposure) > 1 else PACED, 30
    rng = np.random.default_rng(0)
    both = population(bidders, regimes=REGIMES, exposure=exposure)
    alone = [population(bidders, regimes=REGIMES, exposure=exposure) for _ in range(2)]
    both.reset([np.random.default_rng(seed) for seed in (1, 2)])
    for seed, market in zip((1, 2), alone, strict=True):
        market.reset([np.random.default_rng(seed)])
    campaign, zero = np.repeat([0, 1], n), np.zeros(n, np.int64)
    for tick in range(8):
        clock = np.array([tick, tick % 4])
        if tick == 4:
            both.reset([np.random.default_rng(3)], campaigns=np.array([1]))
            alone[1].reset([np.random.default_rng(3)])
        uniforms, own = rng.random((2 * n, both.num_draws)), rng.random(2 * n)
        channel = rng.integers(0, 2, 2 * n)
        prices = both.prices(uniforms, channel, campaign, clock)
        both.observe(own)
        for e, market in enumerate(alone):
            mine = campaign == e
            expected = market.prices(uniforms[mine], channel[mine], zero, clock[[e]])
            assert (prices[mine] == expected).all()
            market.observe(own[mine])
    assert (both.spent == np.concatenate([market.spent for market in alone])).all()


def test_spend_by_hand():
    """Channel 0 first price, channel 1 second price with floor .2; ties are ours."""
    rivals = population([Bidder(), Bidder()], values=UniformValues())
    rivals.reset([np.random.default_rng(0)])
    uniforms = np.array([[0.5, 0.4], [0.5, 0.4], [0.3, 0.6], [0.1, 0.15], [0.9, 0.7], [0.5, 0.8]])
    channel, zero = np.array([0, 1, 1, 1, 1, 1]), np.zeros(6, np.int64)
    prices = rivals.prices(uniforms, channel, zero, np.zeros(1, np.int64))
    assert prices.tolist() == [[0.5], [0.5], [0.6], [0.15], [0.9], [0.8]]
    rivals.observe(np.array([0.0, 0.45, 0.6, 0.0, 0.0, 0.9]))
    assert rivals.spent == pytest.approx(np.array([[0.5 + 0.45 + 0.7, 0.0]]))


def test_slots_are_sold_by_gsp_and_paid_when_seen():
    rivals = population(MEMORYLESS, exposure=(1.0, 0.5), values=UniformValues())
    rivals.reset([np.random.default_rng(0)])
    rng = np.random.default_rng(1)
    uniforms, channel, own = rng.random((200, 3)), rng.integers(0, 2, 200), rng.random(200)
    zero = np.zeros(200, np.int64)
    prices = rivals.prices(uniforms, channel, zero, np.zeros(1, np.int64))
    bids = uniforms * [1.0, 0.7, 1.3]
    assert (prices == np.sort(bids, axis=1)[:, :0:-1]).all()
    rivals.observe(own)
    slots = gsp(np.column_stack([own, bids]), 2, floor=RULES.floor[channel])
    for i in range(3):
        expected = (np.where(slots.bidder == i + 1, slots.price, 0.0) * [1.0, 0.5]).sum()
        assert rivals.spent[0, i] == pytest.approx(expected)


@pytest.mark.parametrize("rule", [Constant(), Proportional(), PID(), OnlineDual()])
def test_pacing_spends_the_budget_over_the_whole_flight_and_truth_does_not(rule):
    ticks, requests = 48, 400
    second_price = ChannelAuctions(np.zeros(2), np.zeros(2))
    bidders = [Bidder(rule, budget=0.12), Bidder(), Bidder()]
    rivals = population(bidders, second_price, ticks, requests)
    rng = np.random.default_rng(0)
    rivals.reset([rng])
    spent = []
    for tick in range(ticks):
        uniforms, channel = rng.random((requests, 4)), rng.integers(0, 2, requests)
        rivals.prices(uniforms, channel, np.zeros(requests, np.int64), np.array([tick]))
        rivals.observe(np.zeros(requests))
        spent.append(rivals.spent[0, 0] / (0.12 * ticks * requests))
    assert spent[-1] == pytest.approx(1.0, rel=0.03)
    if rule == Constant():
        assert spent[ticks // 2] > 0.97
    else:
        assert spent[ticks // 2] < 0.8
        assert spent[3 * ticks // 4] < 0.95


@pytest.mark.parametrize("num_bidders", [2, 3, 4])
def test_learners_reach_the_equilibrium_of_first_price(num_bidders):
    """Values U[0,1]: each comes to bid (n-1)/n of their value; the grid's step is .05."""
    ticks, requests = 60, 500
    rules = ChannelAuctions(np.zeros(2), np.full(2, FIRST_PRICE))
    learners = [Bidder(Hedge())] * num_bidders
    market = population(learners, rules, ticks, requests, values=UniformValues())
    play(market, np.zeros((ticks, requests)), requests=requests)
    expected = (num_bidders - 1) / num_bidders
    assert market.multiplier == pytest.approx(np.full((1, num_bidders), expected), abs=0.03)


def test_learners_come_to_bid_the_truth_in_second_price():
    ticks, requests = 60, 500
    rules = ChannelAuctions(np.zeros(2), np.zeros(2))
    market = population([Bidder(Hedge())] * 3, rules, ticks, requests, values=UniformValues())
    play(market, np.zeros((ticks, requests)), requests=requests)
    assert (market.multiplier > 0.93).all()


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="PID.*has none"):
        Bidder(PID())
    with pytest.raises(ValueError, match="budget is 0"):
        Bidder(budget=0.0)
    with pytest.raises(ValueError, match="Hedge.*one slot.*there are 2"):
        population([Bidder(Hedge())], exposure=(1.0, 0.5))

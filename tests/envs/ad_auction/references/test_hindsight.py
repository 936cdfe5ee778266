import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rllib_seq.envs.ad_auction.market.auctions import second_price
from rllib_seq.envs.ad_auction.market.objective import score
from rllib_seq.envs.ad_auction.references.hindsight import frontier, linear_program, optimum

amounts = st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0, 1.7, 2.0, 4.0])


@st.composite
def knapsacks(draw, max_requests=5):
    shape = draw(st.integers(1, max_requests)), draw(st.integers(1, 3))
    counts, costs = (draw(arrays(np.float64, shape, elements=amounts)) for _ in range(2))
    return counts, costs, draw(st.floats(0, 8))


def market(n, slots=1, seed=0):
    """Values and costs of slots that are seen less and less."""
    rng = np.random.default_rng(seed)
    seen = np.array([1.0, 0.6, 0.35])[:slots]
    prices = np.sort(rng.lognormal(0.0, 0.8, (n, slots)), axis=1)[:, ::-1]
    return rng.lognormal(0.0, 0.8, (n, 1)) * seen, prices * seen


@pytest.fixture(scope="module")
def budgeted():
    """100,000 second-price auctions, values U[0,160] against the lognormal market price."""
    rng = np.random.default_rng(0)
    values = 160 * rng.random(100_000)
    prices = 60 * np.exp(0.85 * rng.standard_normal(100_000))
    won, paid = second_price(values, prices, 0.0)
    return values, prices, won, paid, 0.25 * paid.sum()


def test_bids_of_value_over_lambda_buy_the_greedy_knapsack(budgeted):
    values, prices, _, _, budget = budgeted
    best = optimum(values[:, None], prices[:, None], budget)
    won, paid = second_price(values / best.shadow_price, prices, 0.0)
    assert paid.sum() == pytest.approx(budget, rel=1e-4)
    assert values[won].sum() / best.score == pytest.approx(1.0, abs=5e-4)


def test_bidding_the_value_until_broke_earns_53_percent(budgeted):
    values, prices, won, paid, budget = budgeted
    best = optimum(values[:, None], prices[:, None], budget)
    until_broke = values[won & (np.cumsum(paid) <= budget)].sum()
    assert until_broke / best.score == pytest.approx(0.53, abs=0.005)


@settings(max_examples=60, deadline=None)
@given(knapsack=knapsacks())
def test_the_frontier_is_the_linear_programme(knapsack):
    counts, costs, budget = knapsack
    best = optimum(counts, costs, budget)
    program = linear_program(counts, costs, budget)
    assert best.score == pytest.approx(program.counted, abs=1e-6)
    assert best.spend <= budget
    line = frontier(counts, costs)
    efficiency = np.diff(line.counted, prepend=0.0) / np.maximum(
        np.diff(line.spend, prepend=0.0), 1e-12
    )
    assert (np.diff(np.minimum(efficiency, 1e6)) <= 1e-6).all()


@settings(max_examples=40, deadline=None)
@given(knapsack=knapsacks(max_requests=4))
def test_whole_purchases_are_found_and_the_relaxation_is_above_them_by_less_than_one(knapsack):
    counts, costs, budget = knapsack
    n, slots = counts.shape
    best = 0.0
    for choice in itertools.product(range(-1, slots), repeat=n):
        bought = [(i, s) for i, s in enumerate(choice) if s >= 0]
        if sum(costs[at] for at in bought) <= budget + 1e-12:
            best = max(best, sum(counts[at] for at in bought))
    assert linear_program(counts, costs, budget, integral=True).counted == pytest.approx(
        best, abs=1e-6
    )
    relaxed = optimum(counts, costs, budget)
    assert relaxed.score >= best - 1e-9
    taken = relaxed.slot >= 0
    whole = counts[taken, relaxed.slot[taken]].sum()
    assert costs[taken, relaxed.slot[taken]].sum() <= budget + 1e-9
    assert relaxed.score - whole <= counts.max() + 1e-9


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("price", [0.15, 0.25, 0.4])
def test_the_score_optimum_is_the_best_point_for_any_spend(slots, price):
    counts, costs = market(300, slots)
    budget = 0.3 * costs[:, 0].sum()
    best = optimum(counts, costs, budget, price)
    line = frontier(counts, costs)
    spends = np.linspace(0, budget, 200_001)
    breaks = np.append(0, line.spend), np.append(0, line.counted)
    scores = score(np.interp(spends, *breaks), spends, price)
    assert best.score == pytest.approx(score(np.interp(best.spend, *breaks), best.spend, price))
    assert best.score == pytest.approx(scores.max(), rel=2e-5)  # the grid misses the very point
    assert best.score >= scores.max() * (1 - 1e-12)


@pytest.mark.parametrize("price", [0.15, 0.25, 0.4])
def test_keeping_a_target_costs_score_and_the_programme_keeps_it(price):
    counts, costs = market(300, 3)
    budget = 0.3 * costs[:, 0].sum()
    kept = linear_program(counts, costs, budget, credits=[price * counts])
    assert kept.spend <= min(budget, price * kept.counted) + 1e-9
    assert kept.counted <= optimum(counts, costs, budget, price).score + 1e-9
    loose = linear_program(counts, costs, budget, credits=[price * counts, 10 * counts])
    assert loose.counted == pytest.approx(kept.counted)


def test_two_targets_at_once():
    """CPA on conversions and ROAS on value that differs by request: only the programme has both."""
    counts, costs = market(200)
    value = counts * np.where(np.arange(200) % 2, 3.0, 0.5)[:, None]
    credits = [0.5 * counts, value / 3.0]
    both = linear_program(counts, costs, 1e9, credits)
    for credit in credits:
        assert (both.share * costs).sum() <= (both.share * credit).sum() + 1e-6
        assert both.counted <= linear_program(counts, costs, 1e9, [credit]).counted + 1e-6


def test_a_shadow_price_of_zero_when_everything_is_bought():
    counts, costs = np.array([[1.0], [2.0], [0.0]]), np.array([[1.0], [1.0], [0.5]])
    best = optimum(counts, costs, budget=10.0)
    assert (best.score, best.spend, best.shadow_price) == (3.0, 2.0, 0.0)
    assert best.slot.tolist() == [0, 0, -1]
    assert optimum(counts, costs, budget=1.5).score == 2.5
    assert optimum(counts, costs, budget=1.5).shadow_price == 1.0
    nothing = optimum(np.zeros((2, 1)), np.ones((2, 1)), 1.0)
    assert (nothing.score, nothing.slot.tolist()) == (0.0, [-1, -1])

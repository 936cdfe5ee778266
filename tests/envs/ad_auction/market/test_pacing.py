import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllib_seq.envs.ad_auction.market.pacing import (
    PID,
    Constant,
    Hedge,
    OnlineDual,
    Proportional,
    Report,
)

BUDGETED = [Proportional(), PID(), OnlineDual()]


def report(spend, planned=1.0, budget_left=0.5, time_left=0.5, gains=None):
    gains = np.empty((0, 1)) if gains is None else gains[:, None]
    books = (np.array([x], np.float64) for x in (spend, planned, budget_left, time_left))
    return Report(*books, gains)


def multiplier_after(rule, *reports):
    state = rule.start((1,))
    for books in reports:
        state = rule.following(state, books)
    return float(state[0, 0])


@pytest.mark.parametrize("rule", [Constant(0.7), *BUDGETED, Hedge()])
def test_state_keeps_its_shape_and_columns_do_not_mix(rule):
    gains = np.linspace(0, 1, len(rule.grid))
    three = rule.start((3,))
    books = [report(spend, gains=gains * spend) for spend in (0.2, 1.0, 3.0)]
    together = Report(*(np.concatenate(part, axis=-1) for part in zip(*books, strict=True)))
    after = rule.following(three, together)
    assert after.shape == three.shape
    for i, one in enumerate(books):
        assert after[:, i] == pytest.approx(rule.following(rule.start((1,)), one)[:, 0])


def test_constant_stays():
    assert multiplier_after(Constant(0.7), report(0.0), report(5.0)) == 0.7


@pytest.mark.parametrize("rule", BUDGETED)
def test_who_spends_too_fast_bids_less(rule):
    fast = multiplier_after(rule, report(2.0, budget_left=0.3))
    slow = multiplier_after(rule, report(0.5, budget_left=0.7))
    assert fast < 1.0
    assert fast < slow
    assert slow <= rule.highest == 1.0


@pytest.mark.parametrize("rule", BUDGETED)
def test_who_spends_as_planned_changes_nothing(rule):
    assert multiplier_after(rule, *[report(1.0)] * 5) == pytest.approx(1.0)


@given(
    spends=st.lists(st.floats(0, 100), max_size=60),
    rule=st.sampled_from([Proportional(highest=2.0), PID(highest=2.0), OnlineDual(highest=2.0)]),
)
def test_multipliers_stay_positive_and_below_their_limit(spends, rule):
    assert 0 < multiplier_after(rule, *map(report, spends)) <= 2.0


def test_a_tick_without_plan_is_no_error():
    assert report(3.0, planned=0.0).shortfall == 0.0
    assert report(3.0, planned=1.0).shortfall == -1.0


def test_pid_terms_by_hand():
    rule = PID(kp=0.3, ki=0.2, kd=0.1, highest=9.0)
    # e = .5, then .2: proportional .3 * .2, integral .2 * .7, derivative .1 * (.2 - .5).
    expected = np.exp(0.3 * 0.2 + 0.2 * 0.7 - 0.1 * 0.3)
    assert multiplier_after(rule, report(0.5), report(0.8)) == pytest.approx(expected)


def test_pid_with_the_integral_alone_is_the_online_dual():
    spends = [0.5, 1.5, 0.9, 1.2, 0.7]
    integral = PID(kp=0.0, ki=0.2, kd=0.0, highest=9.0)
    dual = OnlineDual(step=0.2, highest=9.0)
    books = [report(spend) for spend in spends]
    assert multiplier_after(integral, *books) == pytest.approx(multiplier_after(dual, *books))


def test_the_integral_does_not_wind_up():
    rule = PID(kp=0.0, ki=0.5, kd=0.0, highest=100.0)
    starved = [report(0.0)] * 500
    assert multiplier_after(rule, *starved) == pytest.approx(np.exp(3.0))
    assert multiplier_after(rule, *starved, *[report(2.0)] * 8) < 1.0


def test_hedge_finds_the_best_multiplier_and_follows_a_change():
    rule = Hedge(memory=0.9)
    low, high = -np.abs(rule.grid - 0.4), -np.abs(rule.grid - 0.9)
    assert multiplier_after(rule, *[report(0.0, gains=low)] * 40) == pytest.approx(0.4, abs=0.03)
    changed = [report(0.0, gains=low)] * 40 + [report(0.0, gains=high)] * 40
    assert multiplier_after(rule, *changed) == pytest.approx(0.9, abs=0.03)


def test_hedge_regret_is_within_the_bound_of_its_theory():
    """Freund and Schapire: with gains in [0, 1] at most ln(K) / rate + rate * T / 8."""
    rule = Hedge(rate=0.2, memory=1.0)
    rng, state = np.random.default_rng(0), rule.start((1,))
    earned, gains_of_all = 0.0, np.zeros(rule.levels)
    num_ticks = 500
    for t in range(num_ticks):
        weights = np.exp(state[1:, 0])
        gains = rng.random(rule.levels) * (1 + np.sin(np.arange(rule.levels) + t / 50)) / 2
        earned += weights @ gains / weights.sum()
        gains_of_all += gains
        state = rule.following(state, report(0.0, gains=gains))
    bound = np.log(rule.levels) / 0.2 + 0.2 * num_ticks / 8
    assert gains_of_all.max() - earned < bound

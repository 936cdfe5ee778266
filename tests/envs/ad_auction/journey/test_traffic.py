import numpy as np
import pytest

from rllib_seq.envs.ad_auction.journey.traffic import HOURS_PER_WEEK, Traffic

WEEK = 1.0 + 0.9 * np.sin(2 * np.pi * np.arange(HOURS_PER_WEEK) / 24)
N = 40_000


def uniform(seed):
    return np.random.default_rng(seed).random(N)


def test_gaps_are_geometric_with_the_declared_mean():
    traffic = Traffic(arrival_hours=48.0, mean_gap_hours=3.0)
    gaps = traffic.next_tick(np.full(N, 7), uniform(0), uniform(1)) - 7
    assert gaps.min() == 1
    assert gaps.mean() == pytest.approx(3.0, rel=0.02)
    assert (gaps == 1).mean() == pytest.approx(1 / 3, abs=0.01)
    every_tick = Traffic(arrival_hours=48.0, mean_gap_hours=1.0)
    assert (every_tick.next_tick(np.full(N, 7), uniform(0), uniform(1)) == 8).all()


def test_arrivals_are_spread_over_the_first_hours():
    ticks = Traffic(arrival_hours=48.0, mean_gap_hours=3.0).first_tick(uniform(0))
    assert np.bincount(ticks, minlength=48) / N == pytest.approx(np.full(48, 1 / 48), abs=0.004)


@pytest.mark.parametrize("tick_hours", [1.0, 0.25])
def test_arrivals_and_returns_follow_the_curve_of_the_week(tick_hours):
    traffic = Traffic(arrival_hours=336.0, mean_gap_hours=100.0, tick_hours=tick_hours, week=WEEK)
    share = WEEK / WEEK.sum()
    ticks = traffic.first_tick(uniform(0))
    for _ in range(2):
        hours = (ticks * tick_hours).astype(int) % HOURS_PER_WEEK
        seen = np.bincount(hours, minlength=HOURS_PER_WEEK) / N
        np.testing.assert_allclose(seen, share, atol=5 * np.sqrt(share.max() / N))
        later = traffic.next_tick(ticks, uniform(1), uniform(2))
        assert (later > ticks).all()
        for turn in range(3, 9):  # until a week's phase is forgotten
            later = traffic.next_tick(later, uniform(turn), uniform(2))
        ticks = later


def test_average_gaps_do_not_depend_on_the_curve():
    curved = Traffic(arrival_hours=168.0, mean_gap_hours=50.0, week=WEEK)
    ticks = curved.first_tick(uniform(0))
    gaps = curved.next_tick(ticks, uniform(1), uniform(2)) - ticks
    assert gaps.mean() == pytest.approx(50.0, rel=0.03)


def test_sessions_are_short_gaps_between_long_ones():
    traffic = Traffic(
        arrival_hours=24.0,
        mean_gap_hours=20.0,
        tick_hours=0.25,
        session_continues=0.6,
        session_gap_hours=0.5,
    )
    gap = traffic.next_tick(np.zeros(N, np.int64), uniform(0), uniform(1)) * 0.25
    session = uniform(1) < 0.6
    assert gap[session].mean() == pytest.approx(0.5, rel=0.03)
    assert gap[~session].mean() == pytest.approx(20.0, rel=0.03)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean_gap_hours": 0.5}, "mean_gap_hours is 0.5; give at least a tick, 1.0"),
        ({"session_continues": 0.5}, "session_gap_hours is 0.0"),
        ({"week": np.ones(24)}, "week must hold 168"),
    ],
)
def test_bad_numbers_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Traffic(**{"arrival_hours": 1.0, "mean_gap_hours": 1.0, **change})

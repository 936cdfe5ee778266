"""False alarms of peaks and drift stay rare, and real ones are found; fixed seeds."""

from pathlib import Path

import numpy as np
import pytest

from rllib_seq.journeys.event_log import EVENTS, EventLog
from rllib_seq.journeys.reading import BadRows
from rllib_seq.journeys.time_patterns import drift, hour_curve, weekday_curve

DAY = 86_400 * 10**6
MONDAY = np.datetime64("2026-03-02", "us").astype(np.int64)
LOGS = 60  # of each kind; with a true rate of 5 %, more than 7 alarms have a chance of 1 %
ALARMS = 7


def make_log(time, user, channel, price):
    order = np.lexsort([time, user])
    n = len(time)
    nothing, zero = np.full(n, np.nan, np.float32), np.zeros(n, np.int16)
    return EventLog(
        time=MONDAY + time[order].astype(np.int64),
        user=user[order].astype(np.int16),
        event=np.full(n, EVENTS.index("impression"), np.int8),
        channel=channel[order].astype(np.int16),
        segment=user[order].astype(np.int16) % 4,
        device=zero,
        creative=zero,
        price=nothing,
        market_price=price[order].astype(np.float32),
        floor=nothing,
        value=nothing,
        names={
            "channel": list("abcdef"),
            "segment": list("wxyz"),
            "device": [""],
            "creative": [""],
        },
        num_users=int(user.max()) + 1,
        duplicates=0,
        bad=BadRows(Path("log"), False),
        format="events",
    )


def independent(rng, n, days, users):
    return make_log(
        rng.random(n) * days * DAY,
        rng.integers(0, users, n),
        rng.integers(0, 6, n),
        rng.lognormal(3, 0.5, n),
    )


def sittings(rng, n, days, users):
    """Ten events on one channel within an hour, at any time."""
    sitting = rng.integers(0, n // 10, n)
    begin, user = rng.random(n // 10) * days * DAY, rng.integers(0, users, n // 10)
    time = np.minimum(begin[sitting] + rng.random(n) * 3.6e9, days * DAY - 1)
    channel = rng.integers(0, 6, n // 10)
    return make_log(time, user[sitting], channel[sitting], rng.lognormal(3, 0.5, n))


def habits(rng, n, days, users):
    """Everybody has an hour and a channel of their own."""
    user = rng.integers(0, users, n)
    hour = (rng.random(users)[user] * 24 + rng.normal(0, 1, n)) % 24
    channel = np.where(rng.random(n) < 0.7, rng.integers(0, 6, users)[user], rng.integers(0, 6, n))
    time = (rng.integers(0, days, n) + hour / 24) * DAY
    return make_log(time, user, channel, rng.lognormal(3, 0.5, n))


def busy_days(rng, n, days, users):
    """Volume and channels differ from day to day."""
    size = rng.gamma(3, 1, days)
    day = rng.choice(days, n, p=size / size.sum())
    mixture = rng.dirichlet(np.full(6, 5.0), days).cumsum(axis=1)
    channel = np.minimum((rng.random(n)[:, None] > mixture[day]).sum(axis=1), 5)
    time = (day + rng.random(n)) * DAY
    return make_log(time, rng.integers(0, users, n), channel, rng.lognormal(3, 0.5, n))


@pytest.mark.parametrize("make", [independent, sittings, habits, busy_days])
@pytest.mark.parametrize(("n", "days", "users"), [(60, 4, 20), (300, 14, 30), (3000, 30, 500)])
def test_false_alarms_are_rare(make, n, days, users):
    rng = np.random.default_rng(7)
    alarms = {"hours": 0, "weekdays": 0, "drift": 0}
    for _ in range(LOGS):
        log = make(rng, n, days, users)
        alarms["hours"] += bool(hour_curve(log.time, log.user).peaks)
        weekdays = weekday_curve(log.time, log.user)
        alarms["weekdays"] += bool(weekdays and weekdays.peaks)
        alarms["drift"] += any(row["verdict"] in ("some", "strong") for row in drift(log))
    assert max(alarms.values()) <= ALARMS, alarms


def test_drift_beyond_chance_is_found():
    rng = np.random.default_rng(8)
    log = independent(rng, 3000, 30, 500)
    late = log.time - MONDAY >= 14 * DAY
    log.channel[late & (rng.random(3000) < 0.4)] = 0
    verdicts = {row["name"]: row["verdict"] for row in drift(log)}
    assert verdicts["channel"] == "strong"
    assert verdicts["segment"] == verdicts["hour"] == verdicts["market_price"] == "stable"


def test_a_peak_beyond_chance_is_found():
    rng = np.random.default_rng(9)
    log = independent(rng, 3000, 14, 500)
    day = (log.time - MONDAY) // DAY
    evening = rng.random(3000) < 0.15
    time = np.where(evening, MONDAY + day * DAY + 20.5 * 3.6e9, log.time).astype(np.int64)
    assert hour_curve(time, log.user).peaks == [20]


def test_a_steady_growth_is_no_weekday():
    days = np.repeat(np.arange(28), 100 + 20 * np.arange(28))
    time = MONDAY + (days * DAY + np.linspace(0, DAY - 1, len(days))).astype(np.int64)
    curve = weekday_curve(time, np.arange(len(days)))
    assert curve.peaks == []
    np.testing.assert_allclose(curve.share, 1 / 7, atol=0.002)


def test_one_day_has_no_peaks():
    time = MONDAY + np.full(50, 5 * 3_600_000_000)
    curve = hour_curve(time, np.arange(50))
    assert curve.peaks == []
    assert curve.low is None
    assert curve.share[5] == 1

"""Delays that the log's end cuts off, hazards, and gaps by segment."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from rllib_seq.journeys.event_log import load_events
from rllib_seq.journeys.patterns import Patterns, discover
from rllib_seq.journeys.split import find_gap, split
from rllib_seq.journeys.statistics import kaplan_meier

BEGIN = np.datetime64("2026-03-02", "us").astype(np.int64)


def write(path, seconds, users, events, **columns):
    micros = BEGIN + (np.asarray(seconds) * 1e6).astype(np.int64)
    table = {
        "timestamp": pa.array(micros).cast(pa.timestamp("us", "UTC")),
        "user_id": pa.array([str(user) for user in users]),
        "event": pa.array(list(events)),
        **{name: pa.array(list(values)) for name, values in columns.items()},
    }
    pyarrow.parquet.write_table(pa.table(table), path)
    return load_events(path)


def test_kaplan_meier_by_hand():
    # At risk 5, 4, 2: 1 - 4/5 * 3/4 * 1/2.
    seen = kaplan_meier(
        np.array([1.0, 2.0, 2.5, 3.0, 9.0]), np.array([True, True, False, True, False])
    )
    np.testing.assert_allclose(seen.happened, [0.2, 0.4, 0.7])
    np.testing.assert_allclose(seen.by([0.5, 1.0, 2.9, 99.0]), [0, 0.2, 0.4, 0.7])
    # Greenwood: S^2 * sum(d / (n (n - d))).
    assert seen.error[-1] == pytest.approx(0.3 * np.sqrt(1 / 20 + 1 / 12 + 1 / 2))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_still_to_come(tmp_path, seed):
    # Clicks over ten days; 30 % convert, after an exponential delay of two days; the log ends
    # after ten days, before some of them.
    rng = np.random.default_rng(seed)
    n, days = 4000, 10.0
    clicked = rng.random(n) * days
    converts = rng.random(n) < 0.3
    delay = rng.exponential(2.0, n)
    seen = converts & (clicked + delay < days)
    log = write(
        tmp_path / "e.parquet",
        86_400 * np.concatenate([clicked, (clicked + delay)[seen], [days]]),
        np.concatenate([np.arange(n), np.flatnonzero(seen), [n]]),
        ["click"] * n + ["conversion"] * int(seen.sum()) + ["request"],
    )
    patterns = discover(log)
    late = converts.sum() - seen.sum()
    assert late > 150
    found = patterns.delay
    assert found.to_come == pytest.approx(late, rel=0.25)
    assert patterns.journeys["conversion_rate"] < 0.28
    assert found.eventual_low < 0.3 < found.eventual_high
    assert found.eventual_high - found.eventual_low < 0.06
    quantiles = {row["probability"]: row for row in found.quantiles}
    true = -2.0 * 24 * np.log(0.5)
    assert quantiles[0.5]["hours"] == pytest.approx(true, rel=0.15)
    plain = np.median(delay[seen]) * 24
    assert abs(quantiles[0.5]["hours"] - true) < abs(plain - true)
    patterns.write(tmp_path / "patterns.json")
    assert Patterns.read(tmp_path / "patterns.json") == patterns


def test_hazard_is_of_those_who_reached_a_touchpoint(tmp_path):
    # Ten users have one visit, four of them a second; one converts after each.
    rows = [(float(user), user, "visit") for user in range(10)]
    rows += [(100.0 + user, user, "visit") for user in range(4)]
    rows += [(50.0, 9, "conversion"), (200.0, 0, "conversion"), (201.0, 0, "conversion")]
    places = discover(write(tmp_path / "e.parquet", *zip(*rows, strict=True))).positions
    assert [(row["reached"], row["conversions"]) for row in places] == [(10, 1), (4, 1)]
    assert [row["hazard"] for row in places] == [0.1, 0.25]


def test_segments_that_pause_differently_have_gaps_of_their_own(tmp_path):
    rng = np.random.default_rng(4)
    rows = []
    for user in range(600):
        sits = user % 3 > 0  # two segments of three come in sittings, the third once an hour or so
        pauses = (
            np.where(rng.random(12) < 0.7, rng.lognormal(np.log(180), 0.3, 12), 2e5)
            if sits
            else rng.lognormal(np.log(40_000), 0.4, 12)
        )
        rows += [(when, user, "visit", "abc"[user % 3]) for when in np.cumsum(pauses)]
    seconds, users, events, segments = zip(*rows, strict=True)
    log = write(tmp_path / "e.parquet", seconds, users, events, segment=segments)
    gap = find_gap(log)
    assert 600 < gap.seconds < 100_000
    assert set(gap.by_segment) <= {"a"}
    journeys = split(log, 3600.0, {"a": None})
    per_user = np.bincount(log.user[journeys.first])
    name = np.array(log.names["segment"])[log.segment[np.r_[True, np.diff(log.user) > 0]]]
    assert (per_user[name == "a"] == 1).all()
    assert per_user[name == "b"].mean() > 2


def test_equal_segments_share_the_gap(tmp_path):
    rng = np.random.default_rng(5)
    rows = []
    for user in range(600):
        pauses = np.where(rng.random(12) < 0.7, rng.lognormal(np.log(180), 0.3, 12), 2e5)
        rows += [(when, user, "visit", "ab"[user % 2]) for when in np.cumsum(pauses)]
    seconds, users, events, segments = zip(*rows, strict=True)
    log = write(tmp_path / "e.parquet", seconds, users, events, segment=segments)
    gap = find_gap(log)
    assert gap.seconds is not None
    assert gap.by_segment == {}

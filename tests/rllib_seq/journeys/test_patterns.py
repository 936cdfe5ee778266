"""Discovery finds the parameters of simulated populations again; odd logs; the JSON file."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from rllib_seq.errors import UserError
from rllib_seq.journeys.event_log import load_events
from rllib_seq.journeys.patterns import Patterns, choose_window, discover
from rllib_seq.journeys.split import find_gap, split

HERE = Path(__file__).parent
DATA = HERE.parents[1] / "data"


def _load(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


population = _load("population")


@pytest.fixture(scope="module")
def sittings(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "e.parquet"
    return load_events(population.write(population.Population().table(seed=1), path))


@pytest.fixture(scope="module")
def found(sittings):
    return discover(sittings)


def test_the_gap_lies_between_the_two_scales(found):
    # Pauses are below ten minutes, silences above a day.
    assert 600 < found.gap.seconds < 86_400
    assert "valley between two peaks" in found.gap.reason


def test_every_sitting_is_a_journey(found):
    known = population.Population()
    # A conversion ends its sitting; none arrives after the next one began.
    assert found.journeys["journeys"] == known.users * known.sittings
    low, high = found.journeys["low"], found.journeys["high"]
    assert low < known.conversion_rate < high
    assert high - low < 0.03


def test_journey_lengths(found):
    known = population.Population()
    n, mean = found.journeys["journeys"], known.mean_length
    error = np.sqrt(mean * (mean - 1) / n)  # of the mean of geometric lengths
    assert found.journeys["steps"]["mean"] == pytest.approx(mean, abs=3 * error)
    quantile = np.ceil(np.log(1 - 0.9) / np.log(1 - 1 / mean))
    assert found.journeys["steps"]["p90"] == pytest.approx(quantile, abs=1)
    # 90 % of the steps have at most k - 1 before them; steps are geometric in their place too.
    place = np.ceil(np.log(0.1) / np.log(1 - 1 / mean))
    assert found.window.length >= place - 1
    assert found.window.coverage >= 0.9


def test_conversion_delays(found):
    known = population.Population()
    for row in found.delay.quantiles:
        z = {0.1: -1.2816, 0.25: -0.6745, 0.5: 0.0, 0.75: 0.6745, 0.9: 1.2816, 0.99: 2.3263}
        true = known.delay_hours * np.exp(0.8 * z[row["probability"]])
        width = row["high"] - row["low"]
        assert row["low"] - width / 2 < true < row["high"] + width / 2
        assert row["low"] <= row["hours"] <= row["high"]
    assert found.delay.conversions == found.journeys["converted"]


def test_hours_and_weekdays(tmp_path):
    hours = 1 + 0.8 * np.sin(2 * np.pi * (np.arange(24) - 14) / 24)
    hours /= hours.sum()
    weekdays = np.array([0.5, 0.5, 0.5, 0.5, 0.7, 0.3, 0.2])
    table = population.daily_table(1000, 56, hours, weekdays, seed=2)
    patterns = discover(load_events(population.write(table, tmp_path / "e.parquet")))
    assert patterns.gap.seconds is None or patterns.gap.seconds > 86_400 / 2
    for curve, true in ((patterns.hours, hours), (patterns.weekdays, weekdays / weekdays.sum())):
        inside = (np.array(curve.low) <= true) & (true <= np.array(curve.high))
        assert inside.mean() >= 0.8  # 95 % are expected
        np.testing.assert_allclose(curve.share, true, atol=0.01)
        assert curve.share[curve.peaks[0]] == max(curve.share)
        clear = np.flatnonzero(true > 1.1 / len(true))
        assert set(clear) <= set(curve.peaks) <= set(np.flatnonzero(true > 0.95 / len(true)))
    assert patterns.hours.days == 56
    assert {row["name"]: row["verdict"] for row in patterns.drift}["hour"] == "stable"


def test_trend_and_drift_of_prices(tmp_path):
    rng = np.random.default_rng(3)
    n, days = 20_000, 20
    day = rng.integers(0, days, n)
    table = population.shuffled(rng, (day + rng.random(n)) * 86_400, np.arange(n), ["request"] * n)
    seconds = np.asarray(table["timestamp"].cast(pa.int64())) - population.BEGIN
    price = 50 + 2.0 * (seconds // (86_400 * 10**6)) + rng.normal(0, 5, n)
    table = table.append_column("market_price", pa.array(price))
    patterns = discover(load_events(population.write(table, tmp_path / "e.parquet")))
    (trend,) = patterns.trends
    assert (trend["name"], trend["days"]) == ("market_price", days)
    assert trend["low"] < 2.0 < trend["high"]
    assert trend["high"] - trend["low"] < 0.1
    verdicts = {row["name"]: row["verdict"] for row in patterns.drift}
    assert verdicts == {"hour": "stable", "market_price": "strong"}


def test_one_peak_of_gaps_splits_nobody(tmp_path):
    one = population.Population(sittings=1, mean_length=20.0, users=300)
    log = load_events(population.write(one.table(seed=4), tmp_path / "e.parquet"))
    gap = find_gap(log)
    assert gap.seconds is None
    assert "single peak" in gap.reason
    assert len(split(log, gap.seconds)) == one.users


def test_a_conversion_ends_a_journey_and_never_begins_one(tmp_path):
    path = tmp_path / "e.csv"
    rows = ["01,a,visit", "02,a,conversion", "20,a,conversion", "21,a,visit", "05,b,conversion"]
    path.write_text("timestamp,user_id,event\n" + "\n".join(f"2026-03-{row}" for row in rows))
    log = load_events(path)
    journeys = split(log, gap_seconds=86_400.0)
    assert journeys.of_event.tolist() == [0, 0, 0, 1, 2]
    assert journeys.value.tolist() == [2.0, 0.0, 1.0]  # without values each counts 1
    assert journeys.touchpoints.tolist() == [1, 1, 0]
    assert discover(log).journeys["unattributed_value"] == 3.0  # the log names no channel


def test_positions_of_the_shipped_journeys():
    # Converting journeys have 4.36 touchpoints, P50 3, P75 6, P90 8, P99 23 (published).
    patterns = discover(load_events(DATA / "mta/journeys.csv.gz"))
    rows = {row["position"]: row for row in patterns.positions}
    table = pyarrow.csv.read_csv(DATA / "mta/journeys.csv.gz")
    length = np.array([len(path.split(">")) for path in table["path"].to_pylist()])
    converted, nulls = (table[f"total_{name}"].to_numpy() for name in ("conversions", "null"))
    for place in (1, 2, 10):
        reached = (converted + nulls)[length >= place].sum()
        assert rows[place]["reached"] == reached
        assert rows[place]["hazard"] == pytest.approx(converted[length == place].sum() / reached)
    assert sum(row["conversions"] for row in rows.values()) == converted.sum()
    summary = patterns.journeys["touchpoints_converted"]
    assert summary == pytest.approx(
        {"mean": 4.363, "p50": 3, "p75": 6, "p90": 8, "p99": 23}, abs=0.001
    )
    assert patterns.hours is patterns.delay is None
    matrix = np.array(patterns.transitions["matrix"])
    np.testing.assert_allclose(matrix.sum(axis=1), 1)


def test_click_through_by_position(tmp_path):
    path = tmp_path / "e.csv"
    rows = [f"2026-03-01T00:00:{s:02d},{u},{e}" for u, s, e in [
        ("a", 1, "impression"), ("a", 2, "click"), ("a", 3, "impression"),
        ("b", 1, "impression"), ("b", 2, "impression"), ("b", 3, "click"), ("c", 1, "click"),
    ]]  # fmt: skip
    path.write_text("timestamp,user_id,event\n" + "\n".join(rows))
    shown = {
        r["position"]: (r["impressions"], r["clicks"])
        for r in discover(load_events(path)).positions
    }
    assert shown[1] == (2, 1)
    assert shown[2] == (2, 1)


def test_a_single_event(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text("timestamp,user_id,event\n2026-03-01T00:00:00,a,impression\n")
    patterns = discover(load_events(path))
    assert patterns.window.length == 1
    assert patterns.hours.low is None
    assert patterns.weekdays is None
    patterns.write(tmp_path / "patterns.json")
    assert Patterns.read(tmp_path / "patterns.json") == patterns


def test_window_of_equal_journeys_is_their_length():
    window = choose_window(np.full(100, 7))
    assert (window.length, window.coverage) == (7, 1.0)
    assert choose_window(np.zeros(3, int)).length == 1
    assert choose_window(np.full(10, 5000)).length == 128


def test_the_file_round_trips(found, tmp_path):
    path = tmp_path / "patterns.json"
    found.write(path)
    assert Patterns.read(path) == found


def test_a_wrong_patterns_file_is_one_line(found, tmp_path):
    path = tmp_path / "patterns.json"
    with pytest.raises(UserError, match="No such file"):
        Patterns.read(path)
    path.write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        Patterns.read(path)
    path.write_text(json.dumps({"version": 0}))
    with pytest.raises(UserError, match=r"its version: 0\); make it again"):
        Patterns.read(path)
    with pytest.raises(UserError, match="cannot write"):
        found.write(tmp_path / "no" / "p.json")

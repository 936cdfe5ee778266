"""Event logs: every documented behaviour of good, bad and odd rows; the converters."""

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from rllib_seq.errors import UserError
from rllib_seq.journeys.event_log import EVENTS, SCHEMA, load_events

DATA = Path(__file__).parents[2] / "data"
HEADER = "timestamp,user_id,event,channel,price"


def write(path, *rows, header=HEADER):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def seconds(log):
    return (log.time / 1e6).tolist()


def test_times_become_utc(tmp_path):
    rows = ["1970-01-02T00:00:00", "1970-01-02 00:00:00Z", "1970-01-02T08:30:00+08:00", "86402.5"]
    late = [row.replace("1970-01", "2013-10").replace("86402.5", "1380672002.5") for row in rows]
    log = load_events(write(tmp_path / "e.csv", *(f"{t},{i},visit,," for i, t in enumerate(late))))
    midnight = 1380672000.0
    assert seconds(log) == [midnight, midnight, midnight + 1800, midnight + 2.5]
    assert log.bad.count == 0


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Shanghai"])
def test_zones_of_parquet(tmp_path, zone):
    # Arrow stores UTC whatever the zone is; a time without zone is UTC.
    times = pa.array([1380672000_000], pa.timestamp("ms", zone))
    table = pa.table({"timestamp": times, "user_id": [5], "event": ["visit"]})
    pyarrow.parquet.write_table(table, tmp_path / "e.parquet")
    assert seconds(load_events(tmp_path / "e.parquet")) == [1380672000.0]


def test_bad_rows_are_told_by_line(tmp_path):
    path = write(
        tmp_path / "e.csv",
        "2013-10-19T00:00:00,a,visit,x,1",  # line 2
        "yesterday,a,visit,x,1",
        "2013-10-19T00:00:00,,visit,x,1",
        "2013-10-19T00:00:00,a,buy,x,1",
        "2013-10-19T00:00:00,a,visit,x,1,extra",
        "2013-10-19T00:00:01,a,visit,x,-1",
        "2013-10-19T00:00:02,a,visit,x,much",
        "1013-10-19T00:00:00,a,visit,x,1",
        "2013-10-19T00:00:03,a,visit,x,1",
    )
    log = load_events(path)
    assert len(log) == 4
    assert log.bad.count == 5
    # A number that cannot be read is lost, and its event stays.
    assert np.isnan(log.price[[1, 2]]).all()
    assert log.bad.lost == {"price": 2}
    assert log.bad.lost_examples["price"] == "line 7: price '-1' is not a number of at least 0"
    assert sorted(log.bad.examples) == sorted(set(log.bad.examples))
    reported = "\n".join(log.bad.examples)
    assert "line 6: 6 values, not 5" in reported
    assert "line 3: timestamp 'yesterday' is not a time" in reported
    assert "line 4: no user_id" in reported
    assert "line 5: event 'buy' is none of request" in reported
    assert "100 % of" not in reported and "5 of 9" in log.bad.warnings()[0]
    with pytest.raises(UserError, match=r"e\.csv, line \d: .*--strict"):
        load_events(path, strict=True)


def test_missing_and_nan_prices_are_missing(tmp_path):
    rows = ["", "nan", "NaN", "null", "2.5"]
    log = load_events(
        write(tmp_path / "e.csv", *(f"2013-10-19,{i},visit,,{p}" for i, p in enumerate(rows)))
    )
    assert log.bad.count == 0
    np.testing.assert_array_equal(log.price, np.float32([np.nan] * 4 + [2.5]))
    assert np.isnan(log.value).all()
    assert log.names["channel"] == ["(none)"]


def test_unsorted_and_repeated_rows(tmp_path):
    rows = [
        "2013-10-19T00:00:09,b,click,x,",
        "2013-10-19T00:00:09,b,impression,x,1",
        "2013-10-19T00:00:05,a,visit,x,",
        "2013-10-19T00:00:01,b,visit,x,",
        "2013-10-19T00:00:05,a,visit,x,",
        "2013-10-19T00:00:05,a,visit,y,",
    ]
    log = load_events(write(tmp_path / "e.csv", *rows))
    assert log.duplicates == 1
    kinds = [EVENTS[event] for event in log.event]
    by_user = {u: [k for k, v in zip(kinds, log.user, strict=True) if v == u] for u in (0, 1)}
    # Equal times keep the order of the file.
    assert by_user == {0: ["visit", "click", "impression"], 1: ["visit", "visit"]}
    assert (np.diff(log.time)[np.diff(log.user) == 0] >= 0).all()


def test_every_form_gives_the_same_log(tmp_path):
    rng = np.random.default_rng(0)
    n = 3000
    kind = rng.choice(EVENTS, n).astype(object)
    table = pa.table(
        {
            "timestamp": pa.array(1380672000_000000 + rng.integers(0, 10**12, n)).cast(
                pa.timestamp("us", "UTC")
            ),
            "user_id": [f"u{i}" for i in rng.integers(0, 99, n)],
            "event": kind.tolist(),
            **{name: rng.choice(["p", "q"], n).tolist() for name in SCHEMA.names[3:7]},
            **{name: rng.random(n) for name in SCHEMA.names[7:]},
        },
        schema=SCHEMA,
    )
    pyarrow.parquet.write_table(table, tmp_path / "e.parquet", row_group_size=700)
    pa.csv.write_csv(table, tmp_path / "e.csv")
    packed = tmp_path / "e.csv.gz"
    packed.write_bytes(gzip.compress((tmp_path / "e.csv").read_bytes()))
    logs = [load_events(tmp_path / name) for name in ("e.parquet", "e.csv", "e.csv.gz")]
    for log in logs[1:]:
        assert log.bad.count == 0
        for name in ("time", "user", "event", "channel", "creative", "price", "value"):
            np.testing.assert_array_equal(getattr(log, name), getattr(logs[0], name))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        (HEADER + "\n", "has no event"),
        (HEADER + "\nx,y,z,,\n", "has no event; the first of 1 bad rows, line 2"),
        (
            "a,b\n1,2\n",
            "no column 'timestamp', 'user_id', 'event'; its columns: a, b; name it: --col",
        ),
        ("path,nulls\na,2\n", "need a count, too: --column conversions="),
        (b"\xff\xfe\x00\x01\x80", "cannot read"),
        (b"PAR1 but no Parquet", "cannot read"),
    ],
)
def test_unusable_files(tmp_path, content, words):
    path = tmp_path / "e.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as error:
        load_events(path)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_ipinyou_rows():
    rows = [
        line.split("\t") for line in (DATA / "ipinyou_discover/rows.txt").read_text().splitlines()
    ]
    log = load_events(DATA / "ipinyou_discover/rows.txt")
    clicks = sum(row[0] == "1" for row in rows)
    assert clicks == 5
    assert log.format == "ipinyou"
    assert log.bad.count == 0
    assert len(log) + log.duplicates == len(rows) + clicks
    assert log.is_event("click").sum() == clicks
    # China is eight hours ahead: the log's hour column is local.
    local = {int(row[2]) for row in rows}
    assert {int(t // 3_600_000_000 + 8) % 24 for t in log.time} == local
    paid = log.market_price[log.is_event("impression")]
    assert paid.sum() == sum(float(row[23]) for row in {tuple(row) for row in rows})
    assert sorted(log.names["channel"]) == sorted({row[11] for row in rows})


def test_bad_ipinyou_rows(tmp_path):
    rows = (DATA / "ipinyou_discover/rows.txt").read_text().splitlines()[:3]
    rows[1] = rows[1].replace("2013", "20x3", 1)
    (tmp_path / "log.txt").write_text("\n".join(rows))
    log = load_events(tmp_path / "log.txt")
    assert log.bad.count == 1
    assert log.bad.examples[0].startswith("line 2: timestamp '20x3")


def test_journey_paths(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text(
        "path,total_conversions,total_conversion_value,total_null\n"
        "a > b > a,2,5.0,1\nb,0,0,2\nc,1.5,1,0\n,1,1,1\n"
    )
    log = load_events(path)
    assert (log.format, log.timed, log.num_users) == ("paths", False, 5)
    assert log.bad.examples == [
        "line 4: path 'c' needs a path, counts and a value of at least 0",
        "line 5: path '' needs a path, counts and a value of at least 0",
    ]
    words = [
        [log.names["channel"][c] for c, u in zip(log.channel, log.user, strict=True) if u == user]
        for user in range(5)
    ]
    assert words == [["a", "b", "a", "a"]] * 2 + [["a", "b", "a"], ["b"], ["b"]]
    assert log.value[log.is_event("conversion")].tolist() == [2.5, 2.5]


def test_all_journeys_of_the_shipped_file():
    log = load_events(DATA / "mta/journeys.csv.gz")
    assert log.num_users == 19_785 + 68_602
    assert log.is_event("conversion").sum() == 19_785
    assert log.value[log.is_event("conversion")].sum() == pytest.approx(74_802.97, rel=1e-5)

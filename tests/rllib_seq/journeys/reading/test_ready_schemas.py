"""Ready schemas, each on a small file of its kind."""

import bz2
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from rllib_seq.errors import UserError
from rllib_seq.journeys.event_log import EVENTS, load_events
from rllib_seq.journeys.reading import READY, ReadingOptions

ARGS = (
    *("bid", "20130612000102003", "1", "Vh", "chrome", "1.2.3.*", "15", "16", "2", "d", "u"),
    *("null", "slot", "300", "250", "FirstView", "Na", "5", "c7", "300", "20", "null", "9", "t"),
)


def load(path, content, schema=None, **options):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_events(path, options=ReadingOptions(schema=schema, **options))


def kinds(log):
    return {kind: int((log.event == i).sum()) for i, kind in enumerate(EVENTS)}


def rows(*tables):
    return "".join("\t".join(map(str, row)) + "\n" for row in tables)


def test_criteo(tmp_path):
    header = "timestamp uid campaign conversion conversion_timestamp click cost cat1".split()
    data = rows(
        header,
        (0, 7, 88, 1, 500, 1, 0.25, 3),
        (100, 7, 89, 1, 500, 0, 0.5, 3),  # of the same conversion
        (100, 8, 88, 0, -1, 0, 0.125, 4),
    )
    path = tmp_path / "criteo.tsv"
    log = load(path, data, "criteo")
    assert kinds(log) == {"request": 0, "impression": 3, "click": 1, "visit": 0, "conversion": 1}
    assert (log.num_users, log.bad.count, log.names["channel"][:2]) == (2, 0, ["88", "89"])
    assert np.nansum(log.market_price) == 0.875
    assert "2017-01-01" in " ".join(log.bad.notes)
    later = load(path, data, "criteo", time_origin="2020-05-01")
    assert later.time.min() == np.datetime64("2020-05-01", "us").astype(np.int64)
    with pytest.raises(UserError, match="looks like --schema criteo"):
        load(path, data)


def test_kaggle(tmp_path):
    data = (
        "cookie,time,interaction,conversion,conversion_value,channel\n"
        "a,2018-07-03T13:02:11Z,impression,0,0,Instagram\n"
        "a,2018-07-03T14:02:11Z,conversion,1,6.5,Online Display\n"
        "b,2018-07-04T14:02:11Z,impression,0,0,Paid Search\n"
    )
    log = load(tmp_path / "e.csv", data, "kaggle-mta")
    assert kinds(log) == {"request": 0, "impression": 2, "click": 0, "visit": 1, "conversion": 1}
    # The converting row is a touchpoint by its channel, too, and comes before its conversion.
    assert [EVENTS[e] for e in log.event[:3]] == ["impression", "visit", "conversion"]
    assert log.names["channel"][log.channel[1]] == "Online Display"
    assert log.value[log.is_event("conversion")].tolist() == [6.5]
    bad = load(tmp_path / "e.csv", data + "b,2018-07-04T15:02:11Z,hover,0,0,x\n", "kaggle-mta")
    assert bad.bad.count == 1


GA4 = [
    {
        "event_timestamp": str(1714528447750000 + i),
        "event_name": name,
        "user_pseudo_id": "1.2",
        "traffic_source": {"medium": "cpc", "source": "google", "name": "spring"},
        "device": {"category": "mobile"},
        "geo": {"country": "DE"},
        "ecommerce": {"purchase_revenue": 12.5} if name == "purchase" else None,
    }
    for i, name in enumerate(["session_start", "page_view", "scroll", "purchase"])
]


def check_ga4(log):
    assert kinds(log) == {"request": 0, "impression": 0, "click": 0, "visit": 2, "conversion": 1}
    assert log.bad.count == 0 and log.names["channel"] == ["cpc"]
    assert log.names["device"] == ["mobile"] and log.names["segment"] == ["DE"]
    assert np.nansum(log.value) == 12.5 and "scroll (1)" in " ".join(log.bad.notes)
    assert log.time[0] == 1714528447750000


def test_ga4_in_all_containers(tmp_path):
    check_ga4(load(tmp_path / "e.json", "\n".join(map(json.dumps, GA4)), "ga4"))
    typed = [{**row, "event_timestamp": int(row["event_timestamp"])} for row in GA4]
    pyarrow.parquet.write_table(pa.Table.from_pylist(typed), tmp_path / "e.parquet")
    check_ga4(load_events(tmp_path / "e.parquet", options=ReadingOptions(schema="ga4")))
    for mark in "._":
        flat = []
        for row in GA4:
            one = {}
            for key, value in row.items():
                inner = value if isinstance(value, dict) else {}
                one |= {f"{key}{mark}{k}": v for k, v in inner.items()} or {key: value}
            one.pop("ecommerce", None)
            one.setdefault(f"ecommerce{mark}purchase_revenue", "")
            flat.append(one)
        head = ",".join(flat[0])
        lines = [",".join(str(one[k]) for k in flat[0]) for one in flat]
        check_ga4(load(tmp_path / "e.csv", "\n".join([head, *lines]), "ga4"))


def test_appsflyer(tmp_path):
    header = (
        "Attributed Touch Type,Attributed Touch Time,Event Time,Event Name,Event Revenue USD,"
        "Media Source,Campaign,AppsFlyer ID,Platform,Country Code,Contributor 1 Touch Type,"
        "Contributor 1 Touch Time,Contributor 1 Media Source\n"
    )
    data = (
        "click,2024-05-01 10:00:00,2024-05-01 12:00:00,install,,fb,c1,id1,ios,US,impression,"
        "2024-05-01 09:00:00,google\n"
        "click,2024-05-01 10:00:00,2024-05-02 12:00:00,af_purchase,9.5,fb,c1,id1,ios,US,impression,"
        "2024-05-01 09:00:00,google\n"
        "click,2024-05-01 10:00:00,2024-05-02 13:00:00,af_login,,fb,c1,id1,ios,US,,,\n"
        ",,2024-05-03 12:00:00,install,,organic,,id2,android,DE,,,\n"
    )
    log = load(tmp_path / "e.csv", header + data, "appsflyer")
    assert kinds(log) == {"request": 0, "impression": 1, "click": 1, "visit": 0, "conversion": 3}
    touched = [log.names["channel"][c] for c in log.channel]
    assert touched == ["google", "fb", "(none)", "(none)", "(none)"]
    assert log.bad.count == 0 and np.nansum(log.value) == 9.5


def test_raw_ipinyou_is_known_by_its_content(tmp_path):
    impression = rows(ARGS, ("b2", "20130612000102004", 1, "null", *ARGS[4:]))
    log = load(tmp_path / "imp.txt.bz2", bz2.compress(impression.encode()))
    assert (log.format, kinds(log)["impression"], log.num_users) == ("ipinyou", 2, 2)
    assert log.time[0] == np.datetime64("2013-06-11T16:01:02.003", "us").astype(np.int64)
    assert log.names["channel"] == ["2"] and log.names["creative"] == ["c7"]
    assert (log.price == 300).all() and (log.market_price == 20).all() and (log.floor == 5).all()


def test_ipinyou_logs_together_are_one(tmp_path):
    bid = ARGS[:2] + ARGS[3:20] + ("9", "t")
    (tmp_path / "bid.txt").write_text(rows(bid))
    (tmp_path / "clk.txt").write_text(rows((*ARGS[:2], 2, *ARGS[3:])))
    (tmp_path / "conv.txt").write_text(rows((*ARGS[:2], 3, *ARGS[3:])))
    (tmp_path / "imp.txt").write_text(rows(ARGS))
    log = load_events(tmp_path)
    assert [EVENTS[e] for e in log.event] == ["request", "impression", "click", "conversion"]
    assert log.num_users == 1


def test_24_values_are_not_guessed_to_be_ipinyou(tmp_path):
    for values in (range(24), ["x"] * 27, ["20130612000102003"] * 24):
        with pytest.raises(UserError, match="no column 'timestamp'"):
            load(tmp_path / "e.txt", rows(values))
    with pytest.raises(UserError, match="3 values; schema ipinyou has 21, 24, 27"):
        load(tmp_path / "e.txt", rows(range(3)), "ipinyou")


def test_logs_without_users(tmp_path):
    data = "id,click,hour,site_category,device_type,C14\n" + "".join(
        f"{i},{i % 2},14102100,s,1,77\n" for i in range(4)
    )
    log = load(tmp_path / "e.csv", data, "avazu")
    assert kinds(log) == {"request": 0, "impression": 4, "click": 2, "visit": 0, "conversion": 0}
    assert log.num_users == 4  # no one is known again
    data = "timestamp,event\n" + "2026-01-05T10:00:00Z,visit\n" * 3
    log = load(tmp_path / "e.csv", data, column=("user_id=",))
    assert (len(log), log.num_users) == (3, 3)


@pytest.mark.parametrize("name", READY)
def test_every_schema_is_known_and_refuses_other_files(name, tmp_path):
    with pytest.raises(UserError) as error:
        load(tmp_path / "e.csv", "a,b\n1,2\n", name)
    assert "\n" not in str(error.value)
    from rllib_seq.cli.options import read_options

    assert name in read_options.__annotations__["schema"]

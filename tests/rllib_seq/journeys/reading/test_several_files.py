"""Folders, patterns, Hive partitions and several files: one log."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from rllib_seq.errors import UserError
from rllib_seq.journeys.event_log import EVENTS, load_events

HEADER = "timestamp,user_id,event,channel\n"
ROWS = [f"2026-01-0{d}T10:00:00,u{u},{e},x\n" for d in (1, 2) for u in (1, 2) for e in EVENTS[1:3]]


def same(one, other):
    for name in ("time", "user", "event", "channel", "price"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.names == other.names


@pytest.fixture
def whole(tmp_path):
    (tmp_path / "all.csv").write_text(HEADER + "".join(ROWS))
    return load_events(tmp_path / "all.csv")


def test_clicks_of_one_file_follow_the_impressions_of_another(tmp_path, whole):
    for i, name in enumerate(("imp.csv", "clk.csv")):
        (tmp_path / name).write_text(HEADER + "".join(ROWS[i::2]))
    for names in (("imp.csv", "clk.csv"), ("clk.csv", "imp.csv")):
        same(load_events([tmp_path / name for name in names]), whole)
    same(load_events(str(tmp_path / "???.csv").replace("???", "*[pk]")), whole)


def test_folders_of_mixed_files(tmp_path, whole):
    folder = tmp_path / "log"
    (folder / "sub").mkdir(parents=True)
    (folder / "_SUCCESS").write_text("")
    (folder / ".part.crc").write_bytes(b"\0")
    (folder / "a.csv").write_text(HEADER + "".join(ROWS[:4]))
    columns = [row.strip().split(",") for row in ROWS[4:]]
    table = pa.table(
        dict(zip(HEADER.strip().split(","), map(list, zip(*columns, strict=False)), strict=True))
    )
    pyarrow.parquet.write_table(table, folder / "sub" / "b.parquet")
    same(load_events(folder), whole)


def test_hive_partitions(tmp_path, whole):
    for event in EVENTS[1:3]:
        place = tmp_path / "hive" / f"event={event}" / "channel=x"
        place.mkdir(parents=True)
        rows = [",".join(row.split(",")[:2]) + "\n" for row in ROWS if f",{event}," in row]
        (place / "part-0.csv").write_text("timestamp,user_id\n" + "".join(rows))
    log = load_events(tmp_path / "hive")
    same(log, whole)
    (place / "part-0.csv").rename(place.parent / "part-1.csv")
    missing = tmp_path / "hive" / "event=click" / "channel=__HIVE_DEFAULT_PARTITION__"
    place.rename(missing)
    (missing / "p.csv").write_text("timestamp,user_id\n2026-01-03T10:00:00,u1\n")
    assert "(none)" in load_events(tmp_path / "hive").names["channel"]


def test_what_cannot_be_one_log(tmp_path):
    (tmp_path / "a.csv").write_text(HEADER + ROWS[0])
    (tmp_path / "b.csv").write_text("path,total_conversions\na > b,1\n")
    (tmp_path / "empty").mkdir()
    for paths, reported in (
        ([tmp_path / "a.csv", tmp_path / "b.csv"], "are not both journey paths"),
        ([tmp_path / "none*.csv"], "no event file"),
        ([tmp_path / "empty"], "holds no file"),
    ):
        with pytest.raises(UserError, match=reported):
            load_events(paths)


def test_a_bad_row_names_its_file(tmp_path):
    (tmp_path / "a.csv").write_text(HEADER + ROWS[0])
    (tmp_path / "b.csv").write_text(HEADER + ROWS[0] + "x,u,visit,\n")
    log = load_events([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert log.bad.examples == [
        f"{tmp_path / 'b.csv'}, line 3: timestamp 'x' is not a time from 1990 to 2099"
    ]
    assert log.duplicates == 1


def test_paths_without_touchpoints_and_of_many_journeys(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text(
        'path,total_conversions,total_null\na > > b >,1,2\n > ,1,0\nc,0,300000\n"d","1,000",0\n'
    )
    log = load_events(path)
    assert log.bad.count == 2  # no touchpoint; 1,000 is no number without --decimal .
    assert log.names["channel"] == ["a", "b", "c"] or "(none)" in log.names["channel"]
    assert log.num_users == 3 + 300_000
    assert (np.diff(log.user) >= 0).all() and log.is_event("conversion").sum() == 1

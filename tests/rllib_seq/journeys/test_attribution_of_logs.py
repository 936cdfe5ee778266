"""Credits of event logs: lookback, sessions, conversions and touchpoints without a channel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_seq.journeys.attribution import Paths, first_touch, last_touch, linear
from rllib_seq.journeys.event_log import load_events
from rllib_seq.journeys.patterns import discover
from rllib_seq.journeys.tables import credit_rows


def read(tmp_path, rows, header="timestamp,user_id,event,channel,value"):
    path = tmp_path / "e.csv"
    path.write_text(header + "\n" + "\n".join(rows) + "\n")
    return load_events(path)


def named(log, credit):
    return dict(zip(log.names["channel"], credit.tolist(), strict=True))


def test_a_session_gap_takes_no_credit_away(tmp_path):
    log = read(
        tmp_path,
        [
            *(f"2026-03-01T10:00:{s:02d},a,visit,display," for s in range(3)),
            "2026-03-04T10:00:00,a,visit,search,",
            "2026-03-04T11:00:00,a,conversion,,10",
        ],
    )
    paths = Paths.from_log(log, lookback=30 * 86_400.0)
    assert named(log, first_touch(paths))["display"] == 10
    assert named(log, linear(paths))["display"] == pytest.approx(7.5)
    short = Paths.from_log(log, lookback=86_400.0)
    assert named(log, first_touch(short))["search"] == 10
    # What is older than the lookback is a journey that led nowhere.
    assert short.converted.tolist() == [False, True]
    assert short.length.tolist() == [3, 1]


def test_the_lookback_is_inclusive_and_none_is_no_limit(tmp_path):
    rows = ["2026-03-01T00:00:00,a,click,x,", "2026-03-31T00:00:00,a,conversion,,5"]
    log = read(tmp_path, rows)
    for lookback, credited in ((30 * 86_400.0, 5), (30 * 86_400.0 - 1, 0), (None, 5)):
        paths = Paths.from_log(log, lookback)
        assert last_touch(paths).sum() == credited
        assert paths.unattributed == 5 - credited


def test_conversions_share_what_came_before_the_first(tmp_path):
    log = read(
        tmp_path,
        [
            "2026-03-01T00:00:00,a,click,x,",
            "2026-03-02T00:00:00,a,conversion,,5",
            "2026-03-03T00:00:00,a,conversion,,7",
            "2026-03-20T00:00:00,a,conversion,,100",
            "2026-03-21T00:00:00,a,click,y,",
            "2026-03-22T00:00:00,a,conversion,,1",
            "2026-03-22T00:00:00,b,conversion,,50",
        ],
    )
    paths = Paths.from_log(log, lookback=7 * 86_400.0)
    assert named(log, last_touch(paths)) == {"x": 12, "y": 1, "(none)": 0}
    assert paths.unattributed == 150


def test_a_touchpoint_without_a_channel_is_no_channels(tmp_path):
    log = read(
        tmp_path,
        [
            "2026-03-01T00:00:00,a,visit,x,",
            "2026-03-01T01:00:00,a,visit,,",
            "2026-03-02T00:00:00,a,conversion,,5",
            "2026-03-01T01:00:00,b,visit,,",
            "2026-03-02T00:00:00,b,conversion,,3",
        ],
    )
    patterns = discover(log)
    for credits in patterns.attribution.values():
        assert credits == {"x": pytest.approx(5)}
    assert patterns.journeys["unattributed_value"] == 3
    columns, rows = credit_rows(patterns)
    assert [row[:2] for row in rows] == [
        ["x", "5.00"],
        ["(no channel in 30 days before)", "3.00"],
        ["sum", "8.00"],
    ]
    assert patterns.transitions["states"] == ["x", "(start)", "(conversion)", "(null)"]
    assert patterns.mix["touchpoints"] == {"x": 1}


touches = st.lists(
    st.tuples(
        st.integers(0, 3),  # user
        st.integers(0, 40),  # day
        st.sampled_from(["visit", "click", "conversion"]),
        st.sampled_from(["x", "y", ""]),
    ),
    min_size=1,
    max_size=30,
    unique_by=lambda row: row[:3],
)


@settings(max_examples=25, deadline=None)
@given(touches, st.sampled_from([None, 86_400.0, 10 * 86_400.0]))
def test_paths_are_what_a_loop_finds(tmp_path_factory, rows, lookback):
    lines = [
        f"{np.datetime64('2026-01-01') + day},u{user},{event},{channel},"
        for user, day, event, channel in rows
    ]
    log = read(tmp_path_factory.mktemp("log"), lines)
    paths = Paths.from_log(log, lookback)
    limit = np.inf if lookback is None else lookback * 1e6
    credited, lost = 0, 0
    conversion, named_ = log.is_event("conversion"), np.array(log.names["channel"])[log.channel]
    for i in np.flatnonzero(conversion):
        before = [
            j
            for j in range(i)
            if log.user[j] == log.user[i] and not conversion[j] and named_[j] != "(none)"
        ]
        found = bool(before) and log.time[i] - log.time[before[-1]] <= limit
        credited, lost = credited + found, lost + (not found)
    assert paths.value.sum() == credited
    assert paths.unattributed == lost
    assert len(paths.channel) == (~conversion & (named_ != "(none)")).sum()
    assert (paths.value[~paths.converted] == 0).all()
    assert (paths.hours_before >= 0).all()

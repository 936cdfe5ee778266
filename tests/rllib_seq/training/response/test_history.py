"""The past of a step: what a loop finds, and nothing that was known later."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_seq.errors import UserError
from rllib_seq.journeys.event_log import load_events
from rllib_seq.training.response.history import DECAYS, look_back
from rllib_seq.training.response.table import from_events, from_table

rows = st.lists(
    st.tuples(
        st.integers(0, 3),  # user
        st.integers(0, 20),  # time
        st.booleans(),  # answered
        st.integers(0, 10),  # after so long
    ),
    min_size=2,
    max_size=40,
).filter(lambda rows: 0 < sum(row[2] for row in rows) < len(rows))


def make(rows):
    user, time, answered, delay = map(list, zip(*rows, strict=True))
    known = [t + d if a else None for t, a, d in zip(time, answered, delay, strict=True)]
    table = pa.table({"u": user, "t": time, "y": answered, "k": pa.array(known, pa.int64())})
    return from_table(table, user="u", outcome="y", time="t", known="k")


@settings(max_examples=100, deadline=None)
@given(rows)
def test_the_past_is_what_a_loop_finds(rows):
    table = make(rows)
    past = look_back(table)
    for i in range(len(table)):
        before = [j for j in range(i) if table.user[j] == table.user[i]]
        known = [j for j in before if table.outcome[j] and table.known[j] <= table.time[i]]
        assert past.steps[i] == len(before)
        assert past.answers[i] == len(known)
        if before:
            assert past.since_step[i] == table.time[i] - table.time[before[-1]]
        news = [j for j in known if not before or table.known[j] > table.time[before[-1]]]
        news += [j for j in known if j == before[-1] and j not in news]
        late = [j for j in known if table.known[j] == table.time[before[-1]] and j not in news]
        assert len(news) <= past.news[i] <= len(news) + len(late)
        if known:
            assert past.since_answer[i] == table.time[i] - max(table.known[known])
        else:
            assert past.since_answer[i] == past.steps_since[i] == 0


@settings(max_examples=50, deadline=None)
@given(rows, st.integers(0, 100))
def test_later_answers_change_nothing(rows, which):
    table = make(rows)
    i = which % len(table)
    unknown = (table.user == table.user[i]) & (
        (np.arange(len(table)) >= i) | (table.known > table.time[i])
    )
    other = np.where(unknown, np.inf, table.known)
    blind = make(rows)
    blind = type(blind)(**{**blind.__dict__, "known": other, "outcome": np.isfinite(other)})
    for name in ("steps", "answers", "since_step", "since_answer", "steps_since", "news", "traces"):
        np.testing.assert_array_equal(
            getattr(look_back(table), name)[i], getattr(look_back(blind), name)[i]
        )


def test_traces_fade():
    table = from_table(
        pa.table({"u": [7] * 4, "y": [True, False, True, False]}), user="u", outcome="y"
    )
    past = look_back(table)
    d = DECAYS[0]
    np.testing.assert_allclose(past.traces[:, 0], [0, 1, d, d * d + 1])
    np.testing.assert_allclose(past.traces[:, len(DECAYS)], [0, 1, 1 + d, 1 + d + d * d])
    assert past.steps_since.tolist() == [0, 1, 2, 1]
    assert past.news.tolist() == [0, 1, 0, 1]


def test_an_event_log_becomes_steps_and_answers(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text(
        "timestamp,user_id,event,channel\n"
        "2026-03-01T10:00:00,a,impression,x\n"
        "2026-03-01T10:00:30,a,click,x\n"
        "2026-03-01T11:00:00,a,impression,y\n"
        "2026-03-01T11:30:00,b,click,x\n"
        "2026-03-01T12:00:00,b,impression,x\n"
        "2026-03-02T12:00:00,a,conversion,\n"
    )
    log = load_events(path)
    clicks = from_events(log)
    assert clicks.name == "click"
    assert clicks.outcome.tolist() == [True, False, False]
    np.testing.assert_allclose(clicks.known[0] - clicks.time[0], 30)
    conversions = from_events(log, "conversion")
    assert conversions.outcome.tolist() == [False, True, False]
    with pytest.raises(UserError, match="choose click or conversion"):
        from_events(log, "redeemed")


def test_wrong_columns_are_one_line():
    table = pa.table({"u": ["a", "b"], "y": [1, 0], "when": ["soon", "late"]})
    with pytest.raises(UserError, match="no column 'user'; the table has: u, y, when"):
        from_table(table, user="user", outcome="y")
    with pytest.raises(UserError, match="column 'when' has 'soon', which is no time"):
        from_table(table, user="u", outcome="y", time="when")
    with pytest.raises(UserError, match="column 'when' is not a number"):
        from_table(table, user="u", outcome="when")
    with pytest.raises(UserError, match="every one of 2 steps"):
        from_table(table.set_column(1, "y", pa.array([1, 1])), user="u", outcome="y")

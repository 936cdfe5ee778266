"""Response models: what they find, what they may not see, and what is exported of them."""

import dataclasses
import gzip
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[2] / "serving"))
from serving_helpers import Client, running

from rllib_seq.errors import UserError
from rllib_seq.journeys.reading import reading_options
from rllib_seq.serving.exported.response import ResponseScorer
from rllib_seq.serving.settings import Settings
from rllib_seq.training.response.command import read_responses, run_response
from rllib_seq.training.response.comparison import COUNTS, MEMORY, STATIC, auc, compare
from rllib_seq.training.response.model import fit_response
from rllib_seq.training.response.step_graph import export_response
from rllib_seq.training.response.table import from_table


def make(users, steps, chance, seed=0):
    """A table; `chance(place, before, channel)` is how likely a step is answered."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        time, before = 86_400.0 * 20_000 + rng.random() * 864_000, []
        for place in range(steps):
            time += rng.exponential(20_000)
            channel = "xy"[rng.integers(2)]
            answered = bool(rng.random() < chance(place, before, channel))
            rows.append((user, time, channel, answered))
            before.append(answered)
    user, time, channel, answered = map(list, zip(*rows, strict=True))
    return from_table(
        pa.table({"user": user, "time": time, "channel": channel, "answered": answered}),
        user="user",
        outcome="answered",
        time="time",
    )


@pytest.fixture(scope="module")
def third():
    """Of five steps the third is answered with .6, others with .02: counts are not linear."""
    return make(400, 5, lambda place, before, channel: 0.6 if place == 2 else 0.02)


@pytest.fixture(scope="module")
def trained(third):
    return fit_response(third)


def test_auc_is_the_share_of_pairs():
    rng = np.random.default_rng(0)
    outcome, score = rng.random(60) < 0.4, rng.integers(0, 8, 60) / 8
    weight = rng.integers(0, 4, 60).astype(float)
    above = (score[outcome][:, None] > score[~outcome]) + 0.5 * (
        score[outcome][:, None] == score[~outcome]
    )
    assert auc(outcome, score) == pytest.approx(above.mean())
    pairs = weight[outcome][:, None] * weight[~outcome]
    assert auc(outcome, score, weight) == pytest.approx((above * pairs).sum() / pairs.sum())


@pytest.mark.slow
def test_memory_pays_where_the_place_matters(third):
    comparison, model = compare(third)
    assert model.epochs > 0
    for part in {row.part for row in comparison.rows}:
        rows = {row.model: row for row in comparison.rows if row.part == part}
        assert rows[STATIC].auc.value < 0.6
        # Base rate .136; the best log loss is .213, that of a memoryless model .40.
        assert rows[MEMORY].log_loss.value < 0.26
        assert rows[COUNTS].log_loss.value > 0.28
        assert rows[MEMORY].calibration.low < 1.1
    assert comparison.sentence.startswith("Memory pays here")


@pytest.mark.slow
def test_memory_does_not_pay_where_there_is_none():
    table = make(300, 6, lambda place, before, channel: 0.3 if channel == "x" else 0.1, seed=3)
    comparison, _ = compare(table)
    assert not comparison.sentence.startswith("Memory pays here:")
    rows = {row.model: row.auc.value for row in comparison.rows[:3]}
    assert rows[MEMORY] > rows[STATIC] - 0.03


@pytest.mark.slow
def test_the_same_seed_gives_the_same_figures():
    table = make(60, 6, lambda place, before, channel: 0.5 if before and before[-1] else 0.2)
    first, second = (compare(table, seed=5)[0] for _ in range(2))
    assert first.rows == second.rows


@pytest.mark.slow
def test_no_step_sees_its_own_answer_or_a_later_one(third, trained):
    predicted = trained.predict(third)
    changed = dataclasses.replace(
        third,
        outcome=np.where(third.place >= 3, ~third.outcome, third.outcome),
        known=np.where(third.place >= 3, third.time, third.known),
    )
    again = trained.predict(changed)
    early = third.place <= 3
    np.testing.assert_allclose(again[early], predicted[early], atol=1e-6)


@pytest.mark.slow
def test_users_do_not_touch_each_other(third, trained):
    some = third.take(np.flatnonzero(third.user % 7 == 3))
    np.testing.assert_allclose(
        trained.predict(some), trained.predict(third)[third.user % 7 == 3], atol=1e-5
    )


@pytest.mark.slow
def test_long_streams_go_on_where_they_were_cut(trained):
    table = make(2, 700, lambda place, before, channel: 0.2, seed=4)
    whole = trained.predict(table)
    start = table.take(np.flatnonzero(table.place < 300))
    np.testing.assert_allclose(trained.predict(start), whole[table.place < 300], atol=1e-5)


@pytest.mark.slow
def test_steps_of_the_export_are_the_model(third, trained, tmp_path):
    folder = tmp_path / "response"
    export_response(trained, folder)
    some = third.take(np.flatnonzero(third.user < 12))
    expected = trained.predict(some)
    scorer = ResponseScorer(folder)
    order = np.argsort(some.time, kind="stable")  # users in between each other
    for i in order.tolist():
        codes, names = some.words["channel"]
        found = scorer.score(int(some.user[i]), some.time[i], {"channel": names[codes[i]]})
        assert found == pytest.approx(expected[i], abs=2e-4)
        if some.outcome[i]:
            scorer.answered(int(some.user[i]), some.known[i])
    with pytest.raises(UserError, match="give steps in order"):
        scorer.score(int(some.user[0]), 0.0, {})
    serve_alike(folder, some, expected)
    code = (
        "import sys; from pathlib import Path;"
        "from rllib_seq.serving.exported.response import ResponseScorer;"
        f"s = ResponseScorer(Path({str(folder)!r}));"
        "print(s.score('ann', 1e9, {'channel': 'x'}));"
        "assert not {'torch', 'ray'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=900)


def serve_alike(folder, some, expected):
    """`POST /score` of users in lists, also after a restart."""
    channels, names = some.words["channel"]
    steps = np.flatnonzero(some.user == some.user[0])
    before = steps[: len(steps) // 2]
    with tempfile.TemporaryDirectory() as place:
        settings = Settings(export=str(folder), state=f"{place}/state.sqlite", max_users=8)
        for part in (before, steps[len(before) :]):
            with running(settings) as (port, _):
                client = Client(port)
                events, wanted = [], []
                for i in part.tolist():
                    step = {"session": "ann", "time": float(some.time[i])}
                    events.append({**step, "fields": {"channel": names[channels[i]]}})
                    wanted.append(expected[i])
                    if some.outcome[i]:
                        events.append({**step, "time": float(some.known[i]), "answered": True})
                status, answers = client("POST", "/score", events)
                assert status == 200
                found = [each["probability"] for each in answers if "probability" in each]
                assert found == pytest.approx(wanted, abs=2e-4)
                late = {"session": "ann", "time": 0.0, "fields": {}}
                status, refused = client("POST", "/score", late)
                assert status == 400
                assert refused["detail"].startswith("time: 0.0 is before")
                client.close()


def test_a_folder_without_a_model_is_one_line(tmp_path):
    with pytest.raises(UserError, match="holds no response model"):
        ResponseScorer(tmp_path)


@pytest.mark.slow
def test_the_command_reads_a_table_and_leaves_its_files(tmp_path):
    rng = np.random.default_rng(1)
    n = 1200
    table = pa.table(
        {
            "customer": rng.integers(0, 60, n),
            "when": np.datetime64("2026-01-01") + rng.integers(0, 90, n).astype("timedelta64[D]"),
            "price": rng.random(n),
            "bought": rng.random(n) < 0.3,
            "paid": rng.random(n),
        }
    )
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(table, path)
    read = read_responses(path, "bought", "customer", "when", ignore=("paid",))
    assert set(read.numbers) == {"price"}
    assert not read.has_clock
    result = run_response(read, tmp_path / "out", 0, Console())
    assert {row.model for row in result.rows} == {STATIC, COUNTS, MEMORY}
    assert "Memory" in result.sentence
    endings = sorted(file.name.partition("-")[0] for file in (tmp_path / "out").iterdir())
    assert endings == ["comparison.json", "model", "selftest", "spec.json"]
    with pytest.raises(UserError, match="no column 'user_id'"):
        read_responses(path, "bought")
    with pytest.raises(UserError, match="at least 10"):
        compare(read.take(np.arange(30)))


def test_tables_of_other_countries_are_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("user_id;price;bought\na;1,5;0\na;2,5;1\nb;0,5;0\n")
    table = read_responses(
        path, "bought", options=reading_options({"delimiter": ";", "decimal": ","})
    )
    assert table.numbers["price"].tolist() == [1.5, 2.5, 0.5]
    assert (
        len(read_responses([path, path], "bought", options=reading_options({"delimiter": ";"})))
        == 6
    )
    with pytest.raises(UserError, match="looks like --delimiter ';'"):
        read_responses(path, "bought")
    with pytest.raises(UserError, match="no event file"):
        read_responses(tmp_path / "none.csv", "bought")
    with pytest.raises(UserError, match="name it with --outcome"):
        read_responses(path, time="when")


def test_tables_are_read_as_logs_are(tmp_path):
    """Packed, with a byte order mark, blanks in names, ids with zeros, times of any form."""
    rows = (
        "\ufeffUser ID,When,Bought,note,\n"
        "007,2026-03-01 08:00 +02,true,x,1\n"
        "7,2026-03-01 07:30,false,y,2\n"
    )
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(rows.encode()))
    zone = reading_options({"timezone": "Europe/Berlin"})
    table = read_responses(path, "Bought", "User ID", "When", options=zone)
    assert table.user.tolist() == [0, 1]
    assert table.has_clock
    hours = (table.time % 86_400 / 3600).tolist()
    assert hours == [7.0, 8.5]
    assert table.words["note"][1] == ["x", "y"]
    assert not table.numbers  # the column without a name is a row number
    (tmp_path / "bad.csv").write_text("user_id,bought\n" + "a,1\nb,0\n" * 40 + "a,1,2\n")
    assert "1.23 % of the rows" in read_responses(tmp_path / "bad.csv", "bought").warnings[0]
    (tmp_path / "late.csv").write_text("user_id,when,bought\na,soon,1\nb,2026-01-01,0\n")
    with pytest.raises(UserError, match="'when' has 'soon', which is no time"):
        read_responses(tmp_path / "late.csv", "bought", time="when")

"""`rllib-seq ledger`: what the keeper of the books sees, corrects and exports."""

import csv
import json
import stat
import sys

import pytest
from serving_helpers import always, ask

from rllib_seq.cli import main


@pytest.fixture
def run(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["rllib-seq", "ledger", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code, capsys.readouterr()

    return run


@pytest.fixture
def state(journey, serve, tmp_path):
    """Of a campaign with three wins of 0.1, one of them too dear, and a conversion."""
    path = tmp_path / "state.sqlite"
    service = serve(journey, str(path), budget=9.0)
    always(service, 16)  # 0.3
    bids = [service.sealer.seal(service.answer([ask(user)])[0].bid) for user in range(4)]
    for bid in bids[:2]:
        service.notice("win", bid, price="100")
    service.notice("win", bids[2], price="22494")
    service.notice("conversion", bids[0], value="2", event="order 7")
    service.close()
    return path


def test_it_shows_adjusts_and_exports(run, state, tmp_path):
    code, said = run(state, "--json", tmp_path / "books.json")
    assert code == 0
    books = json.loads((tmp_path / "books.json").read_text())
    assert books["totals"]["spend"] == pytest.approx(0.5)
    assert books["held"] == pytest.approx(0.3)
    assert "spend" in said.out
    change = ("--adjust", "spend=-0.2", "--adjust", "wins=1", "--reason", "credit note 17")
    assert run(state, *change)[0] == 0
    file = tmp_path / "books.csv"
    code, said = run(state, "--export", file, "--json", tmp_path / "books.json")
    assert code == 0
    assert "credit note 17" in said.out
    books = json.loads((tmp_path / "books.json").read_text())
    assert books["totals"]["spend"] == pytest.approx(0.3)
    assert books["totals"]["wins"] == 4
    assert [each["total"] for each in books["adjustments"]] == ["spend", "wins"]
    rows = list(csv.DictReader(file.open()))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    spent = [float(row["amount"]) for row in rows if row["entry"] in ("won", "adjustment:spend")]
    assert sum(spent) == pytest.approx(books["totals"]["spend"])
    assert [row["flag"] for row in rows].count("above") == 1
    assert {"conversion:order 7"} <= {row["entry"] for row in rows}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--adjust", "spend=-0.1"], "say why with --reason"),
        (["--reason", "why"], "give --adjust TOTAL=AMOUNT"),
        (["--adjust", "money=1", "--reason", "x"], "'money=1'"),
        (["--adjust", "spend=nan", "--reason", "x"], "'spend=nan'"),
        (["--adjust", "spend", "--reason", "x"], "'spend'"),
        (["--adjust", "spend=-9", "--reason", "x"], "would make spend -8.5"),
        (["--export", "/nowhere/books.csv"], "cannot write --export"),
    ],
)
def test_what_it_refuses_changes_nothing(arguments, words, run, state, tmp_path):
    code, said = run(state, *arguments)
    assert code == 2
    assert words in said.err
    assert said.err.count("\n") == 1
    run(state, "--json", tmp_path / "books.json")
    books = json.loads((tmp_path / "books.json").read_text())
    assert books["totals"]["spend"] == pytest.approx(0.5)
    assert books["adjustments"] == []


def test_there_must_be_books_and_no_server_may_have_them(run, journey, serve, state, tmp_path):
    for path, words in (
        (tmp_path / "none", "No such file"),
        (tmp_path, "Is a directory"),
        ("http://x", "neither redis"),
    ):
        code, said = run(path)
        assert code == 2
        assert words in said.err
    assert not (tmp_path / "none").exists()
    (tmp_path / "empty").touch()
    code, said = run(tmp_path / "empty")
    assert (code, "holds no campaign" in said.err) == (2, True)
    service = serve(journey, str(state), budget=9.0)
    code, said = run(state)
    assert code == 2
    assert "in use by another server" in said.err
    assert said.err.count("\n") == 1
    assert service.money.spend == pytest.approx(0.5)

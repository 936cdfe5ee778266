"""The state on disk: private, locked by identity, bounded; and clocks that jump."""

import os
import sqlite3
import stat
import subprocess
import sys

import numpy as np
import pytest
from serving_helpers import HOUR, always, ask, past_of

from rllib_seq.errors import UserError
from rllib_seq.serving.state.clock import BookClock, SteadyClock
from rllib_seq.serving.state.opening import open_storage
from rllib_seq.serving.state.sqlite import SQLiteStorage
from rllib_seq.serving.state.storage import Adjustment, Change, Hold, Notice

DAY = 86_400.0


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_nobody_else_can_read_a_state(tmp_path):
    path = tmp_path / "s.sqlite"
    path.touch()
    path.chmod(0o644)
    old = os.umask(0)
    try:
        storage = SQLiteStorage(str(path))
        storage.write(Change(1.0, totals={"bids": 1.0}))
    finally:
        os.umask(old)
    files = list(tmp_path.iterdir())
    assert len(files) == 3  # with the log and its index
    assert {mode(file) for file in files} == {0o600}
    storage.close()


@pytest.mark.parametrize("other", ["same", "link", "hard", "relative", "renamed"])
def test_one_server_has_a_file_whatever_it_is_called(other, tmp_path, monkeypatch):
    path = tmp_path / "s.sqlite"
    storage = SQLiteStorage(str(path))
    name = tmp_path / "other.sqlite"
    if other == "link":
        name.symlink_to(path)
    elif other == "hard":
        name.hardlink_to(path)
    elif other == "renamed":
        path.rename(name)
    else:
        name = path
    monkeypatch.chdir(tmp_path)
    asked = "./s.sqlite" if other == "relative" else str(name)
    with pytest.raises(UserError, match="in use by another server"):
        SQLiteStorage(asked)
    storage.close()


def test_nor_has_a_second_process(tmp_path):
    storage = SQLiteStorage(str(tmp_path / "s.sqlite"))
    (tmp_path / "link").symlink_to(tmp_path / "s.sqlite")
    script = (
        "import sys; from rllib_seq.errors import UserError\n"
        "from rllib_seq.serving.state.sqlite import SQLiteStorage\n"
        "for name in sys.argv[1:]:\n"
        "    try: SQLiteStorage(name)\n"
        "    except UserError as error: print(error)"
    )
    said = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "s.sqlite"), str(tmp_path / "link")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.count("in use by another server") == 2
    storage.close()


def test_a_state_with_two_names_is_refused(tmp_path):
    storage = SQLiteStorage(str(tmp_path / "s.sqlite"))
    storage.close()
    (tmp_path / "other").hardlink_to(tmp_path / "s.sqlite")
    with pytest.raises(UserError, match="has 2 names"):
        SQLiteStorage(str(tmp_path / "other"))


def test_a_file_of_the_same_name_is_another_file(tmp_path):
    path = tmp_path / "s.sqlite"
    old = SQLiteStorage(str(path))
    path.unlink()
    new = SQLiteStorage(str(path))
    new.write(Change(1.0, totals={"bids": 1.0}))
    new.close()
    old.close()


@pytest.mark.parametrize("what", ["folder", "nowhere", "text", "fifo"])
def test_what_is_no_state(what, tmp_path):
    path = tmp_path / "s"
    if what == "folder":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "text":
        path.write_text("no database " * 100)
    else:
        path = tmp_path / "no" / "s"
    with pytest.raises(UserError, match="state ") as error:
        SQLiteStorage(str(path))
    assert str(path) in str(error.value)


@pytest.mark.slow
def test_the_log_stays_below_its_bound_while_somebody_writes(tmp_path):
    bound = 2**20
    storage = SQLiteStorage(str(tmp_path / "s.sqlite"), most_log_bytes=bound)
    written = largest = 0
    state = os.urandom(16_000)
    for number in range(400):
        users = {number * 8 + user: (0, state) for user in range(8)}
        storage.write(Change(float(number), users, {"requests": 8.0}))
        written += 8 * len(state)
        largest = max(largest, storage.log_bytes())
    assert written > 40 * bound
    assert largest < 1.5 * bound  # a transaction more than the bound at most
    assert storage.totals()["requests"] == 3200
    assert storage.load([3199]) == [state]
    storage.close()


def test_a_transaction_that_fails_leaves_the_next_one_alone(tmp_path):
    """A disk on which nothing can be written, for a while."""
    storage = SQLiteStorage(str(tmp_path / "s.sqlite"))
    storage.write(Change(1.0, totals={"spend": 1.0}))
    pages = storage._db.execute("PRAGMA page_count").fetchone()[0]
    storage._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(storage.errors):
        storage.write(Change(2.0, {1: (0, bytes(100_000))}, {"spend": 1.0}))
    assert storage.totals()["spend"] == 1.0
    storage._db.execute("PRAGMA max_page_count = 100000")
    storage.check()
    assert storage.write(Change(3.0, {1: (0, bytes(100_000))}, {"spend": 1.0}))["spend"] == 2.0
    storage.close()


@pytest.mark.parametrize("kind", ["sqlite", "memory"])
def test_the_books(kind, tmp_path):
    storage = open_storage(":memory:" if kind == "memory" else str(tmp_path / "s"), "f", 100.0)
    assert storage.last_written() is None
    notice = Notice("7", "won", 100.0, 5.0, 0.25, "above")
    assert storage.write(Change(5.0, totals={"spend": 0.25}, notice=notice))
    assert storage.write(Change(6.0, totals={"spend": 0.25}, notice=notice)) is None
    assert storage.names_of("7") == ["won"]
    assert storage.names_of("8") == []
    assert list(storage.notices()) == [notice]
    correction = Adjustment(6.0, "spend", -0.2, "a credit note")
    assert storage.adjust(correction)["spend"] == pytest.approx(0.05)
    assert storage.adjustments() == [correction]
    for harm in ("UPDATE adjustments SET amount = 1", "DELETE FROM adjustments"):
        with pytest.raises(sqlite3.IntegrityError, match="adjustments are never"):
            storage._db.execute(harm)
    assert storage.last_written() == 5.0
    storage.close()


class Wall:
    """The clock of a machine, and the seconds that pass whatever it says."""

    def __init__(self, now=1e9):
        self.now, self.passed = now, 500.0

    def sleep(self, seconds):
        self.now += seconds
        self.passed += seconds

    def clock(self):
        return SteadyClock(lambda: self.now, lambda: self.passed)


def test_a_running_server_does_not_notice_that_the_clock_is_set():
    wall = Wall()
    clock = wall.clock()
    for jump in (3600.0, -90 * DAY, 400 * DAY):
        before = clock()
        wall.now += jump
        assert clock() == before
        wall.sleep(10.0)
        assert clock() == before + 10.0
    assert clock.ahead() == pytest.approx(3600.0 + 310 * DAY)


@pytest.mark.parametrize("jump", [-400 * DAY, -1.0, 0.0, 60.0, DAY, 400 * DAY])
def test_the_clock_of_the_books_goes_on_where_it_stopped(jump):
    wall = Wall()
    first = BookClock(wall.clock(), None)
    wall.sleep(10.0)
    last = first()
    wall.now += jump  # before the next start
    second = BookClock(wall.clock(), last)
    assert second() == last
    began = second()
    wall.sleep(5.0)
    assert second() == began + 5.0


@pytest.mark.slow
@pytest.mark.parametrize("jump", [-40 * DAY, 40 * DAY])
@pytest.mark.parametrize("world", ["journey", "display"])
def test_a_wrong_clock_at_one_start_books_nothing_twice_and_ends_nothing(
    jump, world, request, serve, clock, tmp_path
):
    """Bids and notices before it, under it and after it."""
    policy, right, names = request.getfixturevalue(world), clock.now, []
    settings = {"budget": 50.0, "flight_hours": 900.0, "cap": 3, "pacing": "proportional"}
    for now in (right, right + jump, right + HOUR):
        clock.now = now
        service = serve(policy, str(tmp_path / "s.sqlite"), **settings)
        always(service, 5)
        for user in range(3):
            (decision,) = service.answer([ask(user)])
            if decision.bid is not None:
                names.append(service.sealer.seal(decision.bid))
                assert service.notice("win", names[-1], price=0.001) == "counted"
            assert np.isfinite(past_of(service, user).states).all()
        assert {service.notice("win", name, price=0.001) for name in names} == {"known"}
        spend = service.money.spend
        clock.now += 700.0  # so that pruning has its turn
        service.answer([ask(9)])
        service.close()
    assert spend == pytest.approx(0.001 * len(names))
    assert len(names) >= 6  # by the right clock, before and after


def test_holds_survive_a_start_with_another_clock(tmp_path):
    path = str(tmp_path / "s.sqlite")
    storage = SQLiteStorage(path)
    wall = Wall()
    books = BookClock(wall.clock(), storage.last_written())
    assert storage.hold([Hold(1, 0.6, books() + 300.0)], 1.0, books()) == [True]
    storage.write(Change(books()))
    storage.close()
    wall.now -= 40 * DAY
    storage = SQLiteStorage(path)
    books = BookClock(wall.clock(), storage.last_written())
    assert storage.hold([Hold(2, 0.6, books() + 300.0)], 1.0, books()) == [False]
    wall.sleep(301.0)
    assert storage.hold([Hold(2, 0.6, books() + 300.0)], 1.0, books()) == [True]
    storage.close()

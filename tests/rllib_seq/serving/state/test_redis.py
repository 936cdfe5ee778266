"""Several servers on one real Redis: one budget, one memory, nothing counted twice."""

import shutil
import signal
import subprocess
import time
from collections import Counter

import numpy as np
import pytest
from serving_helpers import (
    HOUR,
    Client,
    always,
    ask,
    bid_on,
    free_port,
    listening,
    past_of,
    path_of,
    running,
    wait_for,
)

from rllib_seq.errors import UserError
from rllib_seq.serving.settings import Settings
from rllib_seq.serving.state.opening import open_storage
from rllib_seq.serving.state.storage import Change, Conflict, Hold, Notice

pytestmark = pytest.mark.redis


@pytest.fixture
def url(redis_url, request):
    """A database of its own for every test."""
    numbers = request.config.__dict__.setdefault("_redis_databases", iter(range(16)))
    return f"{redis_url}/{next(numbers)}"


@pytest.fixture
def clock(clock):
    clock.now = time.time()  # Redis ends notices by its own clock
    return clock


def test_two_servers_share_budget_and_users(journey, serve, url, clock):
    one, two = (serve(journey, url, budget=1.0, cap=3) for _ in range(2))
    alone = serve(journey, budget=1.0, cap=3)
    for step in range(6):  # a user's requests on one server or the other: they are the same user
        either = (one, two)[step % 2]
        answer = either.answer([ask(1)])[0]
        assert answer.why == alone.answer([ask(1)])[0].why
        if answer.bid is not None:  # Redis frees it by its own clock
            either.notice("loss", either.sealer.seal(answer.bid))
        clock.now += HOUR
    for service in (one, two):
        always(service, 16)  # 0.3
    answers = [(one, two)[i % 2].answer([ask(10 + i)])[0] for i in range(6)]
    assert [answer.why for answer in answers] == ["bid"] * 3 + ["budget"] * 3
    name = one.sealer.seal(answers[0].bid)
    assert two.notice("win", name, price=0.1) == "counted"
    assert one.notice("win", name, price=0.1) == "known"
    one.money.refresh()
    assert one.money.totals["spend"] == 0.1
    assert one.answer([ask(20)])[0].why == "bid"  # 0.1 spent, 0.6 set aside
    assert two.answer([ask(21)])[0].why == "budget"
    one.memory.claim(np.array([10]), one.clock.hour())
    assert one.sessions.last_request(one.sessions.find(10)) == 0


@pytest.mark.parametrize("ahead", [3 * HOUR, -3 * HOUR])
def test_a_server_with_another_clock_frees_nothing_that_is_held(ahead, url):
    """And holds end after as many seconds as were asked for, whatever time it is anywhere."""
    storage, now = open_storage(url, "f", 1000.0), time.time()
    assert storage.hold([Hold(1, 0.4, now + 600)], 1.0, now) == [True]
    there = now + ahead
    holds = [Hold(2, 0.4, there + 0.2), Hold(3, 0.4, there + 600)]
    assert storage.hold(holds, 1.0, there) == [True, False]
    wait_for(lambda: storage.held(there) == pytest.approx(0.4))
    assert storage.hold([Hold(4, 0.6, there + 600)], 1.0, there) == [True]
    assert storage.held(now) == pytest.approx(1.0)
    storage.close()


def test_a_race_for_one_user_loses_nothing(journey, serve, url):
    """Between reading a user and writing them, another server books a win: it is read again."""
    one, two = (serve(journey, url) for _ in range(2))
    for service in (one, two):
        always(service, 9)
    name = one.sealer.seal(one.answer([ask(1)])[0].bid)
    act, booked = one.policy.act, []

    def meanwhile(*arguments):
        if not booked:
            booked.append(two.notice("win", name, price=0.01))
        return act(*arguments)

    one.policy.act = meanwhile
    assert one.answer([ask(1)])[0].why == "bid"
    assert booked == ["counted"]
    assert one._storage.totals()["requests"] == 2
    # Nor is the second request missing where the user was written before it.
    assert two.answer([ask(1)])[0].why == "bid"
    assert two.sessions.last_request(two.sessions.find(1)) == 2
    # The reward of the win is with the first step.
    assert past_of(two, 1).rewards[0].tolist()[-3:] == pytest.approx([-0.01, 0.0, 0.0])


def test_a_user_is_read_only_after_others_have_written_him(journey, serve, url, monkeypatch):
    """And what was set aside for the bid that did not leave is free again."""
    one, two = (serve(journey, url, budget=9.0) for _ in range(2))
    for service in (one, two):
        always(service, 16)  # 0.3
    reads = []

    def counting(storage, name):
        load = storage.load

        def reported(keys):
            reads.append((name, keys))
            return load(keys)

        monkeypatch.setattr(storage, "load", reported)

    counting(one._storage, "one")
    counting(two._storage, "two")
    for service in (one, one, two, one):
        service.answer([ask(1)])
    assert reads == [("one", [1]), ("two", [1]), ("one", [1])]
    assert one._storage.held(time.time()) == pytest.approx(4 * 0.3)
    assert one.sessions.last_request(one.sessions.find(1)) == 3


def test_a_write_that_fails_leaves_no_step_behind(journey, serve, url, monkeypatch):
    service = serve(journey, url)
    service.answer([ask(1)])
    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(service._storage, "write", broken)
        service.answer([ask(1)])
    service.answer([ask(1)])
    assert service.sessions.last_request(service.sessions.find(1)) == 1


def broken(change):
    raise ConnectionError


@pytest.mark.parametrize("which", ["sqlite", "redis"])
def test_both_keep_the_same_books(which, url):
    """The interface, call by call."""
    storage = open_storage(":memory:" if which == "sqlite" else url, "f", 1000.0)
    now = time.time()
    assert storage.constant("a", b"1") == storage.constant("a", b"2") == b"1"
    holds = [Hold(i, 0.4, now + 600) for i in range(3)]
    assert storage.hold(holds, 1.0, now) == [True, True, False]
    assert storage.held(now) == pytest.approx(0.8)
    state = (1).to_bytes(8, "little") + b"state"
    assert storage.write(
        Change(now, {5: (0, state)}, {"spend": 0.25}, None, Notice("n", "won", now + 600), 0)
    )
    assert storage.load([5, 6]) == [state, None]
    assert storage.known("n", "won")
    assert not storage.known("m", "won")
    assert not storage.write(
        Change(now, {5: (1, state)}, {"spend": 1.0}, None, Notice("n", "won", now + 600))
    )
    assert storage.totals()["spend"] == 0.25
    assert storage.held(now) == pytest.approx(0.4)
    assert storage.hold([Hold(7, 0.5, now + 900)], 1.0, now) == [False]
    if not storage.shared:  # which goes by its own clock
        assert storage.hold([Hold(8, 0.5, now + 900)], 1.0, now + 700) == [True]
    if storage.shared:
        with pytest.raises(Conflict) as conflict:
            storage.write(Change(now, {5: (0, state)}, {"spend": 1.0}))
        assert conflict.value.keys == [5]
        assert storage.totals()["spend"] == 0.25
    storage.close()


def test_no_redis_is_named_and_no_password_is_shown(monkeypatch):
    with pytest.raises(UserError, match="no Redis answers at 'redis://127.0.0.1:1'"):
        open_storage("redis://127.0.0.1:1", "f", 1.0)
    with pytest.raises(UserError, match="put it into RLLIB_SEQ_REDIS_PASSWORD") as error:
        open_storage("redis://:sesame@127.0.0.1:1", "f", 1.0)
    monkeypatch.setenv("RLLIB_SEQ_REDIS_PASSWORD", "sesame")
    with pytest.raises(UserError, match="no Redis answers") as other:
        open_storage("redis://127.0.0.1:1", "f", 1.0)
    assert "sesame" not in str(error.value) + str(other.value)


def test_a_redis_that_stands_still_ends_in_no_bid_in_time(journey, tmp_path):
    """And in 503 for notices; when it goes on, so does the server."""
    if shutil.which("redis-server") is None:
        pytest.skip("needs redis-server")
    port = free_port()
    command = ["redis-server", "--port", str(port), "--dir", str(tmp_path), "--save", ""]
    redis = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: listening(port))
        state = f"redis://127.0.0.1:{port}/0"
        settings = Settings(export=str(journey.folder), state=state, budget=5.0, max_users=512)
        with running(settings) as (http, _):
            client = Client(http)
            bid = bid_on(client, "a")
            redis.send_signal(signal.SIGSTOP)
            reasons = Counter()
            for number in range(12):
                status, answer = client.bid(f"b{number}", tmax=100)
                assert status == 200
                reasons[answer["nbr"]] += 1
            assert set(reasons) <= {1, 15}
            assert client("GET", path_of(bid["nurl"], 1.0))[0] == 503
            assert client("GET", "/live")[0] == client("GET", "/metrics")[0] == 200
            assert client("GET", "/healthz")[0] == 503
            redis.send_signal(signal.SIGCONT)
            wait_for(lambda: client("GET", "/healthz")[0] == 200)
            assert client("GET", path_of(bid["nurl"], 1.0))[1]["status"] in ("counted", "known")
            bid_on(client, "a")
            assert client("GET", "/live")[1]["totals"]["spend"] == pytest.approx(0.001)
    finally:
        redis.send_signal(signal.SIGCONT)
        redis.kill()
        redis.wait()


def test_a_user_is_forgotten_on_every_server(journey, serve, url):
    """A server that has the user in memory does not write them back."""
    one, two = (serve(journey, url) for _ in range(2))
    for service in (one, two):
        always(service, 1)
    for service in (one, two, one):
        service.answer([ask(7)])
    assert one.notice("visit", user=7, event="1") == "counted"
    two.forget(7)
    one.answer([ask(7)])  # has seen them last
    for service in (one, two):
        row = service.memory.claim(np.array([7]), service.clock.hour())[0]
        assert service.sessions.last_request(int(row)) == 0
    assert one.notice("visit", user=7, event="1") == "counted"

"""Who is remembered, and what is left of those who are not or who ask to be forgotten."""

import sqlite3
import struct
import urllib.parse

import numpy as np
import pytest
from serving_helpers import HOUR, Client, always, ask, path_of_bid, request_of, running

from rllib_seq.serving.http.bids.queries import queries_of
from rllib_seq.serving.openrtb.request import BidRequest
from rllib_seq.serving.settings import Settings

WITHOUT_A_PAST = [
    {"user": {}},
    {"user": None},
    {"user": {"id": "   "}},
    {"user": {"id": "null", "buyeruid": "Unknown"}},
    {"user": {"id": "a\0b"}},
    {"user": None, "device": {"ifa": "00000000-0000-0000-0000-000000000000"}},
    {"device": {"ifa": "c0ffee", "lmt": 1}},
    {"device": {"ifa": "c0ffee", "dnt": 1}},
    {"regs": {"coppa": 1}},
    {"regs": {"gdpr": 1}, "user": {"id": "alice", "consent": ""}},
    {"regs": {"us_privacy": "1YYN"}},
    {"test": 1},
]


def asked(service, exchange="", **changes):
    """The answers to the first impression of a request."""
    request = BidRequest.model_validate(request_of("alice", **changes))
    queries, why = queries_of(request, service, exchange)
    assert queries, why
    return service.answer([queries[0][1]])[0]


class Sees:
    """A policy that keeps what it saw."""

    def __init__(self, policy):
        self.spec, self.seen, self.valid = policy.spec, [], []

    def act(self, observation, past, memory):
        self.seen.append(observation.copy())
        self.valid.append(past.valid.copy())
        return np.full(len(observation), len(self.spec.facts["bid_levels"]) - 1), memory


@pytest.mark.parametrize("changes", WITHOUT_A_PAST)
def test_users_without_a_past(changes, journey, serve):
    """Every one of their requests is a first one, their bids are not capped, nothing is kept."""
    service = serve(journey, cap=1)
    sees = Sees(service.policy)
    service.replace(sees)
    for _ in range(3):
        decision = asked(service, **changes)
        assert decision.why == "bid"
        service.notice("win", service.sealer.seal(decision.bid), price=0.01)
    assert not np.concatenate(sees.valid).any()
    assert all((each == sees.seen[0]).all() for each in sees.seen)
    assert len(service.sessions) == 0
    asked(service)  # a user with an id: remembered, and capped
    assert len(service.sessions) == 1
    assert asked(service).why == "cap"


def test_bids_of_guests_are_booked_all_the_same(journey, serve):
    service = serve(journey, budget=1.0)
    always(service, len(service.policy.spec.facts["bid_levels"]) - 1)  # bids 0.3
    decisions = [asked(service, user={}) for _ in range(4)]
    assert [each.why for each in decisions] == ["bid"] * 3 + ["budget"]
    name = service.sealer.seal(decisions[0].bid)
    assert service.notice("win", name, price=0.1) == "counted"
    assert service.notice("win", name, price=0.1) == "known"
    assert service.notice("click", name) == "counted"
    assert service.notice("loss", service.sealer.seal(decisions[1].bid)) == "counted"
    totals = service.money.totals
    assert (totals["requests"], totals["bids"], totals["wins"]) == (4, 3, 1)
    assert totals["spend"] == pytest.approx(0.1)
    assert asked(service, user={}).why == "bid"
    assert len({each.bid.user for each in decisions[:3]}) == 3  # no key that they share


def test_a_test_holds_and_spends_nothing(journey, serve):
    service = serve(journey, budget=0.3)
    always(service, len(service.policy.spec.facts["bid_levels"]) - 1)
    before = dict(service.money.totals)
    tests = [asked(service, test=flag) for flag in (1, True, 1.0) for _ in range(3)]
    assert [each.why for each in tests] == ["bid"] * 9
    for kind in ("win", "billing", "click", "conversion", "view", "loss"):
        assert service.notice(kind, service.sealer.seal(tests[0].bid), price=0.2) == "ignored"
    service.withdraw(tests[1].bid)
    assert service.money.totals == before
    assert asked(service, test=0).why == "bid"  # the whole budget is there
    assert asked(service, test=1).why == "bid"
    assert asked(service, test=False, user={"id": "bob"}).why == "budget"


def test_guests_and_users_share_a_batch(journey, serve):
    service = serve(journey)
    always(service, 1)
    alone = serve(journey)
    always(alone, 1)
    for _ in range(3):
        mixed = [ask(1), ask(50)._replace(remembered=False), ask(2)]
        service.answer(mixed)
        alone.answer([mixed[0], mixed[2]])
    for user in (1, 2):
        rows = [each.sessions.find(user) for each in (service, alone)]
        assert service.sessions.last_request(rows[0]) == alone.sessions.last_request(rows[1]) == 2
    assert service.sessions.find(50) is None
    assert service.money.totals["requests"] == 9


def test_guests_are_not_recorded(journey, serve, tmp_path):
    import pyarrow.parquet as pq

    service = serve(journey, record=str(tmp_path))
    always(service, 1)
    for _ in range(2):
        service.answer([ask(1), ask(50)._replace(remembered=False)])
    service.close()
    rows = pq.read_table(tmp_path).to_pydict()
    assert len(set(rows["episode"])) == 1
    assert rows["step"] == [0, 1]


def test_exchanges_have_their_own_user_ids(journey, serve):
    service = serve(journey)
    for exchange in ("one", "two", "one"):
        asked(service, exchange, user={"id": "7"})
    assert len(service.sessions) == 2
    for exchange in ("one", "two"):  # an id that was matched for us is ours everywhere
        asked(service, exchange, user={"id": "7", "buyeruid": "ours"})
    assert len(service.sessions) == 3


def test_a_user_is_forgotten_down_to_the_file(journey, tmp_path):
    state = tmp_path / "state.sqlite"
    settings = Settings(
        export=str(journey.folder), state=str(state), max_users=512, tmax_ms=5000.0,
        token="a token of sufficient length",
    )  # fmt: skip
    with running(settings) as (port, service):
        always(service, len(service.policy.spec.facts["bid_levels"]) - 1)
        client = Client(port, settings.token)
        keys = {}
        for name in ("alice", "bob"):
            keys[name] = service.identities.key("id", name)
            for _ in range(5):
                _, answer = client.bid(name)
                assert client("GET", path_of_bid(answer, "nurl", 1.0))[0] == 200
            query = urllib.parse.urlencode({"user": name, "id_kind": "id", "event": "1"})
            assert client("GET", f"/notice/visit?{query}")[1] == {"status": "counted"}

        def on_disk(key):
            files = [each for each in tmp_path.iterdir() if each.name.startswith(state.name)]
            content = b"".join(each.read_bytes() for each in files)
            forms = struct.pack("<q", key), struct.pack(">q", key), f"u{key}".encode()
            return [form in content for form in forms]

        assert all(map(any, (on_disk(keys["alice"]), on_disk(keys["bob"]))))
        assert Client(port)("DELETE", "/users?user=alice&id_kind=id")[0] == 401
        assert client("DELETE", "/users?id_kind=id")[0] == 400
        assert client("DELETE", "/users?user=null")[0] == 400
        assert client("DELETE", "/users?user=alice&id_kind=name")[0] == 400
        before = dict(service.money.totals)
        assert client("DELETE", "/users?user=alice&id_kind=id") == (204, b"")
        assert client("DELETE", "/users?user=alice&id_kind=id") == (204, b"")  # as it was
        assert not any(on_disk(keys["alice"]))
        assert any(on_disk(keys["bob"]))
        assert service.money.totals == before  # the books stay
        assert service.sessions.find(keys["alice"]) is None
        client.bid("alice")
        row = service.sessions.find(keys["alice"])
        assert service.sessions.last_request(row) == 0
        row = service.sessions.find(keys["bob"])
        assert service.sessions.last_request(row) == 4
        client("DELETE", "/users?user=alice&id_kind=id")
    with sqlite3.connect(state) as db:
        users = [row[0] for row in db.execute("SELECT user FROM sessions")]
    assert users == [keys["bob"]]
    assert not any(on_disk(keys["alice"]))


def test_users_are_forgotten_as_they_were_named(journey):
    """By the source of an eid in any case; `where` says nothing of an ifa."""
    settings = Settings(export=str(journey.folder), state=":memory:", max_users=512, tmax_ms=5000.0)
    with running(settings) as (port, service):
        client = Client(port)
        eids = [{"source": "ID.example.com", "uids": [{"id": "E1"}, None]}, None]
        for user, query in (
            ({"user": {"eids": eids}}, "user=E1&id_kind=eids&where=Id.Example.com"),
            ({"user": {}, "device": {"ifa": "AB-1"}}, "user=ab-1&id_kind=ifa&where=ios"),
        ):
            client("POST", "/openrtb2/bid", request_of("alice", **user))
            assert len(service.sessions) == 1
            assert client("GET", f"/notice/visit?event=1&{query}")[1] == {"status": "counted"}
            assert len(service.sessions) == 1
            assert client("DELETE", f"/users?{query}") == (204, b"")
            assert len(service.sessions) == 0
        for path in ("/users?user=E1&id_kind=eids", "/users?user=null"):
            assert client("DELETE", path)[0] == 400
        assert client("GET", "/notice/visit?event=1&user=E1&id_kind=eids")[0] == 400


def test_the_cap_of_a_user_outlives_an_hour(journey, serve, clock):
    """What is new for guests changes nothing for users."""
    service = serve(journey, cap=1, cap_hours=1.0)
    always(service, 1)
    assert asked(service).why == "bid"
    assert asked(service).why == "cap"
    clock.now += 2 * HOUR
    assert asked(service).why == "bid"

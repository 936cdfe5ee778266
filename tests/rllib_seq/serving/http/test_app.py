"""OpenRTB over a real socket: bids, notices, refusals, and what must not end the server."""

import os
import random
import signal
import socket
import threading
import time
import urllib.parse

import pytest
from serving_helpers import TOKEN, Client, bid_on, path_of, process, request_of, running, wait_for

from rllib_seq.serving.settings import Settings


@pytest.fixture(scope="module")
def server(journey):
    settings = Settings(
        export=str(journey.folder), state=":memory:", max_users=4096, max_body_bytes=20_000,
        body_seconds=1.5, tmax_ms=5000.0,
    )  # fmt: skip
    with running(settings) as (port, service):
        yield port, service


@pytest.fixture
def client(server):
    client = Client(server[0])
    yield client
    client.close()


def test_a_bid_and_its_notices(client, server):
    service = server[1]
    before = service.money.totals["spend"]
    bid = bid_on(client, "alice")
    assert bid["impid"] == "1"
    assert bid["price"] / 1000 in service.policy.spec.facts["bid_levels"]
    assert bid["exp"] == 300
    assert client("GET", path_of(bid["nurl"], 12.5)) == (200, {"status": "counted"})
    assert client("GET", path_of(bid["nurl"], 12.5)) == (200, {"status": "known"})
    assert client("GET", path_of(bid["burl"], 12.5)) == (200, {"status": "known"})
    assert client("GET", path_of(bid["ext"]["click"])) == (200, {"status": "counted"})
    assert client("GET", path_of(bid["ext"]["conversion"])) == (200, {"status": "counted"})
    assert service.money.totals["spend"] - before == 0.0125
    loser = bid_on(client, "alice")
    assert client("GET", path_of(loser["lurl"])) == (200, {"status": "counted"})
    assert client("GET", "/notice/win?bid=unheard-of&price=1") == (200, {"status": "unknown"})


def test_several_impressions_are_steps_of_one_user(client, server):
    service = server[1]
    imps = request_of("bob")["imp"] * 3
    imps = [{**imp, "id": str(i)} for i, imp in enumerate(imps)]
    client.bid("bob", imp=imps)
    row = service.sessions.find(service.identities.key("id", "bob"))
    assert service.sessions.last_request(row) == 2


@pytest.mark.parametrize(
    ("changes", "nbr"),
    [({"site": {}, "app": {}}, 2), ({"tmax": 1}, 15)],
    ids=["site and app", "no time"],
)
def test_reasons_for_no_bid(changes, nbr, client):
    body = {**request_of("carol"), **changes}
    assert client("POST", "/openrtb2/bid", body) == (200, {"id": "r", "nbr": nbr})


@pytest.mark.parametrize(
    "changes",
    [{"cur": ["EUR"]}, {"imp": [{"id": "1", "banner": {}, "ext": {"channel": "radio"}}]}],
    ids=["currency", "channel"],
)
def test_what_is_not_bought_gets_an_empty_answer(changes, client):
    assert client.bid("dora", **changes)[0] == 204


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", "EOF"),
        ("[]", "an object"),
        ('{"id": true, "imp": []}', "id: Input should be a valid string"),
        ('{"id": "r", "imp": []}', "imp: List should have at least 1"),
        ('{"id": "r", "imp": [{"id": "1", "bidfloor": "2"}]}', "imp.0.bidfloor: Input should be a"),
        ('{"id": "r", "imp": [{"id": "1", "bidfloor": NaN}]}', "finite number"),
        (
            '{"id": "r", "imp": [{"id": "1", "banner": {}}], "tmax": true}',
            "tmax: Input should be a valid int",
        ),
        ("\xff\xfe", "JSON"),
    ],
)
def test_what_is_no_bid_request(body, words, client):
    status, answer = client("POST", "/openrtb2/bid", body.encode("latin-1"))
    assert status == 400
    assert words in answer["detail"]


def test_unknown_fields_are_ignored(client):
    assert client.bid("erin", regs={"coppa": 0}, ext={"ours": [1, 2]})[0] in (200, 204)


def test_limits(client, server):
    big = b'{"id": "' + b"x" * 30_000 + b'"}'
    assert client("POST", "/openrtb2/bid", big)[0] == 413
    chunks = iter([b"x" * 10_000] * 3)
    assert Client(server[0])("POST", "/openrtb2/bid", chunks)[0] == 413
    headers = {"content-encoding": "br"}
    assert client("POST", "/openrtb2/bid", b"...", **headers)[0] == 415


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/notice/win?price=1", "give bid="),
        ("/notice/visit?user=u", "event="),
        ("/notice/sale?bid=x", "kind"),
    ],
)
def test_what_is_no_notice(path, words, client):
    status, answer = client("GET", path)
    assert status == 400
    assert words in answer["detail"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("price", ["${AUCTION_PRICE}", "", "nan", "-3", "22494000000", "%FF", None])
def test_whatever_price_is_told_costs_at_most_the_bid(method, price, client, server):
    bid = bid_on(client, "gail")
    before = server[1].money.totals
    path = f"/notice/win?bid={bid['id']}" + ("" if price is None else f"&price={price}")
    assert client(method, path)[0] == 200
    after = server[1].money.totals
    assert after["wins"] - before["wins"] == 1
    assert after["spend"] - before["spend"] == pytest.approx(bid["price"] / 1000)
    assert b"rllib_seq_flags_total" in client("GET", "/metrics")[1]


@pytest.mark.slow
def test_bad_clients_do_no_harm(client, server):
    """Malformed, slow and dropped requests between good ones: the journey of a user goes on."""
    port, service = server
    random.seed(0)
    good = b"POST /openrtb2/bid HTTP/1.1\r\ncontent-length: 400\r\n\r\n"
    for i in range(60):
        with socket.create_connection(("127.0.0.1", port)) as raw:
            if i % 3 == 0:
                raw.sendall(random.randbytes(random.randrange(1, 500)))
            elif i % 3 == 1:
                raw.sendall(good + b'{"id": "r"')  # and never the rest
            else:
                raw.sendall(good[: random.randrange(1, len(good))])
        body = bytearray(str(request_of("frank")).replace("'", '"').encode())
        body[random.randrange(len(body))] = random.randrange(256)
        status, _ = client("POST", "/openrtb2/bid", bytes(body))
        assert status in (200, 204, 400)
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(good + b'{"id"')
        assert b"408" in slow.recv(1000).splitlines()[0]
    before = service.money.totals["requests"]
    bid_on(client, "frank")
    assert service.money.totals["requests"] > before


def test_concurrent_clients_share_batches_and_nobody_waits_for_ever(server):
    port, service = server
    before = service.money.totals["requests"]

    def ask(number):
        client = Client(port)
        for i in range(20):
            assert client.bid(f"user {(number * 7 + i) % 10}")[0] in (200, 204)
        client.close()

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    assert service.money.totals["requests"] - before == 160


def test_figures(client):
    client.bid("gina")
    status, text = client("GET", "/metrics")
    assert status == 200
    assert b"rllib_seq_bid_seconds_count" in text
    assert b'rllib_seq_campaign{total="requests"}' in text
    assert client("GET", "/healthz")[1]["status"] == "ok"
    live = client("GET", "/live")[1]
    assert live["totals"]["requests"] > 0
    assert live["budget"] is None
    assert b"Bid server" in client("GET", "/")[1]
    schema = client("GET", "/openapi.json")[1]
    imp = schema["components"]["schemas"]["Imp"]["properties"]
    assert {"id", "banner", "video", "bidfloor", "bidfloorcur"} <= set(imp)


def test_a_token_where_there_is_one(journey):
    settings = Settings(export=str(journey.folder), state=":memory:", token=TOKEN, max_users=64)
    with running(settings) as (port, _):
        stranger, owner = Client(port), Client(port, TOKEN)
        assert stranger.bid("a")[0] == 401
        assert Client(port, TOKEN[:-1] + "X").bid("a")[0] == 401
        for path in ("/", "/live", "/metrics", "/docs", "/notice/visit?user=u&event=1"):
            assert stranger("GET", path)[0] == 401
        bid = bid_on(owner, "a")
        assert stranger("GET", path_of(bid["nurl"], 1.0)) == (200, {"status": "counted"})
        assert stranger("GET", "/healthz")[0] == 200
        query = urllib.parse.urlencode({"token": TOKEN})
        assert stranger("GET", f"/live?{query}")[0] == 200


@pytest.mark.slow
def test_a_new_export_is_taken_over_and_a_bad_one_is_not(journey, tmp_path):
    """While requests come, none of which is dropped."""
    folder = tmp_path / "export"
    folder.mkdir()
    for file in journey.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    settings = Settings(export=str(folder), state=":memory:", max_users=512)
    with running(settings) as (port, service):
        client = Client(port)
        old = service.policy
        spec = (folder / "spec.json").read_text()
        model = next(folder.glob("model-*.onnx"))
        good = model.read_bytes()

        def reload(text):
            before = dict(client("GET", "/live")[1]["reloads"])
            (folder / "new").write_text(text)
            os.replace(folder / "new", folder / "spec.json")
            end = time.monotonic() + 600
            while client("GET", "/live")[1]["reloads"] == before:
                assert client.bid("h")[0] in (200, 204)
                assert time.monotonic() < end

        model.write_bytes(good[:-1])
        reload(spec)
        assert service.policy is old
        model.write_bytes(good)
        reload(spec)
        assert service.policy is not old
        assert client("GET", "/live")[1]["reloads"] == {"done": 1, "refused": 1}


@pytest.mark.slow
def test_kill_9_forgets_nothing(journey, tmp_path):
    """A server without Ray and torch, ended in the middle; the next one goes on."""
    state = tmp_path / "state.sqlite"
    arguments = (journey.folder, "--state", state, "--budget", 5)
    with process(*arguments) as (child, port):
        client = Client(port)
        bids = [bid_on(client, f"user {i}") for i in range(5)]
        for bid in bids[:3]:
            assert client("GET", path_of(bid["nurl"], 10.0))[1] == {"status": "counted"}
        before = client("GET", "/live")[1]["totals"]
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    with process(*arguments) as (child, port):
        client = Client(port)
        assert client("GET", "/live")[1]["totals"] == before
        assert before["spend"] == pytest.approx(0.03)
        assert client("GET", path_of(bids[0]["nurl"], 10.0))[1] == {"status": "known"}
        assert client("GET", path_of(bids[4]["nurl"], 10.0))[1] == {"status": "counted"}
        child.send_signal(signal.SIGTERM)
        wait_for(lambda: child.poll() is not None)
        said = child.stderr.read()
        assert "user 1" not in said
        assert bids[0]["id"] not in said


@pytest.mark.slow
def test_a_server_loads_neither_ray_nor_torch_where_they_are_installed(journey):
    with process(journey.folder, "--state", ":memory:", hide=False) as (child, port):
        bid_on(Client(port), "user")
        child.send_signal(signal.SIGTERM)
        wait_for(lambda: child.poll() is not None)
        assert "loaded: []" in child.stderr.read()

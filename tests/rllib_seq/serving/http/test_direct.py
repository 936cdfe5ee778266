"""The short way of a bid request and the usual one answer alike, whatever else is on the line."""

import json
import socket

import pytest
from serving_helpers import Client, always, request_of, running, wait_for

from rllib_seq.serving.settings import Settings


@pytest.fixture(scope="module")
def server(journey):
    settings = Settings(export=str(journey.folder), state=":memory:", max_users=512, tmax_ms=6e4)
    with running(settings) as (port, service):
        always(service, len(service.policy.spec.facts["bid_levels"]) - 1)
        yield port, service


def post(name, *headers, **changes):
    body = json.dumps(request_of(name, id=name, **changes)).encode()
    head = ["POST /openrtb2/bid HTTP/1.1", "host: localhost", *headers]
    if not any("chunked" in header for header in headers):
        head.append(f"content-length: {len(body)}")
    else:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def answers(port, sent, number):
    """Head and body of each of some answers on one connection, which is then closed by us."""
    found = []
    with socket.create_connection(("127.0.0.1", port)) as line, line.makefile("rb") as read:
        line.settimeout(60)
        line.sendall(sent)
        for _ in range(number):
            head = list(iter(lambda: read.readline().decode().strip().lower(), ""))
            length = next(int(h.split(":")[1]) for h in head if h.startswith("content-length"))
            found.append((head, json.loads(read.read(length))))
    return found


def test_requests_in_a_row_are_answered_in_their_order(server):
    names = [f"user {number}" for number in range(6)]
    sent = b"".join(post(name) for name in names)
    sent += b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n" + post("last")
    said = answers(server[0], sent, 8)
    assert [body.get("id", body.get("status")) for _, body in said] == [*names, "ok", "last"]


@pytest.mark.parametrize(
    ("headers", "changes"),
    [
        (("transfer-encoding: chunked",), {}),
        (("expect: 100-nothing",), {}),
        ((), {"padding": "x" * 100_000}),
        (("connection: close",), {}),
    ],
)
def test_both_ways_answer_alike(headers, changes, server):
    ((short, one),) = answers(server[0], post("a"), 1)
    ((usual, other),) = answers(server[0], post("a", *headers, **changes), 1)
    closing = [each for each in usual if each.startswith("connection")]
    assert bool(closing) == ("connection: close" in headers)
    differing = ("content-length", "date", "connection")
    assert [h for h in short if not h.startswith(differing)] == [
        h for h in usual if not h.startswith(differing)
    ]
    assert one["seatbid"][0]["bid"][0].keys() == other["seatbid"][0]["bid"][0].keys()


def test_who_leaves_and_what_fails_harm_no_one_else(server, monkeypatch):
    port, service = server
    client = Client(port)
    before = service.money.totals["requests"]
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.sendall(post("gone"))
    wait_for(lambda: service.money.totals["requests"] == before + 3)
    assert client.bid("b")[0] == 200
    for where, name in ((service.identities, "key_of"), (service.sealer, "seal")):
        with monkeypatch.context() as broken:
            broken.setattr(where, name, lambda *_: 1 / 0)
            assert client.bid("b")[0] == 500
        assert client.bid("b")[0] == 200

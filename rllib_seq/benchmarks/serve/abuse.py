"""Malformed, oversized and broken-off requests, and what a bid server does about them."""

from __future__ import annotations

import socket
from collections import Counter
from pathlib import Path

import numpy as np

from rllib_seq.benchmarks.result import Check, Result, listed
from rllib_seq.benchmarks.serve.load import Load, run_load
from rllib_seq.benchmarks.serve.servers import bid_server, free_port, live_figures, wait_for_port

_REQUESTS = 10_000
_SLOW_CLIENTS = 200


def abuse(export: Path, folder: Path) -> Result:
    """10,000 of them beside clients that never finish; then a user goes on where they were."""
    port = free_port()
    server = bid_server(export, port, folder / "abuse.sqlite")
    random = np.random.default_rng(0)
    statuses: Counter[str] = Counter()
    try:
        wait_for_port(port)
        before = live_figures(port)
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(_SLOW_CLIENTS)]
        for each in slow:
            each.sendall(b"POST /openrtb2/bid HTTP/1.1\r\ncontent-length: 100\r\n\r\n{")
        for i in range(_REQUESTS):
            body = random.bytes(int(random.integers(0, 300)))
            if i % 100 == 1:
                body = b"x" * 100_000
            status = _sent(port, body, wait=i % 10 != 0)
            if status is not None:
                statuses[status] += 1
        for each in slow:
            each.close()
        load = run_load(Load(port, "/openrtb2/bid", 2.0, 8))
        after = live_figures(port)
        alive = server.poll() is None
    finally:
        server.terminate()
        server.wait()
    figures = {
        "statuses": dict(statuses),
        "requests_before": before["totals"]["requests"],
        "requests_after": after["totals"]["requests"],
        "errors_after": load.errors,
    }
    odd = set(statuses) - {"400", "413", "closed"}
    uncounted = abs(after["totals"]["requests"] - load.requests)
    checks = [
        Check("the server lives", alive, ">=", 1),
        Check("errors of good requests", load.errors, "<=", 0),
        Check("other statuses than 400 and 413", len(odd), "<=", 0),
        Check("good requests that are not counted", uncounted, "<=", 0),
    ]
    return Result(figures, {"bad requests": listed(figures)}, checks)


def _sent(port: int, body: bytes, wait: bool) -> str | None:
    """The status of the answer, or "closed"; None where it is not waited for."""
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.settimeout(20.0)
        head = f"POST /openrtb2/bid HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n"
        try:
            raw.sendall(head.encode() + body)
            return raw.recv(64)[9:12].decode() if wait else None
        except OSError:
            return "closed"

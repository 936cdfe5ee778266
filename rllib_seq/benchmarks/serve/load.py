"""A bounded load generator on loopback: Zipf users, bursts, HTTP/1.1 over kept connections.

User k of 100,000 comes with a probability in proportion to k ** -0.8: the busiest makes 2 % of the
traffic, half of it comes from the first 3,000.

- `Load`: what is sent.
- `run_load`: sends it; latencies and what came back.

It runs in a process of its own, so that it does not share the server's interpreter, and writes its
requests before it starts: what it takes of a core is small, and is reported.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import time
from typing import NamedTuple, cast

import httptools
import numpy as np
import uvloop

_CHANNELS = ("display", "video", "search")
_PREPARED = 20_000
_PAUSE = 0.05
_TOLD = 0.2


class Load(NamedTuple):
    """Traffic of one measurement."""

    port: int
    path: str
    seconds: float
    concurrency: int
    users: int = 100_000
    zipf: float = 0.8
    burst: int = 0
    """Requests that come at once after a pause, on average; 0: each when the last is answered."""
    notices: bool = False
    """Whether what is won is given."""


class Answers(NamedTuple):
    """What came of it."""

    per_second: float
    milliseconds: dict[str, float]
    requests: int
    bids: int
    late: int
    errors: int
    core_share: float
    """Of a core that the load generator took."""


def run_load(load: Load) -> Answers:
    """Sends a load from another process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_in_process, (load,))


def _in_process(load: Load) -> Answers:
    return uvloop.run(_send(load))


async def _send(load: Load) -> Answers:
    random = np.random.default_rng(0)
    share = np.cumsum(np.arange(1, load.users + 1) ** -load.zipf)
    users = np.searchsorted(share, random.random(_PREPARED) * share[-1]).tolist()
    requests = [_request(load.path, number, user) for number, user in enumerate(users)]
    loop = asyncio.get_running_loop()
    connections = []
    for i in range(load.concurrency):
        own = requests[i :: load.concurrency]
        # Each run begins elsewhere, or it would meet the same users in the same order.
        start = time.time_ns() // 1_000_000 % len(own)
        connection = _Connection(load, own[start:] + own[:start], np.random.default_rng(i))
        await loop.create_connection(connection.itself, "127.0.0.1", load.port)
        connections.append(connection)
    began, took = time.perf_counter(), time.process_time()
    for connection in connections:
        connection.begin(began + load.seconds)
    await asyncio.gather(*(connection.done for connection in connections))
    seconds, took = time.perf_counter() - began, time.process_time() - took
    latencies = [each for connection in connections for each in connection.latencies]
    quantiles = np.quantile(latencies, [0.5, 0.95, 0.99, 0.999]) * 1000
    names = ("p50", "p95", "p99", "p99.9")
    return Answers(
        len(latencies) / seconds,
        {name: round(float(q), 3) for name, q in zip(names, quantiles, strict=True)},
        len(latencies),
        sum(connection.bids for connection in connections),
        sum(connection.late for connection in connections),
        sum(connection.errors for connection in connections),
        round(took / seconds, 3),
    )


class _Connection(asyncio.Protocol):
    """Sends a request when the last is answered, until time is up."""

    def __init__(self, load: Load, requests: list[bytes], random: np.random.Generator) -> None:
        self._load, self._requests, self._random = load, requests, random
        self._sent = 0
        self._telling = False  # whether what is under way is a notice
        self.latencies: list[float] = []
        self.bids, self.late, self.errors = 0, 0, 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def itself(self) -> _Connection:
        """The factory that asyncio wants."""
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not of asyncio's class.
        self._transport = cast(asyncio.Transport, transport)

    def begin(self, stop: float) -> None:
        self._stop = stop
        self._next()

    def _next(self) -> None:
        if time.perf_counter() >= self._stop:
            self._transport.close()
            self.done.set_result(None)
        elif self._load.burst and self._sent % self._load.burst == 0:
            pause = float(self._random.exponential(_PAUSE))
            asyncio.get_running_loop().call_later(pause, self._send)
        else:
            self._send()

    def _send(self) -> None:
        request = self._requests[self._sent % len(self._requests)]
        self._sent += 1
        self._write(request)

    def _write(self, request: bytes) -> None:
        self._parser, self._content = httptools.HttpResponseParser(self), b""
        self._began = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, content: bytes) -> None:
        self._content += content

    def on_message_complete(self) -> None:
        if self._telling:
            self._telling = False
            self._next()
            return
        self.latencies.append(time.perf_counter() - self._began)
        status, content = self._parser.get_status_code(), self._content
        if status == 200 and b'"seatbid"' in content:
            self.bids += 1
            if self._load.notices and self._random.random() < _TOLD:
                self._telling = True
                self._write(_notice(content))
                return
        elif status == 200 and b'"nbr": 15' in content:
            self.late += 1
        elif status not in (200, 204) or b'"nbr": 1}' in content:
            self.errors += 1
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():  # the server hung up
            self.errors += 1
            self.done.set_result(None)


def _request(path: str, number: int, user: int) -> bytes:
    imp = {"id": "1", "banner": {"w": 300, "h": 250}, "ext": {"channel": _CHANNELS[number % 3]}}
    request = {
        "id": str(number),
        "imp": [imp],
        "site": {"id": "s", "domain": "example.org", "page": "https://example.org/news"},
        "device": {"ua": "Mozilla/5.0", "devicetype": 4, "os": "Android"},
        "user": {"id": f"user-{user}"},
        "tmax": 1000,
        "at": 2,
    }
    body = json.dumps(request)
    return (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"x-session-id: {user}\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    ).encode()


def _notice(content: bytes) -> bytes:
    bid = json.loads(content)["seatbid"][0]["bid"][0]
    path = "/" + bid["nurl"].split("/", 3)[3].replace("${AUCTION_PRICE}", str(bid["price"] / 2))
    return f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()

"""A bounded load generator on loopback: Zipf users, bursts, raw HTTP/1.1 over kept connections.

User k of 100,000 comes with a probability in proportion to k ** -0.8: the busiest makes 2 % of the
traffic, half of it comes from the first 3,000.

- `Load`: what is sent.
- `run_load`: sends it; latencies and what came back.

It runs in a process of its own, so that it does not share the server's interpreter.
"""

import asyncio
import json
import multiprocessing
import time
from typing import NamedTuple

import numpy as np

_CHANNELS = ("display", "video", "search")


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
    """Whether what is won is told."""


class Result(NamedTuple):
    """What came of it."""

    per_second: float
    milliseconds: dict[str, float]
    requests: int
    bids: int
    late: int
    errors: int


def run_load(load: Load) -> Result:
    """Sends a load from another process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_in_process, (load,))


def _in_process(load: Load) -> Result:
    return asyncio.run(_send(load))


async def _send(load: Load) -> Result:
    random = np.random.default_rng(0)
    share = np.cumsum(np.arange(1, load.users + 1) ** -load.zipf)
    users = np.searchsorted(share, random.random(200_000) * share[-1])
    latencies: list[float] = []
    counts = {"bids": 0, "late": 0, "errors": 0}
    stop = time.perf_counter() + load.seconds
    workers = [
        _worker(load, users[i :: load.concurrency].tolist(), latencies, counts, stop, i)
        for i in range(load.concurrency)
    ]
    started = time.perf_counter()
    await asyncio.gather(*workers)
    seconds = time.perf_counter() - started
    quantiles = np.quantile(latencies, [0.5, 0.95, 0.99, 0.999]) * 1000
    names = ("p50", "p95", "p99", "p99.9")
    return Result(
        len(latencies) / seconds,
        {name: round(float(q), 3) for name, q in zip(names, quantiles, strict=True)},
        len(latencies),
        **counts,
    )


async def _worker(load, users, latencies, counts, stop, number):
    reader, writer = await asyncio.open_connection("127.0.0.1", load.port)
    random = np.random.default_rng(number)
    sent = 0
    while time.perf_counter() < stop:
        if load.burst and sent % load.burst == 0:
            await asyncio.sleep(float(random.exponential(0.05)))
        user = users[sent % len(users)]
        sent += 1
        body = _request(sent, user)
        head = (
            f"POST {load.path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"x-session-id: {user}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        began = time.perf_counter()
        writer.write(head.encode() + body)
        status, content = await _answer(reader)
        latencies.append(time.perf_counter() - began)
        if status == 200 and b'"seatbid"' in content:
            counts["bids"] += 1
            if load.notices and random.random() < 0.2:
                await _notice(reader, writer, content)
        elif status == 200 and b'"nbr":15' in content:
            counts["late"] += 1
        elif status not in (200, 204):
            counts["errors"] += 1
    writer.close()


def _request(number, user):
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
    return json.dumps(request).encode()


async def _notice(reader, writer, content):
    bid = json.loads(content)["seatbid"][0]["bid"][0]
    path = "/" + bid["nurl"].split("/", 3)[3].replace("${AUCTION_PRICE}", str(bid["price"] / 2))
    writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
    await _answer(reader)


async def _answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return status, await reader.readexactly(int(value))
        if name.lower() == b"transfer-encoding":
            return status, await _chunks(reader)
    return status, b""


async def _chunks(reader):
    content = b""
    while size := int(await reader.readline(), 16):
        content += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readline()
    return content

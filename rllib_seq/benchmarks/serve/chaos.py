"""A bid server to which everything happens at once, and an exchange that keeps its own books.

The exchange asks for bids on many connections, tells wins, losses, clicks and conversions, and
repeats whatever was not answered. Meanwhile the server is killed (`kill -9`) and started again, its
disk is full for a while, its clock is set forward and back, and a damaged export is put where it
looks for new ones. In the end both books are compared.

- `Chaos`: how much of it.
- `run_chaos`: does it.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rllib_seq.benchmarks.result import Check, Result, listed
from rllib_seq.serving.exported.spec import SPEC
from rllib_seq.serving.state.ledger import read_ledger
from rllib_seq.serving.state.opening import opened_books

_DAY = 86_400.0
_JUMPS = (3 * _DAY, -40 * _DAY, 0.0, 40 * _DAY, -0.5 * _DAY)
_PATIENCE_SECONDS = 180.0
_FULL_DISK_SECONDS = 1.0
# The server, with a clock that is set while it runs.
_SERVER = """
import os, time
real = time.time
def wall():
    with open(os.environ["CHAOS_CLOCK"]) as file:
        return real() + float(file.read() or 0)
time.time = wall
from rllib_seq.cli import main
main()
"""


class Chaos(NamedTuple):
    """How much happens."""

    requests: int = 20_000
    connections: int = 32
    kills: int = 5
    budget: float = 80.0
    """Currency units; less than what would be spent without one."""


@dataclass
class _Exchange:
    """What the exchange knows."""

    chaos: Chaos
    port: int
    asked: int = 0
    answered: int = 0
    lost: int = 0
    spend: float = 0.0
    reported: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)


class _Server:
    """The server, again and again."""

    def __init__(self, export: Path, folder: Path, port: int, budget: float) -> None:
        self.export, self.state = folder / "served", folder / "chaos.sqlite"
        shutil.copytree(export, self.export)
        self._spec = (self.export / SPEC).read_text()
        self._clock, self._log = folder / "clock", folder / "server.log"
        self._port, self._budget = port, budget
        self.set_clock(0.0)
        self.start()

    def start(self) -> None:
        options = [
            *("serve", str(self.export), "--port", str(self._port), "--state", str(self.state)),
            *("--budget", str(self._budget), "--flight-hours", "1e6", "--tmax-ms", "5000"),
            *("--hold-seconds", "86400"),
        ]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _SERVER, *options],
                stderr=log,
                env={**os.environ, "CHAOS_CLOCK": str(self._clock)},
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()

    def set_clock(self, seconds: float) -> None:
        aside = self._clock.with_suffix(".new")
        aside.write_text(str(seconds))
        aside.replace(self._clock)

    def fill_disk(self, full: bool) -> None:
        unlimited = resource.RLIM_INFINITY
        limits = (0 if full else unlimited, unlimited)
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, limits)

    def put_export(self, damaged: bool) -> None:
        aside = self.export / "spec.new"
        aside.write_text(self._spec[: len(self._spec) // 2] if damaged else self._spec)
        aside.replace(self.export / SPEC)

    def log_lines(self) -> int:
        return len(self._log.read_bytes().splitlines())


def run_chaos(export: Path, folder: Path, port: int, chaos: Chaos | None = None) -> Result:
    """Does it, and compares the books.

    Args:
        export: that is served; a copy of it is damaged.
        folder: for state, log and clock.
        port: a free one.
        chaos: how much.

    Returns:
        What was reported and booked. It passes if the books are not a cent apart, spend is never
        above the budget, nothing is lost, and there is no status but 200, 204 and 503.
    """
    chaos = chaos or Chaos()
    server = _Server(export, folder, port, chaos.budget)
    began = time.monotonic()
    try:
        exchange = asyncio.run(_trade(_Exchange(chaos, port), server))
    finally:
        server.stop()
    with opened_books(str(server.state)) as storage:
        totals = read_ledger(storage)["totals"]
        booked = sum(each.amount for each in storage.notices() if each.name == "won")
    apart = abs(totals["spend"] - exchange.spend) + abs(booked - exchange.spend)
    counted = {"wins": "win", "clicks": "click", "conversions": "conversion"}
    checks = [
        Check("books apart", apart, "<", 0.005),
        *(
            Check(f"{total} apart", abs(totals[total] - exchange.reported[kind]), "<=", 0)
            for total, kind in counted.items()
        ),
        Check("spend of the budget", totals["spend"] / chaos.budget, "<=", 1 + 1e-9),
        Check("lost", exchange.lost, "<=", 0),
        Check("not answered", chaos.requests - exchange.answered, "<=", 0),
        Check("odd statuses", len(set(exchange.statuses) - {200, 204, 503}), "<=", 0),
        Check("wins", exchange.reported["win"], ">", 0),
    ]
    figures = {
        **chaos._asdict(),
        "answered": exchange.answered,
        "lost": exchange.lost,
        "reported": dict(exchange.reported),
        "statuses": {str(status): n for status, n in sorted(exchange.statuses.items())},
        "no_bids": dict(exchange.reasons),
        "spend_of_exchange": exchange.spend,
        "spend_of_server": totals["spend"],
        "apart": apart,
        "log_lines": server.log_lines(),
        "seconds": time.monotonic() - began,
    }
    return Result(figures, {"both books": listed(figures)}, checks)


async def _trade(exchange: _Exchange, server: _Server) -> _Exchange:
    traders = (_trader(exchange, i) for i in range(exchange.chaos.connections))
    await asyncio.gather(_wreck(exchange, server), *traders)
    return exchange


async def _wreck(exchange: _Exchange, server: _Server) -> None:
    """Something every so many answers: the clock, the export, the disk, the process."""
    total, kills = exchange.chaos.requests, exchange.chaos.kills
    for number in range(kills):
        quarter = total / (kills + 1) / 4

        async def after(
            quarters: int, share: float = number * 4 * quarter, q: float = quarter
        ) -> None:
            while exchange.answered < share + quarters * q:
                await asyncio.sleep(0.02)

        await after(1)
        server.set_clock(_JUMPS[number % len(_JUMPS)])
        server.put_export(damaged=number % 2 == 0)
        await after(2)
        server.fill_disk(True)
        await asyncio.sleep(_FULL_DISK_SECONDS)
        server.fill_disk(False)
        await after(4)
        server.kill()
        server.put_export(damaged=False)
        server.start()
        # A disk may be full under a server, and not while it opens its state: it then ends.
        caller = _Caller(exchange)
        await caller.until_answered("GET", "/healthz")
        caller.close()


async def _trader(exchange: _Exchange, number: int) -> None:
    """One connection: a request, then what became of its bid, until all are asked."""
    random, caller = np.random.default_rng(number), _Caller(exchange)
    while exchange.asked < exchange.chaos.requests:
        exchange.asked += 1
        answer = await caller.until_answered("POST", "/openrtb2/bid", _request(exchange.asked))
        if answer is None:
            exchange.lost += 1
            continue
        exchange.answered += 1
        content = json.loads(answer) if answer else {}
        if "seatbid" not in content:
            exchange.reasons[str(content.get("nbr", "none"))] += 1
            if content.get("nbr") == 1:  # a bidder that cannot bid is asked less often
                await asyncio.sleep(0.05)
            continue
        bid = content["seatbid"][0]["bid"][0]
        if random.random() < 0.5:
            await _tell(exchange, caller, "loss", bid["id"])
            continue
        price = float(bid["price"]) * float(random.uniform(0.3, 1.0))
        # Both books must round alike: what is given is what is counted.
        exchange.spend += price / 1000.0
        await _tell(exchange, caller, "win", bid["id"], f"&price={price!r}")
        if random.random() < 0.1:  # again, and dearer: it is known
            await caller.until_answered("GET", _path("win", bid["id"], "&price=9999999"))
        if random.random() < 0.2:
            await _tell(exchange, caller, "click", bid["id"])
        if random.random() < 0.1:
            await _tell(exchange, caller, "conversion", bid["id"], "&event=1")
    caller.close()


async def _tell(exchange: _Exchange, caller: _Caller, kind: str, bid: str, more: str = "") -> None:
    answer = await caller.until_answered("GET", _path(kind, bid, more))
    if answer is None or json.loads(answer)["status"] not in ("counted", "known"):
        exchange.lost += 1
    exchange.reported[kind] += 1


def _path(kind: str, bid: str, more: str = "") -> str:
    return f"/notice/{kind}?bid={bid}{more}"


def _request(number: int) -> bytes:
    channel = ("display", "video", "search")[number % 3]
    imp = {"id": "1", "banner": {"w": 300, "h": 250}, "ext": {"channel": channel}}
    user = {"buyeruid": f"user-{number % 997}"}
    return json.dumps({"id": str(number), "imp": [imp], "user": user, "tmax": 5000}).encode()


class _Caller:
    """HTTP/1.1 on one connection that is made again when it is broken."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def until_answered(self, method: str, path: str, body: bytes = b"") -> bytes | None:
        """The body of the first answer that is not 503; None: no one answered for minutes."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < end:
            try:
                status, content = await self._call(method, path, body)
            except (OSError, EOFError):
                self.close()
                await asyncio.sleep(0.05)
                continue
            self._exchange.statuses[status] += 1
            if status < 300:
                return content
            if status != 503:
                return None
            await asyncio.sleep(0.05)
        return None

    async def _call(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._exchange.port)
        reader, writer = self._streams
        writer.write(
            f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().splitlines()
        length = next((int(h.split(":")[1]) for h in head if h.startswith("content-length")), 0)
        content = await reader.readexactly(length)
        if "connection: close" in head:
            self.close()
        return int(head[0].split()[1]), content

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

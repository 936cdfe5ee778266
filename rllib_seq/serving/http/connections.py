"""Connections of a server in one process, and what each of them may take.

- `Connections`: how many there may be, in all and of an address, and how long requests may take.
- `bounded_protocol`: uvicorn's protocol within these bounds.
- `bound_socket`: the socket that is listened on; what is wrong with host or port is one line.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from rllib_seq.errors import UserError
from rllib_seq.serving.http.direct import Direct, Exchange
from rllib_seq.serving.settings import Settings

__all__ = ["Connections", "bound_socket", "bounded_protocol"]

_TOO_SLOW = (
    "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\n"
    'connection: close\r\ncontent-length: 41\r\n\r\n{{"detail": "the {} took too much time"}}'
)
_HEAD, _BODY = "head", "body"
_BACKLOG = 2048
_SHORT_BYTES = 65_536  # of bodies that are kept whole, however many connections there are


class Connections:
    """What connections may take.

    Args:
        most: open at a time.
        most_per_address: of them, from one address.
        head_seconds: from the connection, or from the first byte of a further request, until its
            head is complete.
        body_seconds: from then on, until its body is.

    Attributes:
        refused: connections that were closed at once, because there were too many.
        slow: connections that were closed because a "head" or a "body" took too long.
    """

    def __init__(
        self, most: int, most_per_address: int, head_seconds: float, body_seconds: float
    ) -> None:
        self.most, self.most_per_address = most, most_per_address
        self.seconds = {_HEAD: head_seconds, _BODY: body_seconds}
        self.refused = 0
        self.slow = {_HEAD: 0, _BODY: 0}
        self._by_address: Counter[str] = Counter()
        self._total = 0

    @classmethod
    def of(cls, settings: Settings) -> Connections:
        """As an operator chose."""
        return cls(
            *(settings.max_connections, settings.max_connections_per_address),
            *(settings.head_seconds, settings.body_seconds),
        )

    def enter(self, address: str) -> bool:
        """Counts a connection, if there is room for it."""
        if self._total >= self.most or self._by_address[address] >= self.most_per_address:
            self.refused += 1
            return False
        self._total += 1
        self._by_address[address] += 1
        return True

    def leave(self, address: str) -> None:
        """The connection is closed."""
        self._total -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]


def bounded_protocol(bounds: Connections, direct: Direct | None = None) -> type[asyncio.Protocol]:
    """A protocol for `uvicorn.Config(http=...)`.

    Args:
        bounds: of its connections.
        direct: what answers its path the short way; None: all requests go the usual way.
    """

    class Bounded(HttpToolsProtocol):
        """uvicorn's, which waits forever, and gives all connections to one client.

        A request that comes whole, as nearly all do, needs no timer.
        """

        cycle: Any  # of uvicorn, or an `Exchange`
        _awaited: str | None = _HEAD
        _entered: str | None = None
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            address = self.client[0] if self.client else ""
            if not bounds.enter(address):
                transport.abort()
                return
            self._entered = address
            self._expect()

        def connection_lost(self, exc: Exception | None) -> None:
            self._await(None)
            if self._entered is not None:
                bounds.leave(self._entered)
                self._entered = None
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._awaited and self._timer is None and not self.transport.is_closing():
                self._expect()

        def on_message_begin(self) -> None:
            self._awaited = _HEAD
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._await(_BODY)
            if direct is None or not self._is_short(direct):
                super().on_headers_complete()
                return
            path, _, query = self.url.partition(b"?")
            self.scope |= {
                **{"method": "POST", "path": path.decode(), "raw_path": path},
                "query_string": query,
            }
            self.cycle = Exchange(direct, self, self.parser.should_keep_alive())

        def _is_short(self, direct: Direct) -> bool:
            """Whether a request is plain, so that nothing but its body is to come."""
            parser, lengths = self.parser, 0
            if (
                self.url.partition(b"?")[0] != direct.direct_path
                or parser.get_method() != b"POST"
                or parser.get_http_version() != "1.1"
                or self.expect_100_continue
                or parser.should_upgrade()
                or not (self.cycle is None or self.cycle.response_complete)
            ):
                return False
            for name, value in self.headers:
                if name == b"content-length" and value.isdigit():
                    lengths += int(value) <= _SHORT_BYTES
                elif name == b"transfer-encoding":
                    return False
            return lengths == 1

        def on_message_complete(self) -> None:
            self._await(None)
            super().on_message_complete()

        def _await(self, what: str | None) -> None:
            """What was awaited is there; this comes next."""
            self._awaited = what
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _expect(self) -> None:
            assert self._awaited is not None
            self._timer = self.loop.call_later(bounds.seconds[self._awaited], self._too_slow)

        def _too_slow(self) -> None:
            self._timer = None
            if self.transport.is_closing():
                return
            assert self._awaited is not None
            bounds.slow[self._awaited] += 1
            # Of a slow body, the last cycle is its own; an answer may be under way before it.
            answering = self.cycle is not None and not self.cycle.response_complete
            if self._awaited == _BODY:
                answering = self.cycle.response_started or bool(self.pipeline)
            if not answering:
                self.transport.write(_TOO_SLOW.format(self._awaited).encode())
            self.transport.close()

    return Bounded


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: an address of this machine, or a name of one.
        port: 0 for a free one.

    Raises:
        UserError: there is no such host here, the port is out of range, taken, or not for us.
    """
    if not 0 <= port <= 65_535:
        raise UserError(f"--port is {port}; give one from 1 to 65535, or 0 for a free one")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise UserError(f"--host {host!r} is no address of this machine: {error}") from error
    family, kind, protocol, _, address = found[0]
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise UserError(
            f"cannot listen on {host}, port {port}: {error.strerror}; give another --host or --port"
        ) from error
    listening.set_inheritable(True)
    return listening

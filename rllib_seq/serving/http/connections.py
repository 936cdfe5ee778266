"""Connections of a server in one process, and what each of them may take.

- `Connections`: how many there may be, in all and of an address, and how long heads may take.
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

__all__ = ["Connections", "bound_socket", "bounded_protocol"]

_TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\n"
    b'connection: close\r\ncontent-length: 41\r\n\r\n{"detail": "the head took too much time"}'
)
_BACKLOG = 2048


class Connections:
    """What connections may take.

    Args:
        most: open at a time.
        most_per_address: of them, from one address.
        head_seconds: from the connection, or from the first byte of a further request, until its
            head is complete.

    Attributes:
        refused: connections that were closed at once, because there were too many.
        slow: connections that were closed because a head took too long.
    """

    def __init__(self, most: int, most_per_address: int, head_seconds: float) -> None:
        self.most, self.most_per_address, self.head_seconds = most, most_per_address, head_seconds
        self.refused = self.slow = 0
        self._by_address: Counter[str] = Counter()
        self._total = 0

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


def bounded_protocol(bounds: Connections) -> type[asyncio.Protocol]:
    """A protocol for `uvicorn.Config(http=...)`."""

    class Bounded(HttpToolsProtocol):
        """uvicorn's, which waits for a head forever, and gives all connections to one client."""

        _in_head = True
        _entered: str | None = None
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            address = self.client[0] if self.client else ""
            if not bounds.enter(address):
                transport.abort()
                return
            self._entered = address
            self._expect_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._head_is_there()
            if self._entered is not None:
                bounds.leave(self._entered)
                self._entered = None
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._in_head and self._timer is None and not self.transport.is_closing():
                self._expect_head()

        def on_message_begin(self) -> None:
            self._in_head = True
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._in_head = False
            self._head_is_there()
            super().on_headers_complete()

        def _expect_head(self) -> None:
            self._timer = self.loop.call_later(bounds.head_seconds, self._too_slow)

        def _head_is_there(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _too_slow(self) -> None:
            self._timer = None
            if not self.transport.is_closing():
                bounds.slow += 1
                if self.cycle is None or self.cycle.response_complete:
                    self.transport.write(_TOO_SLOW)
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

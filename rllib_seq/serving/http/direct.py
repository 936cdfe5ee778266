"""The short way from a connection to the one path that must be fast.

- `Direct`: an application that answers a path without a task of its own.
- `Exchange`: one request and its answer, for uvicorn's protocol.

What ASGI does around a request (a task, coroutines, events, messages) costs about as much as the
server itself does for it. A request that comes as nearly all do, whole and with its length, needs
none of that; every other request goes the usual way, and is answered alike.
"""

from __future__ import annotations

import http
import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

from rllib_seq.serving.quiet_log import OncePerSecond

__all__ = ["Direct", "Exchange", "Respond"]

_LOG = logging.getLogger(__name__)
_LOG.addFilter(OncePerSecond())

Headers = Sequence[tuple[bytes, bytes]]
Respond = Callable[[int, Headers, bytes], None]
"""Takes status, headers but the length, and body; once."""


class Direct(Protocol):
    """Answers `POST` requests of one path."""

    direct_path: bytes

    def begin(self, scope: Any, content: bytes, respond: Respond) -> None:
        """Answers a request, now or later.

        Args:
            scope: of ASGI.
            content: the body as it came.
            respond: takes the answer.
        """


class Exchange:
    """A request and its answer; to uvicorn's protocol what its own `RequestResponseCycle` is.

    The protocol fills `body`, and calls `message_event.set()` for every piece, at the end of the
    request, and when the client has left.

    Args:
        direct: that answers.
        protocol: of the connection.
        keep_alive: whether the connection stays.
    """

    def __init__(self, direct: Direct, protocol: Any, keep_alive: bool) -> None:
        self._direct, self._protocol, self.keep_alive = direct, protocol, keep_alive
        self._scope = protocol.scope
        self.body, self.more_body = bytearray(), True
        self.disconnected = self.response_started = self.response_complete = False
        self.message_event = self
        self._begun = False

    def set(self) -> None:
        """Something has come."""
        if not (self.more_body or self._begun):
            self._begun = True
            try:
                self._direct.begin(self._scope, bytes(self.body), self._respond)
            except Exception:
                # The connections of others must not suffer from what no one has thought of.
                _LOG.exception("a request failed")
                self._respond(500, (), b"Internal Server Error")

    def _respond(self, status: int, headers: Headers, content: bytes) -> None:
        if self.disconnected or self.response_complete:
            return
        parts = [_status_line(status)]
        for name, value in (*self._protocol.server_state.default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
        if status != 204:
            parts.append(b"content-length: %d\r\n" % len(content))
        if not self.keep_alive:
            parts.append(b"connection: close\r\n")
        parts += (b"\r\n", content)
        self._protocol.transport.write(b"".join(parts))
        self.response_started = self.response_complete = True
        if not self.keep_alive:
            self._protocol.transport.close()
        self._protocol.on_response_complete()


@lru_cache(maxsize=64)
def _status_line(status: int) -> bytes:
    return f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\n".encode()

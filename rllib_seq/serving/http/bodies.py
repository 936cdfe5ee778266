"""Bodies of requests, bounded in size; how long one may take is up to `connections`.

- `read_body`: one body; `unpacked`: what is in it
- `Refused`, `Gone`: why there is none
"""

from __future__ import annotations

import zlib

from starlette.types import Receive, Scope

from rllib_seq.serving.settings import Settings

__all__ = ["Gone", "Refused", "read_body", "unpacked"]

_TOO_LARGE = "the body has more than {} bytes"


class Refused(Exception):
    """A request that gets no answer but a status and what is wrong."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class Gone(Exception):
    """The client has left."""


async def read_body(scope: Scope, receive: Receive, settings: Settings) -> bytes:
    """The body of a request, as it came.

    Raises:
        Refused: it is too large.
        Gone: the client left.
    """
    most = settings.max_body_bytes
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > most:
            raise Refused(413, _TOO_LARGE.format(most))
    message = await receive()
    content = message.get("body", b"")
    while message.get("more_body", False) and len(content) <= most:
        message = await receive()
        content += message.get("body", b"")
    if message["type"] == "http.disconnect":
        raise Gone
    return bytes(content)


def unpacked(scope: Scope, content: bytes, settings: Settings) -> bytes:
    """The body of a request, unpacked if need be.

    Raises:
        Refused: it is too large, or packed by something else than gzip.
    """
    most = settings.max_body_bytes
    for name, value in scope["headers"]:
        if name == b"content-encoding":
            encoding = value.strip().lower()
            if encoding in (b"gzip", b"x-gzip"):
                content = _unpacked(content, most)
            elif encoding not in (b"", b"identity"):
                raise Refused(415, "send the body with content-encoding gzip, or without")
    if len(content) > most:
        raise Refused(413, _TOO_LARGE.format(most))
    return content


def _unpacked(content: bytes, most: int) -> bytes:
    """At most one byte more than is allowed, however much there is in it."""
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        unpacked = unpacker.decompress(content, most + 1)
    except zlib.error:
        raise Refused(400, "the body is not gzip, as its content-encoding says") from None
    if len(unpacked) <= most and not unpacker.eof:
        raise Refused(400, "the body ends in the middle of its gzip")
    return unpacked

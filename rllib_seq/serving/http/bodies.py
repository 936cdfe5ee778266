"""Bodies of requests, bounded in size and time.

- `read_body`: one body, unpacked
- `Refused`, `Gone`: why there is none
"""

from __future__ import annotations

import asyncio
import zlib

from starlette.types import Receive, Scope

from rllib_seq.serving.settings import Settings

__all__ = ["Gone", "Refused", "read_body"]


class Refused(Exception):
    """A request that gets no answer but a status and what is wrong."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class Gone(Exception):
    """The client has left."""


async def read_body(scope: Scope, receive: Receive, settings: Settings) -> bytes:
    """The body of a request, unpacked.

    Raises:
        Refused: it is too large, too slow, or packed by something else than gzip.
        Gone: the client left.
    """
    most = settings.max_body_bytes
    packed = False
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > most:
            raise Refused(413, f"the body has more than {most} bytes")
        if name == b"content-encoding":
            encoding = value.strip().lower()
            packed = encoding in (b"gzip", b"x-gzip")
            if not packed and encoding not in (b"", b"identity"):
                raise Refused(415, "send the body with content-encoding gzip, or without")
    seconds = settings.body_seconds
    try:
        async with asyncio.timeout(seconds):
            message = await receive()
            content = message.get("body", b"")
            while message.get("more_body", False) and len(content) <= most:
                message = await receive()
                content += message.get("body", b"")
    except TimeoutError:
        raise Refused(408, f"the body took more than {seconds:g} seconds") from None
    if message["type"] == "http.disconnect":
        raise Gone
    if packed:
        content = _unpacked(content, most)
    if len(content) > most:
        raise Refused(413, f"the body has more than {most} bytes")
    return bytes(content)


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

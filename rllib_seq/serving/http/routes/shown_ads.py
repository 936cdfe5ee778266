"""What a shown ad calls: the impression pixel and the click.

- `served_routes`: adds both.

Neither needs a token, for browsers call them; ids and click tokens are sealed, and a click leads
nowhere but to the landing page that was sealed into its token.
"""

from __future__ import annotations

import logging
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi import Path as InPath
from fastapi.responses import JSONResponse, RedirectResponse, Response

from rllib_seq.serving.quiet_log import OncePerSecond
from rllib_seq.serving.service import BidService

__all__ = ["served_routes"]

_LOG = logging.getLogger(__name__)
_LOG.addFilter(OncePerSecond())
_GIF = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c000000000100010000020144003b"
)
_FRESH = {"cache-control": "no-store", "referrer-policy": "no-referrer"}


def served_routes(app: FastAPI) -> None:
    """Adds `/pixel/{bid}` and `/click/{token}`."""

    @app.get("/pixel/{bid}", response_class=Response)
    async def pixel(bid: Annotated[str, InPath(max_length=200)]) -> Response:
        """One transparent point; counts that the ad was shown."""
        await _book(app, "view", bid)
        return Response(_GIF, media_type="image/gif", headers=_FRESH)

    @app.get("/click/{token}", response_class=Response)
    async def click(token: Annotated[str, InPath(max_length=8192)]) -> Response:
        """Counts a click and leads to the landing page of the ad."""
        service: BidService = app.state.service
        found = service.sealer.read_click(token)
        if found is None or urlsplit(found[1]).scheme not in ("http", "https"):
            return JSONResponse({"detail": "no such click"}, 404)
        await _book(app, "click", found[0])
        return RedirectResponse(found[1], 302, headers=_FRESH)


async def _book(app: FastAPI, kind: str, bid: str) -> None:
    """Books a notice; people who wait for a page or an image get it all the same."""
    service: BidService = app.state.service
    try:
        await app.state.batcher.call(service.notice, kind, bid)
    except service.state_errors as error:
        service.counts[f"{kind}:failed"] += 1
        _LOG.error("a %s could not be booked: %r", kind, error)

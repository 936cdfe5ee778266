"""`/notice/{kind}`: what exchanges and sites tell.

- `add_notice_routes`: to the application.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated, Literal

from fastapi import FastAPI, Query, Request
from pydantic import BaseModel

from rllib_seq.serving.http.access import authorised, foreign
from rllib_seq.serving.http.problems import PROBLEMS, refusal
from rllib_seq.serving.http.routes.users import IdKind, Where, unknowable
from rllib_seq.serving.quiet_log import OncePerSecond
from rllib_seq.serving.service import BidService

__all__ = ["add_notice_routes"]

_LOG = logging.getLogger(__name__)
_LOG.addFilter(OncePerSecond())
_SECONDS = 5.0
_NEEDS_BID = ("win", "billing", "loss", "click")

Kind = Literal["win", "billing", "loss", "click", "visit", "conversion"]


class Noticed(BaseModel):
    """What became of a notice."""

    status: Literal["counted", "known", "unknown", "ignored"]


def add_notice_routes(app: FastAPI) -> None:
    """Adds them."""

    async def notice(
        request: Request,
        kind: Kind,
        bid: Annotated[str | None, Query(max_length=200, description="Id of the bid.")] = None,
        price: str | None = None,
        value: str | None = None,
        user: Annotated[str | None, Query(min_length=1, max_length=4096)] = None,
        id_kind: IdKind = "buyeruid",
        where: Where = "",
        event: Annotated[str, Query(max_length=128)] = "",
        reason: str = "",
    ) -> Noticed:
        """Books a win, billing, loss, click, visit or conversion; the second time changes nothing.

        Wins and billings need `bid` and should have `price` (`${AUCTION_PRICE}` filled in): without
        a price that can be read, the bid is what is spent. Losses and clicks need `bid`. Visits and
        conversions need `bid`, or else `user`, an `event` (an order number, say) and the token;
        `value` is what a conversion is worth. `id_kind` says which id of the user it is, `where`
        the source of an eid or the exchange of a `user.id`.
        """
        service: BidService = app.state.service
        if kind in _NEEDS_BID and bid is None:
            return refusal(400, f"a {kind} notice needs the bid's id; give bid=")  # type: ignore[return-value]
        if bid is None and (user is None or not event):
            return refusal(400, f"a {kind} notice needs bid=, or user= and event=")  # type: ignore[return-value]
        settings = service.settings
        if bid is None and not authorised(request.scope, settings.token):
            return refusal(401, "a notice about a user needs the token")  # type: ignore[return-value]
        if bid is None and settings.token is None:
            why = foreign(request.scope, settings.public_url, told_by_pages=False)
            if why is not None:
                return refusal(403, why)  # type: ignore[return-value]
        failures: tuple[type[Exception], ...] = (TimeoutError, *service.state_errors)
        key = None
        if bid is None and user is not None:
            why = unknowable(user, id_kind, where)
            if why is not None:
                return refusal(400, why)  # type: ignore[return-value]
            key = service.identities.key(id_kind, user, where)
        try:
            async with asyncio.timeout(_SECONDS):
                status = await app.state.batcher.call(
                    service.notice, kind, bid, key, price, value, event
                )
        # Nothing is booked, or it is and the answer is late: the exchange may tell it again.
        except failures as error:
            _LOG.error("a %s notice could not be booked: %r", kind, error)
            return refusal(503, "the state cannot be written; try again")  # type: ignore[return-value]
        return Noticed(status=status)

    for method in ("GET", "POST"):  # HEAD is answered as GET, see `app`
        app.add_api_route(
            "/notice/{kind}",
            notice,
            methods=[method],
            responses=PROBLEMS,
            operation_id=f"notice_{method.lower()}",
        )

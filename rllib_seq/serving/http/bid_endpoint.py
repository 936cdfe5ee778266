"""`POST /openrtb2/bid`, the path that must be fast.

- `BidEndpoint`: from the bytes of a request to those of its answer, as plain ASGI, because what
  FastAPI does around a route costs as much as a bid.
- `problem`, `first_problem`: what is wrong with a request, for people.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from rllib_seq.serving.http.batching import Batcher
from rllib_seq.serving.http.metrics import Metrics
from rllib_seq.serving.http.queries import queries_of
from rllib_seq.serving.openrtb.request import BidRequest
from rllib_seq.serving.openrtb.response import NO_BID, Bid, BidResponse, SeatBid
from rllib_seq.serving.service import BidDecision, BidService

__all__ = ["BID_PATH", "BidEndpoint", "first_problem", "problem"]

BID_PATH = "/openrtb2/bid"
_JSON = (b"content-type", b"application/json")


class _Refused(Exception):
    """The request is not answered with a bid, nor with none."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class _Gone(Exception):
    """The client has."""


class BidEndpoint:
    """An ASGI application of one path.

    Args:
        service: that bids.
        batcher: in front of it.
        metrics: that are told how long it took.
    """

    def __init__(self, service: BidService, batcher: Batcher, metrics: Metrics) -> None:
        self._service, self._settings = service, service.settings
        self._public_url = service.settings.public_url.rstrip("/")
        self._decide, self._observe = batcher.answer, metrics.latency.observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        started = time.monotonic()
        try:
            status, content = await self._answer(scope, receive, started)
        except _Refused as refused:
            status, content = problem(refused.status, refused.detail)
        except _Gone:
            return
        headers = [(b"content-length", b"%d" % len(content))] if status != 204 else []
        await send({"type": "http.response.start", "status": status, "headers": [*headers, _JSON]})
        await send({"type": "http.response.body", "body": content})

    async def _answer(self, scope: Scope, receive: Receive, started: float) -> tuple[int, bytes]:
        service, settings = self._service, self._settings
        content = await self._body(scope, receive)
        try:
            request = BidRequest.model_validate_json(content)
        except ValidationError as error:
            errors = error.errors(include_url=False, include_context=False, include_input=False)
            raise _Refused(400, first_problem(errors)) from None
        queries, why = queries_of(request, service)
        if not queries:
            service.counts[why] += 1
            return _no_bid(request.id, why)
        tmax = min(request.tmax or settings.tmax_ms, settings.tmax_ms)
        deadline = started + (tmax - settings.margin_ms) / 1000.0
        if len(queries) == 1:
            answers = [await self._decide(queries[0][1], deadline)]
        else:  # in order: they are requests of one user
            answers = await asyncio.gather(*(self._decide(query, deadline) for _, query in queries))
        self._observe(time.monotonic() - started)
        bids = [
            self._bid(impression, answer, scope)
            for (impression, _), answer in zip(queries, answers, strict=True)
            if answer.bid is not None
        ]
        if not bids:
            return _no_bid(request.id, answers[-1].why)
        response = BidResponse(
            id=request.id,
            seatbid=[SeatBid(bid=bids)],
            bidid=bids[0].id,
            cur=settings.currency,
        )
        return 200, response.model_dump_json(exclude_none=True).encode()

    def _bid(self, impression: str, answer: BidDecision, scope: Scope) -> Bid:
        assert answer.bid is not None
        name = self._service.sign(answer.bid)
        notice = f"{self._public_url or _base(scope)}/notice/"
        return Bid(
            id=name,
            impid=impression,
            price=answer.bid.amount * 1000.0,
            nurl=f"{notice}win?bid={name}&price=${{AUCTION_PRICE}}",
            burl=f"{notice}billing?bid={name}&price=${{AUCTION_PRICE}}",
            lurl=f"{notice}loss?bid={name}&reason=${{AUCTION_LOSS}}",
            crid=self._service.creatives[answer.bid.creative],
            exp=int(self._settings.hold_seconds),
            ext={
                "click": f"{notice}click?bid={name}",
                "conversion": f"{notice}conversion?bid={name}",
            },
        )

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        most = self._settings.max_body_bytes
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > most:
                raise _Refused(413, f"the body has more than {most} bytes")
            if name == b"content-encoding" and value != b"identity":
                raise _Refused(415, "send the body without content-encoding")
        seconds = self._settings.body_seconds
        try:
            async with asyncio.timeout(seconds):
                message = await receive()
                content = message.get("body", b"")
                while message.get("more_body", False) and len(content) <= most:
                    message = await receive()
                    content += message.get("body", b"")
        except TimeoutError:
            raise _Refused(408, f"the body took more than {seconds:g} seconds") from None
        if message["type"] == "http.disconnect":
            raise _Gone
        if len(content) > most:
            raise _Refused(413, f"the body has more than {most} bytes")
        return bytes(content)


def _no_bid(request_id: str, why: str) -> tuple[int, bytes]:
    if why not in NO_BID:
        return 204, b""
    return 200, json.dumps({"id": request_id, "nbr": NO_BID[why]}).encode()


def _base(scope: Scope) -> str:
    """Where the request was sent to."""
    host = next((value for name, value in scope["headers"] if name == b"host"), None)
    if host is None:
        host = "{}:{}".format(*(scope["server"] or ("localhost", 80))).encode()
    return f"{scope['scheme']}://{host.decode('latin-1')}{scope.get('root_path', '')}"


def problem(status: int, detail: str) -> tuple[int, bytes]:
    """A refusal and its body."""
    return status, json.dumps({"detail": detail}).encode()


def first_problem(errors: Sequence[Any]) -> str:
    """Where the first error is and what it is; not the value, which may be personal."""
    where = ".".join(str(part) for part in errors[0]["loc"])
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{where}: {errors[0]['msg']}{more}" if where else f"{errors[0]['msg']}{more}"

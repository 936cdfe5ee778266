"""`POST /openrtb2/bid`, the path that must be fast.

- `BidEndpoint`: from the bytes of a request to those of its answer, as plain ASGI, because what
  FastAPI does around a route costs as much as a bid.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from urllib.parse import parse_qs

from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from rllib_seq.serving.http.bids.batching import Batcher
from rllib_seq.serving.http.bids.markup import BidWriter
from rllib_seq.serving.http.bids.queries import queries_of
from rllib_seq.serving.http.bodies import Gone, Refused, read_body
from rllib_seq.serving.http.metrics import Metrics
from rllib_seq.serving.http.problems import first_problem, problem
from rllib_seq.serving.openrtb.request import BidRequest
from rllib_seq.serving.openrtb.response import NO_BID
from rllib_seq.serving.service import BidService

__all__ = ["BidEndpoint"]

_HEADERS = [(b"content-type", b"application/json"), (b"x-openrtb-version", b"2.6")]
_WORTH_PACKING = 512
_SHORT_BYTES = 16_384


class BidEndpoint:
    """An ASGI application of one path.

    Args:
        service: that bids.
        batcher: in front of it.
        metrics: that are given how long it took.
    """

    def __init__(self, service: BidService, batcher: Batcher, metrics: Metrics) -> None:
        self._service, self._settings = service, service.settings
        self._writer = BidWriter(service)
        self._decide, self._observe = batcher.answer, metrics.latency.observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        started = time.monotonic()
        try:
            status, content = await self._answer(scope, receive, started)
        except Refused as refused:
            status, content = problem(refused.status, refused.detail)
        except Gone:
            return
        headers = _HEADERS
        if len(content) >= _WORTH_PACKING and _takes_gzip(scope):
            content = gzip.compress(content, 1)
            headers = [*headers, (b"content-encoding", b"gzip")]
        if status != 204:
            headers = [*headers, (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _answer(self, scope: Scope, receive: Receive, started: float) -> tuple[int, bytes]:
        service, settings = self._service, self._settings
        content = await read_body(scope, receive, settings)
        try:
            request = BidRequest.model_validate_json(content)
        except ValidationError as error:
            errors = error.errors(include_url=False, include_context=False, include_input=False)
            raise Refused(400, first_problem(errors)) from None
        if len(request.imp) > settings.max_imps:
            raise Refused(400, f"imp: more than {settings.max_imps} impressions")
        short = len(content) <= _SHORT_BYTES
        queries, why = queries_of(request, service, _exchange(scope), short)
        if not queries:
            return _no_bid(request.id, why)
        tmax = min(request.tmax or settings.tmax_ms, settings.tmax_ms)
        deadline = started + (tmax - settings.margin_ms) / 1000.0
        if len(queries) == 1:
            answers = [await self._decide(queries[0][1], deadline)]
        else:  # in order: they may be requests of one user
            answers = await asyncio.gather(*(self._decide(query, deadline) for _, query in queries))
        self._observe(time.monotonic() - started)
        made = [
            (imp, answer)
            for (imp, _), answer in zip(queries, answers, strict=True)
            if answer.bid is not None
        ]
        if not made:
            return _no_bid(request.id, answers[-1].why)
        return 200, self._writer.response(request.id, made, scope)


def _takes_gzip(scope: Scope) -> bool:
    for name, value in scope["headers"]:
        if name == b"accept-encoding":
            for each in value.lower().split(b","):
                coding, _, quality = each.partition(b";")
                if coding.strip() in (b"gzip", b"*"):
                    return quality.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00")
    return False


def _exchange(scope: Scope) -> str:
    """The name in `?exchange=`."""
    if not scope["query_string"]:
        return ""
    return parse_qs(scope["query_string"].decode("latin-1")).get("exchange", [""])[0]


def _no_bid(request_id: str, why: str) -> tuple[int, bytes]:
    if why not in NO_BID:
        return 204, b""
    return 200, json.dumps({"id": request_id, "nbr": NO_BID[why]}).encode()

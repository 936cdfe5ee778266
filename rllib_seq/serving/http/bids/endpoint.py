"""`POST /openrtb2/bid`, the path that must be fast.

- `BidEndpoint`: from the bytes of a request to those of its answer, without FastAPI, because what
  it does around a route costs as much as a bid. For `direct`, and for ASGI.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import time
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from rllib_seq.serving.decisions import BidDecision
from rllib_seq.serving.http.bids.batching import LATE, Batcher
from rllib_seq.serving.http.bids.markup import BidWriter
from rllib_seq.serving.http.bids.queries import queries_of
from rllib_seq.serving.http.bodies import Gone, Refused, read_body, unpacked
from rllib_seq.serving.http.direct import Respond
from rllib_seq.serving.http.metrics import Metrics
from rllib_seq.serving.http.problems import first_problem, problem
from rllib_seq.serving.openrtb.request import BidRequest
from rllib_seq.serving.openrtb.response import NO_BID
from rllib_seq.serving.quiet_log import OncePerSecond
from rllib_seq.serving.service import BidService

__all__ = ["BidEndpoint"]

_LOG = logging.getLogger(__name__)
_LOG.addFilter(OncePerSecond())
_HEADERS = [(b"content-type", b"application/json"), (b"x-openrtb-version", b"2.6")]
_WORTH_PACKING = 512
_SHORT_BYTES = 16_384


class BidEndpoint:
    """The application of one path.

    Args:
        service: that bids.
        batcher: in front of it.
        metrics: that are given how long it took.
    """

    def __init__(self, service: BidService, batcher: Batcher, metrics: Metrics) -> None:
        self._service, self._settings = service, service.settings
        self._writer = BidWriter(service)
        self._submit, self._observe = batcher.submit, metrics.observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request of ASGI."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def respond(*what: Any) -> None:
            if not answer.done():
                answer.set_result(what)

        try:
            self.begin(scope, await read_body(scope, receive, self._settings), respond)
        except Refused as refused:
            self._send(scope, respond, *problem(refused.status, refused.detail))
        except Gone:
            return
        status, headers, content = await answer
        if status != 204:
            headers = [*headers, (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def begin(self, scope: Scope, content: bytes, respond: Respond) -> None:
        """Answers a request when the batches of its impressions are done.

        Args:
            scope: of ASGI.
            content: the body as it came.
            respond: takes the answer.
        """
        started = time.monotonic()
        service, settings = self._service, self._settings
        try:
            content = unpacked(scope, content, settings)
            request = _read(content, settings.max_imps)
        except Refused as refused:
            self._send(scope, respond, *problem(refused.status, refused.detail))
            return
        short = len(content) <= _SHORT_BYTES
        queries, why = queries_of(request, service, _exchange(scope), short)
        if not queries:
            self._send(scope, respond, *_no_bid(request.id, why))
            return
        tmax = min(request.tmax or settings.tmax_ms, settings.tmax_ms)
        deadline = started + (tmax - settings.margin_ms) / 1000.0
        answers: list[BidDecision] = [LATE] * len(queries)
        left = len(queries)

        def tell(place: int, answer: BidDecision) -> None:
            nonlocal left
            answers[place] = answer
            left -= 1
            if left:
                return
            self._observe(time.monotonic() - started)
            made = [
                (imp, answer)
                for (imp, _), answer in zip(queries, answers, strict=True)
                if answer.bid is not None
            ]
            try:
                if made:
                    said = 200, self._writer.response(request.id, made, scope)
                else:
                    said = _no_bid(request.id, answers[-1].why)
            except Exception:
                # Others of the batch must have their answers whatever becomes of this one.
                _LOG.exception("an answer could not be written")
                said = problem(500, "the answer could not be written; see the log of the server")
            self._send(scope, respond, *said)

        # In order: they may be requests of one user.
        for place, (_, query) in enumerate(queries):
            self._submit(query, deadline, partial(tell, place))

    def _send(self, scope: Scope, respond: Respond, status: int, content: bytes) -> None:
        headers = _HEADERS
        if len(content) >= _WORTH_PACKING and _takes_gzip(scope):
            content = gzip.compress(content, 1)
            headers = [*headers, (b"content-encoding", b"gzip")]
        respond(status, headers, content)


def _read(content: bytes, most_imps: int) -> BidRequest:
    try:
        request = BidRequest.model_validate_json(content)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        raise Refused(400, first_problem(errors)) from None
    if len(request.imp) > most_imps:
        raise Refused(400, f"imp: more than {most_imps} impressions")
    return request


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

"""The HTTP application, the same for every engine.

- `create_app`: a FastAPI app around a bid service.
- `open_service`: the service of some settings.
- `check_exposure`: who may be served without a token.

`POST /openrtb2/bid`, `GET /notice/{kind}`, `/healthz`, `/metrics`, `/live`, `/` and `/docs`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, quote

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from rllib_seq.errors import UserError
from rllib_seq.serving.batching import Batcher
from rllib_seq.serving.live_page import PAGE
from rllib_seq.serving.metrics import Metrics
from rllib_seq.serving.openrtb import NO_BID, Bid, BidRequest, BidResponse, SeatBid, asks_of
from rllib_seq.serving.policy import load_policy
from rllib_seq.serving.service import Answer, BidService, user_key
from rllib_seq.serving.settings import Settings
from rllib_seq.serving.spec import SPEC
from rllib_seq.serving.storage import open_storage

__all__ = ["check_exposure", "create_app", "open_service"]

_LOG = logging.getLogger(__name__)
_OPEN = ("/healthz", "/notice/")
_WATCH_SECONDS = 1.0
_MOST = 1e9
_REF = "#/components/schemas/{model}"
_NOTICE_NEEDS_BID = ("win", "billing", "loss", "click")

Kind = Literal["win", "billing", "loss", "click", "visit", "conversion"]
Amount = Annotated[float | None, Query(ge=0, le=_MOST, allow_inf_nan=False)]


class Problem(BaseModel):
    """What is wrong with a request."""

    detail: str


class Noticed(BaseModel):
    """What became of a notice."""

    status: Literal["counted", "known", "unknown", "ignored"]


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "description": text}
    for code, text in {
        400: "Not a valid request; `detail` says where.",
        401: "The token is missing or wrong.",
        408: "The body took too long.",
        413: "The body is too large.",
        415: "The body is compressed.",
        503: "The state cannot be written; try again.",
    }.items()
}


def open_service(settings: Settings) -> BidService:
    """Loads the policy and opens the state.

    Raises:
        UserError: something that the operator can mend.
    """
    policy = load_policy(Path(settings.export))
    spec = policy.spec
    kept = f"{spec.stream} {spec.window_length} {settings.cap} {spec.facts['observation']}"
    fingerprint = hashlib.sha256(kept.encode()).hexdigest()
    storage = open_storage(settings.state, fingerprint, settings.session_hours * 3600.0)
    try:
        return BidService(policy, settings, storage)
    except UserError:
        storage.close()
        raise


def check_exposure(host: str, settings: Settings) -> None:
    """Refuses to be reached from elsewhere without a token.

    Raises:
        UserError: the host is not this machine alone, and there is no token.
    """
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback and settings.token is None:
        raise UserError(
            f"--host {host} can be reached from other machines; set a token of at least 16 "
            "characters in RLLIB_SEQ_TOKEN, or serve on 127.0.0.1"
        )


def create_app(make_service: Callable[[], BidService]) -> FastAPI:
    """Builds the app.

    Args:
        make_service: is called where and when the app starts.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = make_service()
        app.state.service = service
        app.state.batcher = Batcher(service)
        app.state.metrics = Metrics(service)
        watching = asyncio.create_task(_watch(service, app.state.metrics))
        yield
        watching.cancel()
        service.close()

    app = FastAPI(title="rllib-seq bid server", version="OpenRTB 2.6", lifespan=lifespan)
    app.add_middleware(_Guard, state=app.state)
    app.add_exception_handler(RequestValidationError, _invalid)
    _bid_routes(app)
    _notice_routes(app)
    _figure_routes(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _bid_routes(app: FastAPI) -> None:
    body = {"content": {"application/json": {"schema": {"$ref": _REF.format(model="BidRequest")}}}}

    @app.post(
        "/openrtb2/bid",
        response_model=BidResponse,
        responses={**_PROBLEMS, 204: {"description": "No bid."}},
        openapi_extra={"requestBody": {**body, "required": True}},
    )
    async def bid(request: Request) -> Response:
        """Bids on the impressions of an OpenRTB 2.6 request, or says why not (`nbr`)."""
        started = time.monotonic()
        service: BidService = app.state.service
        content = await _body(request, service.settings)
        if isinstance(content, Response):
            return content
        try:
            asked = BidRequest.model_validate_json(content)
        except ValidationError as error:
            return _problem(400, _first(error.errors(include_url=False, include_input=False)))
        asks, why = asks_of(asked, service)
        if not asks:
            service.counts[why] += 1
            return _no_bid(asked.id, why)
        tmax = min(asked.tmax or service.settings.tmax_ms, service.settings.tmax_ms)
        deadline = started + (tmax - service.settings.margin_ms) / 1000.0
        ask = app.state.batcher.ask
        if len(asks) == 1:
            answers = [await ask(asks[0][1], deadline)]
        else:  # in order: they are requests of one user
            answers = await asyncio.gather(*(ask(each, deadline) for _, each in asks))
        app.state.metrics.latency.observe(time.monotonic() - started)
        impressions = [impression for impression, _ in asks]
        return _offer(asked.id, impressions, list(answers), service, str(request.base_url))


def _offer(
    request_id: str, impressions: list[str], answers: list[Answer], service: BidService, base: str
) -> Response:
    settings, bids = service.settings, []
    for impression, answer in zip(impressions, answers, strict=True):
        if answer.bid is None:
            continue
        name = service.sign(answer.bid)
        notice = f"{(settings.public_url or base).rstrip('/')}/notice/"
        about = f"?bid={quote(name)}"
        price = "&price=${AUCTION_PRICE}"
        bids.append(
            Bid(
                id=name,
                impid=impression,
                price=answer.bid.amount * 1000.0,
                nurl=f"{notice}win{about}{price}",
                burl=f"{notice}billing{about}{price}",
                lurl=f"{notice}loss{about}&reason=${{AUCTION_LOSS}}",
                crid=service.creatives[answer.bid.creative],
                exp=int(settings.hold_seconds),
                ext={"click": f"{notice}click{about}", "conversion": f"{notice}conversion{about}"},
            )
        )
    if not bids:
        return _no_bid(request_id, answers[-1].why)
    response = BidResponse(
        id=request_id, seatbid=[SeatBid(bid=bids)], bidid=bids[0].id, cur=settings.currency
    )
    return Response(response.model_dump_json(exclude_none=True), media_type="application/json")


def _no_bid(request_id: str, why: str) -> Response:
    if why not in NO_BID:
        return Response(status_code=204)
    response = BidResponse(id=request_id, nbr=NO_BID[why])
    return Response(response.model_dump_json(exclude_none=True), media_type="application/json")


async def _body(request: Request, settings: Settings) -> bytes | Response:
    """The body, or why there is none."""
    if request.headers.get("content-encoding", "identity") != "identity":
        return _problem(415, "send the body without content-encoding")
    too_large = f"the body has more than {settings.max_body_bytes} bytes"
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > settings.max_body_bytes:
        return _problem(413, too_large)
    content = bytearray()
    try:
        async with asyncio.timeout(settings.body_seconds):
            async for chunk in request.stream():
                content += chunk
                if len(content) > settings.max_body_bytes:
                    return _problem(413, too_large)
    except TimeoutError:
        return _problem(408, f"the body took more than {settings.body_seconds:g} seconds")
    except ClientDisconnect:
        return Response(status_code=400)
    return bytes(content)


def _notice_routes(app: FastAPI) -> None:
    @app.get("/notice/{kind}", responses=_PROBLEMS)
    async def notice(
        request: Request,
        kind: Kind,
        bid: Annotated[str | None, Query(max_length=200, description="Id of the bid.")] = None,
        price: Amount = None,
        value: Amount = None,
        user: Annotated[str | None, Query(min_length=1, max_length=256)] = None,
        event: Annotated[str, Query(max_length=128)] = "",
        reason: Annotated[str, Query(max_length=64)] = "",
    ) -> Noticed:
        """Books a win, billing, loss, click, visit or conversion; the second time changes nothing.

        Wins and billings need `bid` and `price` (per thousand, `${AUCTION_PRICE}` filled in),
        losses and clicks `bid`. Visits and conversions need `bid`, or else `user`, an `event` (an
        order number, say) and the token; `value` is what a conversion is worth.
        """
        service: BidService = app.state.service
        problem = None
        if kind in _NOTICE_NEEDS_BID and bid is None:
            problem = f"a {kind} notice needs the bid's id; give bid="
        elif kind in ("win", "billing") and price is None:
            problem = f"a {kind} notice needs price=; fill in ${{AUCTION_PRICE}}"
        elif bid is None and (user is None or not event):
            problem = f"a {kind} notice needs bid=, or user= and event="
        if problem is not None:
            return _problem(400, problem)  # type: ignore[return-value]
        if bid is None and not _authorised(request.scope, service.settings.token):
            return _problem(401, "a notice about a user needs the token")  # type: ignore[return-value]
        key = user_key(user, service.settings.user_secret) if user is not None else None
        try:
            status = service.notice(
                kind,
                bid,
                key if bid is None else None,
                None if price is None else price / 1000.0,
                value,
                event,
            )
        except Exception:  # whatever the storage raises: nothing is booked, the exchange may retry
            _LOG.exception("a %s notice could not be booked", kind)
            return _problem(503, "the state cannot be written; try again")  # type: ignore[return-value]
        return Noticed(status=status)  # type: ignore[arg-type]


def _figure_routes(app: FastAPI) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the server answers, and with which model."""
        return {"status": "ok", "model": app.state.service.policy.spec.model.sha256[:12]}

    @app.get("/metrics", responses={401: _PROBLEMS[401]}, response_class=Response)
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(app.state.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/live", responses={401: _PROBLEMS[401]})
    async def live() -> dict[str, Any]:
        """Figures for the page at `/`."""
        return dict(app.state.metrics.live())

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> str:
        return PAGE


async def _watch(service: BidService, metrics: Metrics) -> None:
    """Takes over a new export as soon as it is complete; a bad one changes nothing."""
    folder = Path(service.settings.export)

    def stamp() -> tuple[int, int] | None:
        try:
            stat = (folder / SPEC).stat()
            return stat.st_mtime_ns, stat.st_ino
        except OSError:
            return None

    seen = stamp()
    while True:
        await asyncio.sleep(_WATCH_SECONDS)
        now = stamp()
        if now is None or now == seen:
            continue
        seen = now
        try:
            # In a thread, so that requests are answered meanwhile; taken over between two batches.
            service.replace(await asyncio.to_thread(load_policy, folder))
            metrics.reloads["done"] += 1
            _LOG.warning("took over the new export in %s", folder)
        except UserError as error:
            metrics.reloads["refused"] += 1
            _LOG.error("the export before it goes on bidding: %s", error)


class _Guard:
    """Lets nobody in without the token, where there is one."""

    def __init__(self, app: ASGIApp, state: Any) -> None:
        self._app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith(_OPEN):
            token = self._state.service.settings.token
            if token is not None and not _authorised(scope, token):
                response = _problem(401, "give the token: Authorization: Bearer TOKEN")
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _authorised(scope: Scope, token: str | None) -> bool:
    """Whether a request shows the token, in its header or as `?token=`."""
    if token is None:
        return True
    shown = b""
    for name, value in scope["headers"]:
        if name == b"authorization":
            shown = value.removeprefix(b"Bearer ")
    if not shown:
        query = parse_qs(scope["query_string"].decode("latin-1"))
        shown = query.get("token", [""])[0].encode()
    return hmac.compare_digest(shown, token.encode())


def _problem(code: int, detail: str) -> Response:
    return JSONResponse({"detail": detail}, status_code=code)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _problem(400, _first(error.errors()))


def _first(errors: Any) -> str:
    """Where the first error is and what it is; not the value, which may be personal."""
    where = ".".join(str(part) for part in errors[0]["loc"])
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{where}: {errors[0]['msg']}{more}" if where else f"{errors[0]['msg']}{more}"


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        _, shared = models_json_schema([(BidRequest, "validation")], ref_template=_REF)
        schema["components"]["schemas"] |= shared["$defs"]
        for path in schema["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)  # they are 400 here
        app.openapi_schema = schema
    return app.openapi_schema

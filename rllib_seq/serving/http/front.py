"""What stands before every application, and what each has.

- `build_app`: FastAPI around a service
- `Front`: who may ask
- `figure_routes`: `/healthz`, `/metrics`, `/docs`
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from starlette.types import Message, Receive, Scope, Send

from rllib_seq.serving.http.access import authorised, foreign
from rllib_seq.serving.http.direct import Respond
from rllib_seq.serving.http.health import Health, Healthy
from rllib_seq.serving.http.pages.docs import docs_page
from rllib_seq.serving.http.problems import PROBLEMS, first_problem, problem, refusal
from rllib_seq.serving.http.reload import watch_export

__all__ = ["BID_PATH", "Front", "build_app", "figure_routes"]

BID_PATH = "/openrtb2/bid"
_JSON = ((b"content-type", b"application/json"),)
_OPEN = ("/healthz", "/notice/", "/click/", "/pixel/")
_TOLD_BY_PAGES = ("/notice/", "/click/", "/pixel/")


def build_app(
    title: str,
    version: str,
    make_service: Callable[[], Any],
    add_parts: Callable[[FastAPI, Any], None],
) -> FastAPI:
    """FastAPI around a service that lives as long as the application; routes are added by others.

    Args:
        title: of the documentation.
        version: the same.
        make_service: is called where and when the application starts.
        add_parts: sets `batcher` and `metrics` of the application's state, for that service.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = make_service()
        app.state.service = service
        add_parts(app, service)
        watching = asyncio.create_task(watch_export(service, app.state.metrics.reloads))
        app.state.health = Health(service, app.state.batcher, watching)
        yield
        watching.cancel()
        app.state.batcher.close()
        service.close()

    app = FastAPI(
        title=title,
        version=version,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own page needs a network, and cannot show the token
        redoc_url=None,
    )
    app.add_exception_handler(RequestValidationError, _invalid)
    return app


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return refusal(400, first_problem(error.errors()))


class Front:
    """A whole application: the token first, then bids, then what FastAPI serves.

    Args:
        app: of FastAPI; its state has a `bid` if there are bids.
        bids: whether there are.
    """

    direct_path = BID_PATH.encode()

    def __init__(self, app: FastAPI, bids: bool = False) -> None:
        self._app, self._bids = app, bids
        self.direct = self if bids else None
        """What answers bid requests the short way, see `direct.Direct`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or passes it on."""
        if scope["type"] == "http":
            refused = self._refused(scope)
            if refused is not None:
                await refusal(*refused)(scope, receive, send)
                return
            is_bid = self._bids and scope["path"] == BID_PATH
            if is_bid and scope["method"] == "POST":
                await self._app.state.bid(scope, receive, send)
                return
            if scope["method"] == "HEAD" and not is_bid:
                scope, send = {**scope, "method": "GET"}, _without_body(send)
        await self._app(scope, receive, send)

    def begin(self, scope: Scope, content: bytes, respond: Respond) -> None:
        """Answers a bid request, see `direct.Direct`."""
        refused = self._refused(scope)
        if refused is not None:
            status, body = problem(*refused)
            respond(status, _JSON, body)
        else:
            self._app.state.bid.begin(scope, content, respond)

    def _refused(self, scope: Scope) -> tuple[int, str] | None:
        """Who may not ask: the status of the answer and why."""
        path, settings = scope["path"], self._app.state.service.settings
        if settings.token is None:
            why = foreign(scope, settings.public_url, path.startswith(_TOLD_BY_PAGES))
            return None if why is None else (403, why)
        if path.startswith(_OPEN) or authorised(scope, settings.token):
            return None
        return 401, "give the token: Authorization: Bearer TOKEN"


def _without_body(send: Send) -> Send:
    """Headers alone, as HEAD wants them."""

    async def send_headers(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return send_headers


def figure_routes(app: FastAPI) -> None:
    """Adds them."""

    @app.get("/healthz", response_model=Healthy, responses={503: {"model": Healthy}})
    async def healthz() -> Response:
        """Whether answers can be booked, and which model answers."""
        found = await app.state.health.look()
        status = 200 if found.status == "ok" else 503
        return Response(found.model_dump_json(), status, media_type="application/json")

    @app.get("/metrics", responses={401: PROBLEMS[401]}, response_class=Response)
    async def metrics() -> Response:
        """Figures for Prometheus."""
        text = await app.state.batcher.call(app.state.metrics.text)
        return Response(text, media_type="text/plain; version=0.0.4")

    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def docs() -> str:
        return docs_page(app.openapi())

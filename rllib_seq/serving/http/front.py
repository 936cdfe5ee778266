"""What stands before every application, and what each has.

- `Front`: who may ask
- `figure_routes`: `/healthz`, `/metrics`, `/docs`
"""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response
from starlette.types import Message, Receive, Scope, Send

from rllib_seq.serving.http.access import authorised, foreign
from rllib_seq.serving.http.docs_page import docs_page
from rllib_seq.serving.http.health import Healthy
from rllib_seq.serving.http.problems import PROBLEMS, refusal

__all__ = ["BID_PATH", "Front", "figure_routes"]

BID_PATH = "/openrtb2/bid"
_OPEN = ("/healthz", "/notice/", "/click/", "/pixel/")
_TOLD_BY_PAGES = ("/notice/", "/click/", "/pixel/")


class Front:
    """A whole application: the token first, then bids, then what FastAPI serves."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or passes it on."""
        if scope["type"] == "http":
            path = scope["path"]
            settings = self._app.state.service.settings
            token = settings.token
            if token is None:
                why = foreign(scope, settings.public_url, path.startswith(_TOLD_BY_PAGES))
                if why is not None:
                    await refusal(403, why)(scope, receive, send)
                    return
            elif not path.startswith(_OPEN) and not authorised(scope, token):
                refused = refusal(401, "give the token: Authorization: Bearer TOKEN")
                await refused(scope, receive, send)
                return
            if path == BID_PATH and scope["method"] == "POST" and hasattr(self._app.state, "bid"):
                await self._app.state.bid(scope, receive, send)
                return
            if scope["method"] == "HEAD" and path != BID_PATH:
                scope, send = {**scope, "method": "GET"}, _without_body(send)
        await self._app(scope, receive, send)


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

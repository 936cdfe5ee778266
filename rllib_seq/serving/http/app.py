"""The HTTP application, the same for every engine.

- `create_app`: FastAPI around a bid service, and the fast path in front of it.
- `open_service`: the service of some settings.

`POST /openrtb2/bid`, `/notice/{kind}`, `/pixel/`, `/click/`, `DELETE /users`, `/healthz`,
`/metrics`, `/live`, `/` and `/docs`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, Response
from pydantic.json_schema import models_json_schema
from starlette.types import ASGIApp

from rllib_seq.errors import UserError
from rllib_seq.serving.exported.policy import load_policy
from rllib_seq.serving.http.bids.batching import Batcher
from rllib_seq.serving.http.bids.endpoint import BidEndpoint
from rllib_seq.serving.http.connections import Connections
from rllib_seq.serving.http.front import BID_PATH, Front, build_app, figure_routes
from rllib_seq.serving.http.metrics import Metrics
from rllib_seq.serving.http.pages.live import PAGE
from rllib_seq.serving.http.problems import PROBLEMS
from rllib_seq.serving.http.routes.notices import add_notice_routes
from rllib_seq.serving.http.routes.shown_ads import served_routes
from rllib_seq.serving.http.routes.users import add_user_routes
from rllib_seq.serving.openrtb.request import BidRequest
from rllib_seq.serving.openrtb.response import BidResponse
from rllib_seq.serving.service import BidService
from rllib_seq.serving.settings import Settings
from rllib_seq.serving.state.opening import open_storage

__all__ = ["create_app", "open_service"]

_REF = "#/components/schemas/{model}"


def open_service(settings: Settings) -> BidService:
    """Loads the policy and opens the state.

    Raises:
        UserError: something that the operator can fix.
    """
    policy = load_policy(Path(settings.export))
    spec = policy.spec
    kept = (
        f"4 {spec.stream} {spec.encoder} {spec.steps_kept} {spec.memory_size} {settings.cap} "
        f"{spec.facts['observation']}"
    )
    fingerprint = hashlib.sha256(kept.encode()).hexdigest()
    storage = open_storage(settings.state, fingerprint, settings.session_hours * 3600.0)
    try:
        return BidService(policy, settings, storage)
    except UserError:
        storage.close()
        raise


def create_app(
    make_service: Callable[[], BidService], connections: Connections | None = None
) -> ASGIApp:
    """Builds the app.

    Args:
        make_service: is called where and when the app starts.
        connections: of the server, for its figures; None: of another engine.
    """

    def add_parts(app: FastAPI, service: BidService) -> None:
        app.state.batcher = Batcher(service)
        app.state.metrics = Metrics(service, connections)
        app.state.bid = BidEndpoint(service, app.state.batcher, app.state.metrics)

    app = build_app("rllib-seq bid server", "OpenRTB 2.6", make_service, add_parts)
    _bid_route(app)
    add_notice_routes(app)
    add_user_routes(app)
    figure_routes(app)
    _page_routes(app)
    served_routes(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return Front(app, bids=True)


def _bid_route(app: FastAPI) -> None:
    body = {"content": {"application/json": {"schema": {"$ref": _REF.format(model="BidRequest")}}}}

    @app.post(
        BID_PATH,
        response_model=BidResponse,
        responses={**PROBLEMS, 204: {"description": "No bid."}},
        openapi_extra={"requestBody": {**body, "required": True}},
    )
    async def bid(request: Request) -> Response:
        """Bids on the impressions of an OpenRTB 2.6 request, or says why not (`nbr`)."""
        raise AssertionError("for the documentation alone: see Front")


def _page_routes(app: FastAPI) -> None:
    @app.get("/live", responses={401: PROBLEMS[401]})
    async def live() -> dict[str, Any]:
        """Figures for the page at `/`."""
        return dict(await app.state.batcher.call(app.state.metrics.live))

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> str:
        return PAGE


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

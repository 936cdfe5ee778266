"""The application of exports that follow streams, the same for every engine.

- `create_stream_app`: FastAPI around a `StreamService`
- `open_streams`: the service of some settings

`POST /act` of policies or `POST /score` of response models, `DELETE /sessions`, `/healthz`,
`/metrics` and `/docs`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import Response
from starlette.types import ASGIApp

from rllib_seq.errors import UserError
from rllib_seq.serving.http.bids.batching import Batcher
from rllib_seq.serving.http.bodies import Gone, Refused, read_body, unpacked
from rllib_seq.serving.http.connections import Connections
from rllib_seq.serving.http.front import Front, build_app, figure_routes
from rllib_seq.serving.http.problems import PROBLEMS, refusal
from rllib_seq.serving.http.steps.metrics import StepMetrics
from rllib_seq.serving.quiet_log import OncePerSecond
from rllib_seq.serving.settings import Settings
from rllib_seq.serving.state.opening import open_storage
from rllib_seq.serving.streams.acting import ActingSteps
from rllib_seq.serving.streams.model import load_stream_model
from rllib_seq.serving.streams.scoring import ScoringSteps
from rllib_seq.serving.streams.service import FAILED, LATE, StepAnswer, StepQuery, StreamService
from rllib_seq.serving.streams.spec import POLICY, RESPONSE

__all__ = ["create_stream_app", "open_streams"]

_LOG = logging.getLogger(__name__)
_LOG.addFilter(OncePerSecond())
_SETTINGS = (
    *("export", "state", "max_users", "session_hours", "max_batch", "max_body_bytes", "max_imps"),
    *("max_connections", "max_connections_per_address", "head_seconds", "body_seconds"),
    *("public_url", "token", "user_secret"),
)
"""What is not about bids."""
_SECONDS = 30.0  # for an answer; who waits longer is asked to try again


STEPPERS: dict[str, type[ActingSteps] | type[ScoringSteps]] = {
    POLICY: ActingSteps,
    RESPONSE: ScoringSteps,
}
"""By the kind of an export."""


def open_streams(settings: Settings) -> StreamService:
    """Loads the model and opens the state.

    Raises:
        UserError: something that the operator can fix.
    """
    model = load_stream_model(Path(settings.export))
    for each in dataclasses.fields(Settings):
        if each.name not in _SETTINGS and getattr(settings, each.name) != each.default:
            raise UserError(
                f"--{each.name.replace('_', '-')} is for bids, and {settings.export!r} is a "
                f"{model.spec.kind} for POST {STEPPERS[model.spec.kind].path}; leave it out"
            )
    stepper = STEPPERS[model.spec.kind](model.spec)
    kept = json.dumps(["streams 1", model.spec.kind, stepper.fields], sort_keys=True)
    fingerprint = hashlib.sha256(kept.encode()).hexdigest()
    storage = open_storage(settings.state, fingerprint, settings.session_hours * 3600.0)
    try:
        return StreamService(model, stepper, settings, storage)
    except UserError:
        storage.close()
        raise


def create_stream_app(
    make_service: Callable[[], StreamService],
    kind: str = POLICY,
    connections: Connections | None = None,
) -> ASGIApp:
    """Builds the app.

    Args:
        make_service: is called where and when the app starts.
        kind: of the export.
        connections: of the server, for its figures; None: of another engine.
    """

    def add_parts(app: FastAPI, service: StreamService) -> None:
        app.state.batcher = Batcher(service, LATE, FAILED)
        app.state.metrics = StepMetrics(service, connections)

    app = build_app("rllib-seq policy server", "1", make_service, add_parts)
    _step_route(app, kind)
    _session_route(app)
    figure_routes(app)
    return Front(app)


def _step_route(app: FastAPI, kind: str) -> None:
    body = {"required": True, "content": {"application/json": {"schema": _SCHEMAS[kind]}}}

    @app.post(STEPPERS[kind].path, responses=PROBLEMS, openapi_extra={"requestBody": body})
    async def step(request: Request) -> Response:
        """One step of a session, or a list of steps: in, what it shows; out, what to do.

        A list is answered by a list, in its order; steps of one session are taken in that order.
        """
        started = time.monotonic()
        service: StreamService = app.state.service
        try:
            content = await read_body(request.scope, request.receive, service.settings)
            content = unpacked(request.scope, content, service.settings)
            queries, many = _queries(service, content)
            batcher, deadline = app.state.batcher, started + _SECONDS
            answers = await asyncio.gather(*(batcher.answer(each, deadline) for each in queries))
            said = [_said(answer) for answer in answers]
        except Refused as refused:
            return refusal(refused.status, refused.detail)
        except Gone:
            return Response(status_code=499)
        app.state.metrics.observe(time.monotonic() - started)
        body = json.dumps(said if many else said[0])
        return Response(body, media_type="application/json")


_SESSION = {"type": "string", "description": "Without it, nothing is kept."}
_RESET = {"type": "boolean", "description": "The session begins again with this step."}
_SCHEMAS: dict[str, Any] = {
    POLICY: {
        "type": "object",
        "properties": {
            "session": _SESSION,
            "observation": {"description": "As the environment returns it, as JSON."},
            "reward": {"type": "number", "description": "Of the session's last action."},
            "reset": _RESET,
        },
        "required": ["observation"],
    },
    RESPONSE: {
        "type": "object",
        "properties": {
            "session": _SESSION,
            "time": {"type": "number", "description": "In the unit of the log, in order."},
            "fields": {"type": "object", "description": "Of a step, by name."},
            "answered": {"type": "boolean", "description": "An answer became known now."},
            "reset": _RESET,
        },
        "required": ["time"],
    },
}


def _queries(service: StreamService, content: bytes) -> tuple[list[StepQuery], bool]:
    """The steps of a body, and whether it is a list."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"body: is not JSON: {error}") from None
    many, most = isinstance(body, list), service.settings.max_imps
    items = body if many else [body]
    if not 0 < len(items) <= most:
        raise Refused(400, f"body: is a list of {len(items)} steps; give 1 to {most}")
    queries = []
    for number, item in enumerate(items):
        try:
            queries.append(service.query(item))
        except ValueError as error:
            raise Refused(400, f"[{number}].{error}" if many else str(error)) from None
    return queries, many


def _said(answer: StepAnswer) -> dict[str, Any]:
    if answer.values is not None:
        return answer.values
    if answer.why == "refused":
        raise Refused(400, answer.detail)
    raise Refused(503, "the state cannot be written, or the server is too busy; try again")


def _session_route(app: FastAPI) -> None:
    @app.delete("/sessions", responses=PROBLEMS, status_code=204, response_class=Response)
    async def forget(session: Annotated[str, Query(min_length=1, max_length=256)]) -> Response:
        """Forgets a session, in memory and in the state."""
        service: StreamService = app.state.service
        try:
            await app.state.batcher.call(service.forget, service.key(session))
        except service.state_errors as error:
            _LOG.error("a session could not be forgotten: %s", error)
            return refusal(503, "the state cannot be written; try again")
        return Response(status_code=204)

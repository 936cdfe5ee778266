"""A fleet: the same app as replicas of a Ray Serve deployment.

- `serve_ray`: serves until a signal comes.
- `bid_deployment`: the deployment, for a Serve config of your own; `user_router` is its router.
- `PolicyDeployment`: a policy of any environment, for an application of your own.

A request with the header `x-session-id` (any text that stands for the user) goes to the replica
that its hash belongs to. State is in Redis, where every replica finds every user: the header keeps
the requests of a user in order and spares replicas from writing over each other, and a replica that
dies takes nothing with it but the requests that it was answering.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig, HTTPOptions, RequestRouterConfig
from starlette.requests import Request

from rllib_seq.errors import UserError
from rllib_seq.serving.http.access import check_exposure
from rllib_seq.serving.http.bids.batching import Batcher
from rllib_seq.serving.http.connections import bound_socket
from rllib_seq.serving.http.faces import app_of, open_any
from rllib_seq.serving.http.problems import refusal
from rllib_seq.serving.http.steps.app import open_streams
from rllib_seq.serving.settings import Settings
from rllib_seq.serving.streams.service import FAILED, LATE

_APP = "rllib-seq"
_MOST_ONGOING = 256  # of a replica; more wait in the proxy
_TARGET_ONGOING = 16.0
_ANSWER_SECONDS = 30.0


def bid_deployment(settings: Settings, min_replicas: int = 1, max_replicas: int = 4) -> Any:
    """The deployment of a bid server, bound.

    Args:
        settings: of the operator; every node must find the export there.
        min_replicas: of the fleet.
        max_replicas: the same.

    Raises:
        UserError: several replicas, and a state that only one process can have.
    """
    if not 1 <= min_replicas <= max_replicas:
        raise UserError(
            f"--min-replicas is {min_replicas} and --max-replicas {max_replicas}; give at least 1 "
            "and no more than the most"
        )
    if max_replicas > 1 and not settings.state.startswith(("redis://", "rediss://")):
        raise UserError(
            f"--state {settings.state!r} belongs to one process; give redis://HOST:PORT/DB, or "
            "--max-replicas 1"
        )

    def build_app() -> Any:
        return app_of(settings)

    deployment = serve.deployment(
        name="bidder",
        max_ongoing_requests=_MOST_ONGOING,
        health_check_period_s=2.0,
        health_check_timeout_s=5.0,
        autoscaling_config=AutoscalingConfig(
            min_replicas=min_replicas,
            initial_replicas=min_replicas,
            max_replicas=max_replicas,
            target_ongoing_requests=_TARGET_ONGOING,
        ),
        request_router_config=user_router(),
    )(serve.ingress(build_app)())
    return deployment.bind()


@serve.deployment(max_ongoing_requests=_MOST_ONGOING)
class PolicyDeployment:
    """A policy of any environment, which remembers sessions.

    Bind it with an export; `act` takes and returns what `POST /act` does, and so does a request to
    the deployment itself. Several replicas need a state in Redis.

    Example:
        >>> from ray import serve
        >>> handle = serve.run(PolicyDeployment.bind("policy"))  # doctest: +SKIP
        >>> step = {"session": "a", "observation": [0.1, 0.2]}
        >>> handle.act.remote(step).result()["action"]  # doctest: +SKIP
        1
    """

    def __init__(self, export: str, state: str = ":memory:", **settings: Any) -> None:
        """Open the export.

        Args:
            export: folder that `rllib-seq export` wrote; every node must find it there.
            state: see `Settings`.
            **settings: other fields of `Settings`.

        Raises:
            UserError: something that the operator can fix.
        """
        self._service = open_streams(Settings(export=export, state=state, **settings))
        self._batcher = Batcher(self._service, LATE, FAILED)

    async def act(self, step: dict[str, Any]) -> dict[str, Any]:
        """Take a step of a session.

        Raises:
            ValueError: a field is missing or wrong; begins with its name.
            TimeoutError: the state cannot be written, or the replica is too busy.
        """
        query = self._service.query(step)
        answer = await self._batcher.answer(query, time.monotonic() + _ANSWER_SECONDS)
        if answer.values is None:
            raise (ValueError if answer.why == "refused" else TimeoutError)(answer.detail)
        return dict(answer.values)

    async def __call__(self, request: Request) -> Any:
        """Answer `POST` with a step as JSON."""
        try:
            return await self.act(await request.json())
        except ValueError as error:
            return refusal(400, str(error))
        except TimeoutError:
            return refusal(503, "the state cannot be written, or the server is too busy; try again")


def user_router() -> RequestRouterConfig:
    """The router that keeps a user on one replica."""
    return RequestRouterConfig(
        request_router_class="ray.serve.experimental.consistent_hash_router.ConsistentHashRouter",
        # A user's replica, or none: their requests wait for it rather than pass it by.
        request_router_kwargs={"num_fallback_replicas": 0},
    )


def serve_ray(
    settings: Settings, host: str, port: int, min_replicas: int, max_replicas: int
) -> dict[str, float]:
    """Serves on a local Ray, or the cluster that `RAY_ADDRESS` names, until SIGINT or SIGTERM.

    Args:
        settings: of the operator.
        host: of the proxy's socket.
        port: the same.
        min_replicas: of the fleet.
        max_replicas: the same.

    Returns:
        The totals of the campaign at the end.

    Raises:
        UserError: something that the operator can fix.
    """
    check_exposure(host, settings)
    bound_socket(host, port).close()
    service = open_any(settings)  # what is wrong with it is better said here than by replicas
    service.close()
    deployment = bid_deployment(settings, min_replicas, max_replicas)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    serve.start(http_options=HTTPOptions(host=host, port=port))
    try:
        serve.run(deployment, name=_APP, route_prefix="/")
        print(f"serving on http://{host}:{port}", file=sys.stderr)
        stopped.wait()
    finally:
        serve.shutdown()
    service = open_any(settings)
    totals = service.money.totals
    service.close()
    return totals

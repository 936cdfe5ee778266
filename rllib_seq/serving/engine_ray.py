"""A fleet: the same app as replicas of a Ray Serve deployment.

- `serve_ray`: serves until a signal comes.
- `bid_deployment`: the deployment, for a Serve config of your own; `user_router` is its router.

A request with the header `x-session-id` (any text that stands for the user) goes to the replica
that its hash belongs to. State is in Redis, where every replica finds every user: the header keeps
the requests of a user in order and spares replicas from writing over each other, and a replica that
dies takes nothing with it but the requests that it was answering.
"""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig, HTTPOptions, RequestRouterConfig

from rllib_seq.errors import UserError
from rllib_seq.serving.http.access import check_exposure
from rllib_seq.serving.http.app import create_app, open_service
from rllib_seq.serving.http.connections import bound_socket
from rllib_seq.serving.settings import Settings

__all__ = ["bid_deployment", "serve_ray", "user_router"]

_APP = "rllib-seq"
_MOST_ONGOING = 256  # of a replica; more wait in the proxy
_TARGET_ONGOING = 16.0


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
        return create_app(lambda: open_service(settings))

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
    service = open_service(settings)  # what is wrong with it is better said here than by replicas
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
    service = open_service(settings)
    totals = service.money.totals
    service.close()
    return totals

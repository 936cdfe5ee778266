"""One process: uvicorn.

- `serve_local`: serves until a signal comes.
"""

from __future__ import annotations

import gc
import logging
import socket
import sys

import uvicorn
from starlette.types import ASGIApp

from rllib_seq.serving.credentials import without_password
from rllib_seq.serving.http.access import check_exposure
from rllib_seq.serving.http.connections import Connections, bound_socket, bounded_protocol
from rllib_seq.serving.http.faces import app_of, open_any
from rllib_seq.serving.http.front import Front
from rllib_seq.serving.quiet_log import OncePerSecond
from rllib_seq.serving.settings import Settings

__all__ = ["run_uvicorn", "serve_local"]

_SWITCH_SECONDS = 1e-4


def serve_local(settings: Settings, host: str, port: int) -> dict[str, float]:
    """Serves until SIGINT or SIGTERM; requests that are there are answered first.

    Args:
        settings: of the operator.
        host: of the socket.
        port: the same; 0 for a free one.

    Returns:
        The totals of the campaign at the end.

    Raises:
        UserError: something that the operator can fix.
    """
    check_exposure(host, settings)
    listening = bound_socket(host, port)
    service = open_any(settings)  # before anything is said, so that errors are one line
    model = service.policy.spec.model.sha256[:12]
    most = f"{settings.max_users:,} users or sessions in memory take at most"
    megabytes = service.sessions.nbytes / 2**20
    state = without_password(settings.state)
    print(f"model {model}, state {state}; {most} {megabytes:,.0f} MB", file=sys.stderr)
    # Two threads share the interpreter: neither may keep it for long from the other. (Python's own
    # 5 ms is as long as a batch takes.)
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.freeze()  # what is there stays; collections need not look at it again
    bounds = Connections.of(settings)
    run_uvicorn(app_of(settings, lambda: service, bounds), listening, bounds)
    return service.money.totals


def run_uvicorn(app: ASGIApp, listening: socket.socket, bounds: Connections) -> None:
    """Runs an app; its logs go to stderr and name no URLs, for these hold ids of bids."""
    config = uvicorn.Config(
        app,
        http=bounded_protocol(bounds, app.direct if isinstance(app, Front) else None),
        access_log=False,
        log_level="info",
        timeout_graceful_shutdown=5,
        server_header=False,
        date_header=False,
        proxy_headers=False,  # no one else says who asks, or where; see --public-url
    )
    logging.getLogger("uvicorn.error").addFilter(OncePerSecond())
    host, port = listening.getsockname()[:2]
    print(f"serving on http://{f'[{host}]' if ':' in host else host}:{port}", file=sys.stderr)
    uvicorn.Server(config).run([listening])

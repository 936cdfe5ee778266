"""Which application serves which export.

- `open_any`: the service of some settings: bids, or steps of any environment
- `app_of`: the application around it
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from rllib_seq.errors import UserError
from rllib_seq.serving.http.app import create_app, open_service
from rllib_seq.serving.http.connections import Connections
from rllib_seq.serving.http.steps.app import create_stream_app, open_streams
from rllib_seq.serving.service import BidService
from rllib_seq.serving.settings import Settings
from rllib_seq.serving.streams.service import StreamService
from rllib_seq.serving.streams.spec import stream_kind

__all__ = ["app_of", "open_any"]


def open_any(settings: Settings) -> BidService | StreamService:
    """Loads the export and opens the state.

    Raises:
        UserError: something that the operator can fix.
    """
    streams = stream_kind(Path(settings.export)) is not None
    try:
        return open_streams(settings) if streams else open_service(settings)
    except MemoryError as error:
        raise UserError(
            f"--max-users is {settings.max_users}, and there is no memory for so many; give fewer, "
            "the others are in the state"
        ) from error


def app_of(
    settings: Settings,
    make_service: Callable[[], Any] | None = None,
    connections: Connections | None = None,
) -> ASGIApp:
    """Builds the application.

    Args:
        settings: of the operator.
        make_service: is called where and when the app starts; None: `open_any`.
        connections: of the server, for its figures; None: of another engine.

    Raises:
        UserError: there is no export.
    """
    make: Callable[[], Any] = make_service or (lambda: open_any(settings))
    kind = stream_kind(Path(settings.export))
    if kind is None:
        return create_app(make, connections)
    return create_stream_app(make, kind, connections)

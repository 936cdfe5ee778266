"""Who may ask.

- `check_exposure`: who may be served without a token.
- `authorised`: whether a request shows it.
"""

from __future__ import annotations

import hmac
import ipaddress
from urllib.parse import parse_qs

from starlette.types import Scope

from rllib_seq.errors import UserError
from rllib_seq.serving.settings import Settings

__all__ = ["authorised", "check_exposure"]


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


def authorised(scope: Scope, token: str | None) -> bool:
    """Whether a request shows the token, as `Authorization: Bearer` or as `?token=`.

    Comparing takes as long however much of it is right.
    """
    if token is None:
        return True
    shown = b""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, credentials = value.partition(b" ")
            shown = credentials.strip() if scheme.lower() == b"bearer" else value
    if not shown:
        query = parse_qs(scope["query_string"].decode("latin-1"))
        shown = query.get("token", [""])[0].encode()
    return hmac.compare_digest(shown, token.encode())

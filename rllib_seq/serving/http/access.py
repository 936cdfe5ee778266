"""Who may ask.

- `check_exposure`: who may be served without a token.
- `authorised`: whether a request shows it.
- `foreign`: whether a request may come from a page of another site.
"""

from __future__ import annotations

import hmac
import ipaddress
from functools import lru_cache
from urllib.parse import parse_qs, urlsplit

from starlette.types import Scope

from rllib_seq.errors import UserError
from rllib_seq.serving.settings import Settings

__all__ = ["authorised", "check_exposure", "foreign"]


def check_exposure(host: str, settings: Settings) -> None:
    """Refuses to be reached from elsewhere without a token.

    Raises:
        UserError: the host is not this machine alone, and there is no token.
    """
    if not _is_loopback(host) and settings.token is None:
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


def foreign(scope: Scope, public_url: str, told_by_pages: bool) -> str | None:
    """Why a request to a server without a token is refused; None if it is not.

    A page that someone visits can make their browser ask the servers of their own machine: by a
    name that it lets point there (the `Host` is then that name), or across sites (the `Origin` is
    then that site).

    Args:
        scope: of the request.
        public_url: where this server is reached, if not on this machine alone.
        told_by_pages: pages of other sites may ask for it: the id of a bid is what counts.
    """
    shown = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _SHOWN}
    host = shown.get(b"host", "")
    if host and not _is_ours(host, public_url):
        return f"Host {host!r} is not this server; set --public-url, or a token"
    if told_by_pages:
        return None
    origin, site = shown.get(b"origin"), shown.get(b"sec-fetch-site", "none")
    if origin is not None and urlsplit(origin).netloc != host:
        return f"a page of {origin!r} may not ask this server; set a token"
    if site in ("cross-site", "same-site") and shown.get(b"sec-fetch-mode") != "navigate":
        return "a page of another site may not ask this server; set a token"
    return None


_SHOWN = (b"host", b"origin", b"sec-fetch-site", b"sec-fetch-mode")


@lru_cache(maxsize=256)
def _is_ours(host: str, public_url: str) -> bool:
    """Whether a `Host` is this machine's own, or that of the public address."""
    name = urlsplit(f"//{host}").hostname or ""
    return _is_loopback(name) or name == urlsplit(public_url).hostname


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

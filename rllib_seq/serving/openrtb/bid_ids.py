"""Signed ids of bids, which carry what a notice must tell.

- `Bid`: what a bid was.
- `BidSigner`: bids to ids and back.

The server keeps no table of its bids: whatever a notice is about comes back with it, however late,
and nobody else can make such an id. It names no user but by a key, see `identity.user_key`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from typing import NamedTuple

__all__ = ["Bid", "BidSigner"]

_LAYOUT = struct.Struct("<qqiHHdd")
_MAC_BYTES = 14  # 112 bits; with them, the id is a multiple of three bytes


class Bid(NamedTuple):
    """A bid that was made."""

    number: int
    """Random, 63 bits."""
    user: int
    """Key of the user."""
    request: int
    """Number of the request among the user's."""
    channel: int
    creative: int
    amount: float
    """Currency units per impression."""
    until: float
    """Seconds since the epoch: how long it holds."""


class BidSigner:
    """Signs bids.

    >>> signer = BidSigner(b"secret")
    >>> bid = Bid(1, 2, 3, 0, 0, 0.5, 1.7e9)
    >>> len(signer.sign(bid)), signer.read(signer.sign(bid)) == bid, signer.read("forged")
    (72, True, None)

    Args:
        secret: at most 64 bytes.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, bid: Bid) -> str:
        """The id, letters of URLs."""
        content = _LAYOUT.pack(*bid)
        return base64.urlsafe_b64encode(content + self._mac(content)).decode()

    def read(self, text: str) -> Bid | None:
        """The bid of an id; None if it was not signed here."""
        try:
            signed = base64.urlsafe_b64decode(text.encode("ascii"))
        except (binascii.Error, UnicodeEncodeError, ValueError):
            return None
        content, mac = signed[: _LAYOUT.size], signed[_LAYOUT.size :]
        if len(content) != _LAYOUT.size or not hmac.compare_digest(mac, self._mac(content)):
            return None
        return Bid(*_LAYOUT.unpack(content))

    def _mac(self, content: bytes) -> bytes:
        return hashlib.blake2b(content, key=self._secret, digest_size=_MAC_BYTES).digest()

"""Sealed ids of bids, which carry what a notice must tell.

- `Bid`: what a bid was.
- `BidSealer`: bids to ids and back, and addresses that count clicks.

The server keeps no table of its bids: whatever a notice is about comes back with it, however late.
Ids stand in public addresses, so they are encrypted and authenticated (AES-256-GCM): they tell
others neither the user nor the price, and no one else can make one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from os import urandom
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["Bid", "BidSealer"]

_LAYOUT = struct.Struct("<qqiHBBdd")
_NONCE_BYTES = 12
_NONCES = 512
_BID, _CLICK = b"bid", b"click"


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
    remembered: bool = True
    """Whether the user is; otherwise the key is random and stands for this bid alone."""
    test: bool = False
    """Whether it is for a test, and spends nothing."""


class BidSealer:
    """Seals bids.

    >>> sealer = BidSealer(b"secret")
    >>> bid = Bid(1, 2, 3, 0, 0, 0.5, 1.7e9)
    >>> len(sealer.seal(bid)), sealer.read(sealer.seal(bid)) == bid, sealer.read("forged")
    (91, True, None)

    Args:
        secret: any length; the key is derived from it.
    """

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESGCM(hashlib.blake2b(secret, digest_size=32, person=b"bid ids").digest())
        self._nonces: list[bytes] = []

    def seal(self, bid: Bid) -> str:
        """The id, letters of URLs."""
        flags = bid.remembered | bid.test << 1
        content = _LAYOUT.pack(*bid[:4], bid.creative, flags, bid.amount, bid.until)
        return self._sealed(content, _BID)

    def read(self, text: str) -> Bid | None:
        """The bid of an id; None if it was not sealed here."""
        content = self._opened(text, _BID)
        if content is None or len(content) != _LAYOUT.size:
            return None
        number, user, request, channel, creative, flags, amount, until = _LAYOUT.unpack(content)
        return Bid(
            *(number, user, request, channel, creative, amount, until),
            remembered=bool(flags & 1),
            test=bool(flags & 2),
        )

    def seal_click(self, bid_id: str, landing: str) -> str:
        """A token that carries a bid's id and where a click leads to."""
        return self._sealed(f"{bid_id}\n{landing}".encode(), _CLICK)

    def read_click(self, text: str) -> tuple[str, str] | None:
        """A bid's id and where a click leads to; None if the token was not sealed here."""
        content = self._opened(text, _CLICK)
        if content is None:
            return None
        bid_id, _, landing = content.decode().partition("\n")
        return bid_id, landing

    def _sealed(self, content: bytes, purpose: bytes) -> str:
        nonce = self._nonce()
        sealed = nonce + self._cipher.encrypt(nonce, content, purpose)
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def _nonce(self) -> bytes:
        """The next of many that are drawn together.

        Every draw lets go of the interpreter, and waits until the thread of the model does so, too.
        """
        if not self._nonces:
            drawn = urandom(_NONCES * _NONCE_BYTES)
            self._nonces = [
                drawn[start : start + _NONCE_BYTES] for start in range(0, len(drawn), _NONCE_BYTES)
            ]
        return self._nonces.pop()

    def _opened(self, text: str, purpose: bytes) -> bytes | None:
        try:
            sealed = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], purpose)
        except (InvalidTag, binascii.Error, UnicodeEncodeError, ValueError):
            return None

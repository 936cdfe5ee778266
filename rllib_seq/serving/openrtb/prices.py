"""Prices of notices: whatever comes in, what is booked is bounded by the bid.

- `PriceReader`: from the text of a notice to what is booked, and what was odd about it.
- `seal_price`, `open_price`: encrypted prices, as many exchanges send them.
- `FLAGS`: what can be odd.

An encrypted price is 28 bytes in base64 for URLs: an initialisation vector (16 bytes); the price
(8 bytes, millionths of the CPM, big-endian) XOR the first 8 bytes of HMAC-SHA1(encryption key,
vector); and a signature, the first 4 bytes of HMAC-SHA1(integrity key, price + vector). Source:
Google Authorized Buyers, "Decrypt price confirmations"; other exchanges use the same scheme.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import math
from typing import NamedTuple

from rllib_seq.errors import UserError

__all__ = ["FLAGS", "UNITS", "Booked", "PriceKeys", "PriceReader", "open_price", "seal_price"]

UNITS = {"cpm": 1e-3, "micros": 1e-9}
"""One unit of a price in currency units per impression; micros are millionths of the CPM."""
FLAGS = ("above", "missing", "macro", "unreadable", "negative", "encrypted", "value")
"""Of notices that were not booked as they came. The price is dearer than the bid, there is none, a
macro was not filled in, it is no number, below zero, or encrypted and not to be opened; or the
value of a conversion is no number or out of its bounds."""
_VECTOR, _PRICE, _SIGNATURE = 16, 8, 4
_SEALED = _VECTOR + _PRICE + _SIGNATURE
_ROUNDING = 1 + 1e-9
_MACROS = ("${", "%24%7B", "%%", "AUCTION_PRICE", "WINNING_PRICE")


class Booked(NamedTuple):
    """A price as it is booked."""

    amount: float
    """Currency units per impression, from 0 to that of the bid."""
    flag: str
    """"" or one of `FLAGS`."""


class PriceKeys(NamedTuple):
    """Of one exchange, which gives them to its bidders."""

    encryption: bytes
    integrity: bytes

    @classmethod
    def read(cls, encryption: str, integrity: str) -> PriceKeys:
        """Keys as exchanges show them: base64, of URLs or not.

        Raises:
            UserError: one is no base64; the key is not named.
        """
        return cls(_key("encryption", encryption), _key("integrity", integrity))


class PriceReader:
    """Reads prices of notices.

    >>> reader = PriceReader("cpm", None)
    >>> reader.booked("2.5", 0.003), reader.booked("22494", 0.003)
    (Booked(amount=0.0025, flag=''), Booked(amount=0.003, flag='above'))

    Args:
        unit: of plain prices, one of `UNITS`.
        keys: of encrypted prices; None: there are none.
    """

    def __init__(self, unit: str, keys: PriceKeys | None) -> None:
        self._unit, self._keys = UNITS[unit], keys

    def booked(self, price: str | float | None, bid: float) -> Booked:
        """What is booked for a win: the price, or that of the bid where the price is not known.

        An impression that was won is paid, so an unknown price costs as much as it can.

        Args:
            price: the text of the notice; or, of a caller that knows it, currency units per
                impression.
            bid: currency units per impression.
        """
        if isinstance(price, float | int):
            amount, flag = _checked(float(price))
        else:
            amount, flag = self._read((price or "").strip())
        if flag:
            return Booked(bid, flag)
        if amount > bid * _ROUNDING:
            return Booked(bid, "above")
        return Booked(min(amount, bid), "")

    def _read(self, text: str) -> tuple[float, str]:
        """Currency units per impression, and a flag if they are not known."""
        if not text:
            return 0.0, "missing"
        if any(mark in text.upper() for mark in _MACROS):
            return 0.0, "macro"
        if not text.isascii() or "_" in text:  # which Python takes for parts of numbers
            return self._opened(text)
        try:
            amount = float(text)
        except ValueError:
            return self._opened(text)
        return _checked(amount * self._unit)

    def _opened(self, text: str) -> tuple[float, str]:
        if self._keys is None:
            return 0.0, "encrypted" if _bytes(text) is not None else "unreadable"
        micros = open_price(text, self._keys)
        return (0.0, "encrypted") if micros is None else (micros * UNITS["micros"], "")


def _checked(amount: float) -> tuple[float, str]:
    if math.isnan(amount):
        return 0.0, "unreadable"
    return (0.0, "negative") if amount < 0 else (amount, "")


def open_price(text: str, keys: PriceKeys) -> int | None:
    """The price in millionths of the CPM; None if it was not sealed with these keys."""
    content = _bytes(text)
    if content is None:
        return None
    vector, hidden = content[:_VECTOR], content[_VECTOR : _VECTOR + _PRICE]
    price = _masked(hidden, vector, keys)
    if not hmac.compare_digest(content[-_SIGNATURE:], _signature(price, vector, keys)):
        return None
    return int.from_bytes(price, "big")


def seal_price(micros: int, vector: bytes, keys: PriceKeys) -> str:
    """What an exchange sends: `open_price` backwards.

    >>> keys = PriceKeys(b"one", b"two")
    >>> open_price(seal_price(2_500_000, bytes(16), keys), keys)
    2500000

    Args:
        micros: millionths of the CPM.
        vector: 16 bytes, others for every price.
        keys: of the exchange.
    """
    price = micros.to_bytes(_PRICE, "big")
    content = vector + _masked(price, vector, keys) + _signature(price, vector, keys)
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _masked(content: bytes, vector: bytes, keys: PriceKeys) -> bytes:
    pad = hmac.digest(keys.encryption, vector, hashlib.sha1)
    return bytes(a ^ b for a, b in zip(content, pad[:_PRICE], strict=True))


def _signature(price: bytes, vector: bytes, keys: PriceKeys) -> bytes:
    return hmac.digest(keys.integrity, price + vector, hashlib.sha1)[:_SIGNATURE]


def _bytes(text: str) -> bytes | None:
    """What base64 says, with or without padding, if it is as long as an encrypted price."""
    try:
        content = base64.b64decode(_padded(text), validate=True)
    except (binascii.Error, ValueError):
        return None
    return content if len(content) == _SEALED else None


def _key(name: str, text: str) -> bytes:
    try:
        key = base64.b64decode(_padded(text.strip()), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise UserError(f"the {name} key of prices is no base64; give it as the exchange shows it")
    return key


def _padded(text: str) -> str:
    """Base64 of URLs as base64, with its padding."""
    bare = text.rstrip("=").replace("-", "+").replace("_", "/")
    return bare + "=" * (-len(bare) % 4)

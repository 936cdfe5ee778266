"""The answer to a bid request, OpenRTB 2.6 (section 4.2).

- `BidResponse` and its parts: pydantic models with the specification's names.
- `NO_BID`: no-bid reasons, from the list of OpenRTB 3.0.
"""

from __future__ import annotations

from typing import Any

from rllib_seq.serving.openrtb.request import Model

__all__ = ["NO_BID", "Bid", "BidResponse", "SeatBid"]

NO_BID = {"error": 1, "user": 8, "cap": 9, "late": 15}
"""No-bid reasons by why; without one, the answer is empty (204)."""


class Bid(Model):
    """An offer for one impression."""

    id: str
    impid: str
    price: float
    nurl: str | None = None
    burl: str | None = None
    lurl: str | None = None
    cid: str | None = None
    crid: str | None = None
    exp: int | None = None
    ext: dict[str, Any] | None = None


class SeatBid(Model):
    """The offers of one seat."""

    bid: list[Bid]
    seat: str | None = None


class BidResponse(Model):
    """The answer to a bid request."""

    id: str
    seatbid: list[SeatBid] | None = None
    bidid: str | None = None
    cur: str | None = None
    nbr: int | None = None

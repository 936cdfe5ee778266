"""The answer to a bid request, OpenRTB 2.6 (section 4.2).

- `BidResponse` and its parts: pydantic models with the specification's names, for the API's page.
- `describe`: what a bid says of its creative.
- `NO_BID`: no-bid reasons, from the list of OpenRTB 3.0.
"""

from __future__ import annotations

from typing import Any

from rllib_seq.serving.openrtb.creatives import Creative
from rllib_seq.serving.openrtb.request import Model

__all__ = ["NO_BID", "Bid", "BidResponse", "SeatBid", "describe"]

NO_BID = {"error": 1, "invalid": 2, "cap": 9, "late": 15}
"""No-bid reasons by why; without one, the answer is empty (204)."""


class Bid(Model):
    """An offer for one impression."""

    id: str
    impid: str
    price: float
    nurl: str
    burl: str
    lurl: str
    adm: str
    adomain: list[str]
    bundle: str | None = None
    cid: str | None = None
    crid: str
    cat: list[str]
    cattax: int
    attr: list[int] | None = None
    apis: list[int] | None = None
    language: str | None = None
    dealid: str | None = None
    w: int | None = None
    h: int | None = None
    dur: int | None = None
    mtype: int
    exp: int
    ext: dict[str, Any]


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


def describe(ad: Creative) -> dict[str, Any]:
    """Fields of a bid that only depend on its creative; those that are empty are left out."""
    fields = {
        "adomain": ad.adomain,
        "bundle": ad.bundle,
        "cid": ad.cid,
        "crid": ad.crid,
        "cat": ad.cat,
        "cattax": ad.cattax,
        "attr": ad.attr,
        "apis": ad.api,
        "language": ad.language,
        "dur": ad.duration,
        "mtype": ad.mtype,
    }
    return {name: value for name, value in fields.items() if value}

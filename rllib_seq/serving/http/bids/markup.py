"""Bids as JSON, with markup and the addresses in it.

- `BidWriter`: from decisions to the body of a response.
"""

from __future__ import annotations

import json
from typing import Any

from starlette.types import Scope

from rllib_seq.serving.decisions import BidDecision
from rllib_seq.serving.openrtb.bid_ids import Bid
from rllib_seq.serving.openrtb.creatives import Creative
from rllib_seq.serving.openrtb.eligibility import Bought
from rllib_seq.serving.openrtb.native import native_markup, read_request
from rllib_seq.serving.openrtb.request import Imp
from rllib_seq.serving.openrtb.response import describe
from rllib_seq.serving.service import BidService

__all__ = ["BidWriter"]


class BidWriter:
    """Writes responses.

    Args:
        service: that has bid.
    """

    def __init__(self, service: BidService) -> None:
        self._service = service
        self._public_url = service.settings.public_url.rstrip("/")
        self._hold_seconds = int(service.settings.hold_seconds)
        self._currency = service.settings.currency.upper()
        self._described: dict[str, dict[str, Any]] = {}

    def response(self, request_id: str, made: list[tuple[Imp, BidDecision]], scope: Scope) -> bytes:
        """The body of a response.

        Args:
            request_id: of the bid request.
            made: impressions and the bids on them, at least one.
            scope: of the HTTP request, whose host stands in for the public address.
        """
        base = self._public_url or _base(scope)
        seats: dict[str | None, list[dict[str, Any]]] = {}
        for imp, decision in made:
            assert decision.bid is not None and decision.bought is not None
            seat = decision.bought.placement.ad.seat
            seats.setdefault(seat, []).append(self._bid(imp, decision.bid, decision.bought, base))
        first = next(iter(seats.values()))[0]
        response = {
            "id": request_id,
            "seatbid": [
                {"bid": bids} if seat is None else {"bid": bids, "seat": seat}
                for seat, bids in seats.items()
            ],
            "bidid": first["id"],
            "cur": self._currency,
        }
        return json.dumps(response, separators=(",", ":")).encode()

    def _bid(self, imp: Imp, bid: Bid, bought: Bought, base: str) -> dict[str, Any]:
        ad, w, h = bought.placement
        name = self._service.sealer.seal(bid)
        notice = f"{base}/notice/"
        click = f"{notice}click?bid={name}"
        fields = {
            "id": name,
            "impid": imp.id,
            "price": bid.amount * 1000.0,
            "nurl": f"{notice}win?bid={name}&price=${{AUCTION_PRICE}}",
            "burl": f"{notice}billing?bid={name}&price=${{AUCTION_PRICE}}",
            "lurl": f"{notice}loss?bid={name}&reason=${{AUCTION_LOSS}}",
            "adm": self._markup(imp, ad, name, base, w, h),
            "exp": min(self._hold_seconds, imp.exp or self._hold_seconds),
            "ext": {"click": click, "conversion": f"{notice}conversion?bid={name}"},
            **self._describe(ad),
        }
        if w is not None:
            fields["w"], fields["h"] = w, h
        if bought.deal is not None:
            fields["dealid"] = bought.deal
        return fields

    def _markup(
        self, imp: Imp, ad: Creative, name: str, base: str, w: int | None, h: int | None
    ) -> str:
        if imp.secure == 1 and base.startswith("http://"):
            base = f"https://{base[7:]}"  # what a secure page may load; a proxy has the certificate
        click = f"{base}/click/{self._service.sealer.seal_click(name, ad.landing)}"
        pixel = f"{base}/pixel/{name}"
        if ad.native is not None and imp.native is not None and ad.type == "native":
            asked = read_request(imp.native.request)
            assert asked is not None
            return native_markup(asked, ad.native, click, pixel)
        return ad.markup(click, pixel, w, h)

    def _describe(self, ad: Creative) -> dict[str, Any]:
        if ad.crid not in self._described:
            self._described[ad.crid] = describe(ad)
        return self._described[ad.crid]


def _base(scope: Scope) -> str:
    """Where the request was sent to."""
    host = next((value for name, value in scope["headers"] if name == b"host"), None)
    if host is None:
        host = "{}:{}".format(*(scope["server"] or ("localhost", 80))).encode()
    return f"{scope['scheme']}://{host.decode('latin-1')}{scope.get('root_path', '')}"

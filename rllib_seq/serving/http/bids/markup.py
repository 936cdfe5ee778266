"""Bids as JSON, with markup and the addresses in it.

- `BidWriter`: from decisions to the body of a response.
"""

from __future__ import annotations

import json
import secrets
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from starlette.types import Scope

from rllib_seq.serving.decisions import BidDecision
from rllib_seq.serving.openrtb.bid_ids import Bid
from rllib_seq.serving.openrtb.eligibility import Bought
from rllib_seq.serving.openrtb.native import native_markup, read_request
from rllib_seq.serving.openrtb.request import Imp
from rllib_seq.serving.openrtb.response import describe
from rllib_seq.serving.service import BidService

__all__ = ["BidWriter"]

_MOST_TEMPLATES = 1024
_SEAT = '{"bid":[%s]%s}'


class BidWriter:
    """Writes responses.

    Most of a bid depends on what is shown alone. So it is written once as a template: JSON, cut
    where the ids, the price and the time go that differ from bid to bid.

    Args:
        service: that has bid.
    """

    def __init__(self, service: BidService) -> None:
        self._service = service
        self._public_url = service.settings.public_url.rstrip("/")
        self._hold_seconds = int(service.settings.hold_seconds)
        self._currency = quoted(service.settings.currency.upper())
        self._templates: dict[tuple[Any, ...], list[str]] = {}
        # No one can put a mark into a creative or a request.
        self._mark = secrets.token_hex(8)

    def response(self, request_id: str, made: list[tuple[Imp, BidDecision]], scope: Scope) -> bytes:
        """The body of a response.

        Args:
            request_id: of the bid request.
            made: impressions and the bids on them, at least one.
            scope: of the HTTP request, whose host stands in for the public address.
        """
        base = self._public_url or _base(scope)
        seats: dict[str | None, list[str]] = {}
        first = ""
        for imp, decision in made:
            assert decision.bid is not None and decision.bought is not None
            name = self._service.sealer.seal(decision.bid)
            first = first or name
            seat = decision.bought.placement.ad.seat
            bid = self._bid(imp, name, decision.bid, decision.bought, base)
            seats.setdefault(seat, []).append(bid)
        parts = [
            _SEAT % (",".join(bids), "" if seat is None else f',"seat":{quoted(seat)}')
            for seat, bids in seats.items()
        ]
        return (
            f'{{"id":{quoted(request_id)},"seatbid":[{",".join(parts)}],'
            f'"bidid":"{first}","cur":{self._currency}}}'
        ).encode()

    def _bid(self, imp: Imp, name: str, bid: Bid, bought: Bought, base: str) -> str:
        values = {
            "id": name,
            "click": self._service.sealer.seal_click(name, bought.placement.ad.landing),
            "impid": quoted(imp.id),
            "price": repr(bid.amount * 1000.0),
            "exp": str(min(self._hold_seconds, imp.exp or self._hold_seconds)),
        }
        parts = self._template(imp, bought, base).copy()
        parts[1::2] = [values[place] for place in parts[1::2]]
        return "".join(parts)

    def _template(self, imp: Imp, bought: Bought, base: str) -> list[str]:
        """Text, the name of a value, text, and so on."""
        (ad, w, h), deal, _ = bought
        secure = imp.secure == 1
        if ad.type == "native":  # is as long as a request asks: it would take too much to keep
            return self._written(imp, bought, base)
        key = (ad.crid, w, h, deal, base, secure)
        if key not in self._templates:
            if len(self._templates) >= _MOST_TEMPLATES:
                self._templates.clear()
            self._templates[key] = self._written(imp, bought, base)
        return self._templates[key]

    def _written(self, imp: Imp, bought: Bought, base: str) -> list[str]:
        mark, notice = self._mark, f"{base}/notice/"
        (ad, w, h), deal, _ = bought
        name, whole = f"{mark}id{mark}", "!{0}{1}{0}!".format
        fields = {
            "id": name,
            "impid": whole(mark, "impid"),
            "price": whole(mark, "price"),
            "nurl": f"{notice}win?bid={name}&price=${{AUCTION_PRICE}}",
            "burl": f"{notice}billing?bid={name}&price=${{AUCTION_PRICE}}",
            "lurl": f"{notice}loss?bid={name}&reason=${{AUCTION_LOSS}}",
            "adm": self._markup(imp, bought, base),
            "exp": whole(mark, "exp"),
            "ext": {
                "click": f"{notice}click?bid={name}",
                "conversion": f"{notice}conversion?bid={name}",
            },
            **describe(ad),
        }
        if w is not None:
            fields["w"], fields["h"] = w, h
        if deal is not None:
            fields["dealid"] = deal
        text = json.dumps(fields, separators=(",", ":"))
        return text.replace(f'"!{mark}', mark).replace(f'{mark}!"', mark).split(mark)

    def _markup(self, imp: Imp, bought: Bought, base: str) -> str:
        (ad, w, h), mark = bought.placement, self._mark
        if imp.secure == 1 and base.startswith("http://"):
            base = f"https://{base[7:]}"  # what a secure page may load; a proxy has the certificate
        click, pixel = f"{base}/click/{mark}click{mark}", f"{base}/pixel/{mark}id{mark}"
        if ad.native is not None and imp.native is not None and ad.type == "native":
            asked = read_request(imp.native.request)
            assert asked is not None
            return native_markup(asked, ad.native, click, pixel)
        return ad.markup(click, pixel, w, h)


def _base(scope: Scope) -> str:
    """Where the request was sent to."""
    host = next((value for name, value in scope["headers"] if name == b"host"), None)
    if host is None:
        host = "{}:{}".format(*(scope["server"] or ("localhost", 80))).encode()
    return f"{scope['scheme']}://{host.decode('latin-1')}{scope.get('root_path', '')}"

"""From an OpenRTB request to what the bidder is asked.

- `queries_of`: what the bidder sees of a request.

Device types are those of AdCOM 1.0.
"""

from __future__ import annotations

from os import urandom

from rllib_seq.serving.decisions import BidQuery
from rllib_seq.serving.openrtb.request import BidRequest, Imp
from rllib_seq.serving.service import BidService

__all__ = ["queries_of"]

_DEVICES = {1: "phone", 2: "desktop", 3: "tv", 4: "phone", 5: "tablet", 6: "device", 7: "tv"}


def queries_of(
    request: BidRequest, service: BidService, exchange: str, remember: bool = True
) -> tuple[list[tuple[Imp, BidQuery]], str]:
    """What the bidder sees of a request; what it cannot buy is counted by its reason.

    Args:
        request: of an exchange.
        service: that would bid.
        exchange: its name, which its own user ids belong to.
        remember: see `Eligibility.offer`.

    Returns:
        Each impression that can be bought with the query for the service; and why there are none.
    """
    reason = service.eligibility.refused(request)
    if reason is not None:
        service.counts[reason] += len(request.imp)
        return [], reason
    test = request.test == 1
    user = None if test else service.identities.key_of(request, exchange)
    segment, device = _segment_of(request, service), _device_of(request, service)
    queries = []
    for imp in request.imp:
        found = service.eligibility.offer(request, imp, remember)
        if isinstance(found, str):
            reason = found
            service.counts[reason] += 1
            continue
        channel, offer = found
        query = BidQuery(
            *(_guest() if user is None else user, channel, segment, device, offer.floor),
            *(offer.creatives, user is not None, test, offer),
        )
        queries.append((imp, query))
    return queries, reason or ""


def _guest() -> int:
    """The key of one impression of a user who is not remembered."""
    return int.from_bytes(urandom(8), "little", signed=True)


def _segment_of(request: BidRequest, service: BidService) -> int:
    """The first segment that the training knows by name or id; else its first."""
    for data in (request.user.data if request.user else None) or ():
        for segment in data.segment or ():
            for name in (segment.name, segment.id, segment.value):
                if name in service.segments:
                    return service.segments.index(name)
    return 0


def _device_of(request: BidRequest, service: BidService) -> int:
    """The device of the training; one that it does not know counts as its first."""
    kind = request.device.devicetype if request.device else None
    name = _DEVICES.get(kind) if kind is not None else None
    return service.devices.index(name) if name in service.devices else 0

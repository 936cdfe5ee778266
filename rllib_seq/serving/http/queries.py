"""From an OpenRTB request to what the bidder is asked.

- `queries_of`: what the bidder sees of a request.

Device types are those of AdCOM 1.0.
"""

from __future__ import annotations

from rllib_seq.serving.openrtb.identity import user_key
from rllib_seq.serving.openrtb.request import BidRequest, Imp
from rllib_seq.serving.service import BidQuery, BidService

__all__ = ["queries_of"]

_DEVICES = {1: "phone", 2: "desktop", 3: "tv", 4: "phone", 5: "tablet", 6: "device", 7: "tv"}


def queries_of(request: BidRequest, service: BidService) -> tuple[list[tuple[str, BidQuery]], str]:
    """What the bidder sees of a request.

    Returns:
        For each impression that it could buy, its id and the request for the service; and why there
        are none: "user" (nobody is named) or "unsupported" (channel or currency).
    """
    named = _user_of(request)
    if named is None:
        return [], "user"
    currency = service.settings.currency
    if request.cur and currency not in request.cur:
        return [], "unsupported"
    user = user_key(named, service.settings.user_secret)
    segment, device = _segment_of(request, service), _device_of(request, service)
    queries = []
    for imp in request.imp:
        channel = _channel_of(imp, service)
        if channel is not None and (imp.bidfloor == 0 or imp.bidfloorcur == currency):
            queries.append(
                (imp.id, BidQuery(user, channel, segment, device, imp.bidfloor / 1000.0))
            )
    return queries, "" if queries else "unsupported"


def _user_of(request: BidRequest) -> str | None:
    user, device = request.user, request.device
    return (user and (user.buyeruid or user.id)) or (device and device.ifa) or None


def _channel_of(imp: Imp, service: BidService) -> int | None:
    """The channel by its name, or by the medium; None for one that the policy does not know."""
    if imp.ext is not None and imp.ext.channel is not None:
        names = [imp.ext.channel]
    else:
        media = {"video": imp.video, "audio": imp.audio, "native": imp.native}
        names = [name for name, medium in media.items() if medium is not None]
        names += ["display", "banner"] if imp.banner is not None else []
    known = [service.channels.index(name) for name in names if name in service.channels]
    if len(service.channels) == 1 and not known:
        return 0
    return known[0] if known else None


def _segment_of(request: BidRequest, service: BidService) -> int:
    """The first segment that the training knows by name or id; else its first."""
    for data in request.user.data if request.user else []:
        for segment in data.segment:
            for name in (segment.name, segment.id, segment.value):
                if name in service.segments:
                    return service.segments.index(name)
    return 0


def _device_of(request: BidRequest, service: BidService) -> int:
    """The device of the training; one that it does not know counts as its first."""
    kind = request.device.devicetype if request.device else None
    name = _DEVICES.get(kind) if kind is not None else None
    return service.devices.index(name) if name in service.devices else 0

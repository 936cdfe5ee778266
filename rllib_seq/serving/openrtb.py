"""OpenRTB 2.6, as far as a bidder of display, video, audio and native needs it.

- `BidRequest`, `BidResponse` and their parts: pydantic models with the specification's names. Types
  are strict; fields that are not here are ignored.
- `asks_of`: what the bidder sees of a request.

Source: IAB Tech Lab, OpenRTB 2.6 (sections 3.2 and 4.2); device types are from AdCOM 1.0, no-bid
reasons from the list of OpenRTB 3.0. Prices are per thousand impressions (CPM).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from rllib_seq.serving.service import Ask, BidService, user_key

__all__ = ["NO_BID", "Bid", "BidRequest", "BidResponse", "Imp", "SeatBid", "asks_of"]

NO_BID = {"error": 1, "user": 8, "cap": 9, "late": 15}
"""No-bid reasons by why; without one, the answer is empty (204)."""

Id = Annotated[str, StringConstraints(min_length=1, max_length=256)]
_MOST_IMPS = 64
_DEVICES = {1: "phone", 2: "desktop", 3: "tv", 4: "phone", 5: "tablet", 6: "device", 7: "tv"}


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class Banner(_Model):
    """A banner."""

    w: int | None = None
    h: int | None = None


class Video(_Model):
    """A video."""

    mimes: list[str] = Field(default_factory=list)
    minduration: int | None = None
    maxduration: int | None = None


class Audio(_Model):
    """An audio spot."""

    mimes: list[str] = Field(default_factory=list)


class Native(_Model):
    """A native ad."""

    request: str | None = None
    ver: str | None = None


class ImpExt(_Model):
    """Ours: the channel by its name in the training, where the medium does not tell."""

    channel: str | None = None


class Imp(_Model):
    """One impression that is for sale."""

    id: Id
    banner: Banner | None = None
    video: Video | None = None
    audio: Audio | None = None
    native: Native | None = None
    tagid: str | None = None
    bidfloor: Annotated[float, Field(ge=0)] = 0.0
    bidfloorcur: str = "USD"
    secure: int | None = None
    instl: int = 0
    exp: int | None = None
    ext: ImpExt | None = None


class Segment(_Model):
    """A group that a user belongs to."""

    id: str | None = None
    name: str | None = None
    value: str | None = None


class Data(_Model):
    """What a provider knows of a user."""

    id: str | None = None
    name: str | None = None
    segment: list[Segment] = Field(default_factory=list)


class User(_Model):
    """The user."""

    id: str | None = None
    buyeruid: str | None = None
    data: list[Data] = Field(default_factory=list)


class Device(_Model):
    """The device."""

    ua: str | None = None
    ip: str | None = None
    devicetype: int | None = None
    os: str | None = None
    ifa: str | None = None


class Publisher(_Model):
    """Who sells."""

    id: str | None = None
    name: str | None = None
    domain: str | None = None


class Site(_Model):
    """The website."""

    id: str | None = None
    domain: str | None = None
    page: str | None = None
    cat: list[str] = Field(default_factory=list)
    publisher: Publisher | None = None


class App(_Model):
    """The app."""

    id: str | None = None
    bundle: str | None = None
    name: str | None = None
    cat: list[str] = Field(default_factory=list)
    publisher: Publisher | None = None


class BidRequest(_Model):
    """A bid request."""

    id: Id
    imp: Annotated[list[Imp], Field(min_length=1, max_length=_MOST_IMPS)]
    site: Site | None = None
    app: App | None = None
    device: Device | None = None
    user: User | None = None
    test: int = 0
    at: int = 2
    tmax: Annotated[int, Field(gt=0)] | None = None
    cur: list[str] = Field(default_factory=list)
    bcat: list[str] = Field(default_factory=list)
    badv: list[str] = Field(default_factory=list)


class Bid(_Model):
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


class SeatBid(_Model):
    """The offers of one seat."""

    bid: list[Bid]
    seat: str | None = None


class BidResponse(_Model):
    """The answer to a bid request."""

    id: str
    seatbid: list[SeatBid] | None = None
    bidid: str | None = None
    cur: str | None = None
    nbr: int | None = None


def asks_of(request: BidRequest, service: BidService) -> tuple[list[tuple[str, Ask]], str]:
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
    asks = []
    for imp in request.imp:
        channel = _channel_of(imp, service)
        if channel is not None and (imp.bidfloor == 0 or imp.bidfloorcur == currency):
            asks.append((imp.id, Ask(user, channel, segment, device, imp.bidfloor / 1000.0)))
    return asks, "" if asks else "unsupported"


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

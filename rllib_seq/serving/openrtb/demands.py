"""What a request and an impression ask of creatives, in one form that can be compared.

- `Demands`: all of it, as tuples; `demands_of` finds it.
- `BuyerDemands`: the part that all impressions of a request share.
"""

from __future__ import annotations

from typing import NamedTuple

from rllib_seq.serving.openrtb.request import Audio, Banner, BidRequest, Imp, Video

__all__ = ["IAB_1", "BuyerDemands", "Demands", "demands_of", "lower"]

IAB_1 = 1
"""Taxonomy of categories where nothing is said."""

Words = tuple[str, ...]
Numbers = tuple[int, ...]
Pair = tuple[int, int]


class BuyerDemands(NamedTuple):
    """Of the buyer, the advertiser and what is advertised."""

    wseat: Words = ()
    bseat: Words = ()
    bapp: Words = ()
    badv: Words = ()
    bcat: Words = ()
    acat: Words = ()
    cattax: int = IAB_1
    wlang: Words = ()


class Demands(NamedTuple):
    """Of a creative of one medium; 0 and empty tuples ask for nothing."""

    medium: str
    buyer: BuyerDemands
    secure: bool
    interstitial: bool
    rewarded: bool
    battr: Numbers = ()
    mimes: Words = ()
    api: Numbers = ()
    btype: Numbers = ()
    formats: tuple[Pair, ...] = ()
    ratios: tuple[tuple[int, int, int], ...] = ()
    least: Pair = (0, 0)
    most: Pair = (0, 0)
    keep_ratio: Pair = (0, 0)
    durations: Numbers = ()
    shortest: int = 0
    longest: int = 0
    protocols: Numbers = ()
    linearity: int = 0
    least_bitrate: int = 0
    most_bitrate: int = 0


_NONE = BuyerDemands()


def demands_of(request: BidRequest, imp: Imp, medium: str) -> Demands:
    """What an impression asks of creatives of one of its media."""
    shared = (medium, _of_buyer(request), imp.secure == 1, imp.instl == 1, imp.rwdd == 1)
    if medium == "banner":
        assert imp.banner is not None
        return _of_banner(shared, imp.banner, request)
    if medium == "native":
        assert imp.native is not None
        return Demands(*shared, battr=tuple(imp.native.battr or ()))
    spot = imp.video if medium == "video" else imp.audio
    assert spot is not None
    return _of_spot(shared, spot)


def _of_buyer(request: BidRequest) -> BuyerDemands:
    seats = request.wseat or request.bseat
    blocks = request.bcat or request.acat or request.badv or request.bapp
    if not (seats or blocks or request.wlang or request.wlangb):
        return _NONE
    return BuyerDemands(
        *(tuple(request.wseat or ()), tuple(request.bseat or ()), tuple(request.bapp or ())),
        *(lower(request.badv, "www."), tuple(request.bcat or ()), tuple(request.acat or ())),
        request.cattax or IAB_1,
        lower([*(request.wlang or ()), *(request.wlangb or ())]),
    )


_Shared = tuple[str, BuyerDemands, bool, bool, bool]


def _of_banner(shared: _Shared, banner: Banner, request: BidRequest) -> Demands:
    formats = tuple((each.w, each.h) for each in banner.format or () if each.w and each.h)
    if banner.w and banner.h:
        formats = (*formats, (banner.w, banner.h))
    ratios = tuple(
        (each.wratio, each.hratio, each.wmin or 0)
        for each in banner.format or ()
        if each.wratio and each.hratio
    )
    least = most = (0, 0)
    if not (formats or ratios):
        least = (banner.wmin or 0, banner.hmin or 0)
        most = (banner.wmax or 0, banner.hmax or 0)
        if shared[3] and request.device is not None:  # an interstitial fits on the screen
            most = (most[0] or request.device.w or 0, most[1] or request.device.h or 0)
    return Demands(
        *shared,
        *(tuple(banner.battr or ()), lower(banner.mimes), tuple(banner.api or ())),
        btype=tuple(banner.btype or ()),
        formats=formats,
        ratios=ratios,
        least=least,
        most=most,
    )


def _of_spot(shared: _Shared, spot: Video | Audio) -> Demands:
    protocols = tuple(spot.protocols or ())
    keep_ratio = (0, 0)
    if isinstance(spot, Video):
        if not protocols and spot.protocol:
            protocols = (spot.protocol,)
        if spot.boxingallowed == 0 and spot.w and spot.h:
            keep_ratio = (spot.w, spot.h)
    return Demands(
        *shared,
        *(tuple(spot.battr or ()), lower(spot.mimes), tuple(spot.api or ())),
        keep_ratio=keep_ratio,
        durations=tuple(spot.rqddurs or ()),
        shortest=spot.minduration or 0,
        longest=spot.maxduration or spot.poddur or 0,
        protocols=protocols,
        linearity=(isinstance(spot, Video) and spot.linearity) or 0,
        least_bitrate=spot.minbitrate or 0,
        most_bitrate=spot.maxbitrate or 0,
    )


def lower(names: list[str] | None, without: str = "") -> Words:
    """Names without blanks around them and a prefix, in lower case."""
    if not names:
        return ()
    return tuple(name.strip().casefold().removeprefix(without) for name in names)

"""What a request and an impression ask of creatives, in one form that can be compared.

- `Demands`: all of it, as tuples; `demands_of` finds it.
"""

from __future__ import annotations

from typing import NamedTuple

from rllib_seq.serving.openrtb.request import Audio, Banner, BidRequest, Imp, Video

__all__ = ["IAB_1", "Demands", "demands_of", "lower"]

IAB_1 = 1
"""Taxonomy of categories where nothing is said."""

Words = tuple[str, ...]
Numbers = tuple[int, ...]


class Demands(NamedTuple):
    """What a request and an impression ask of creatives, as lists that can be compared."""

    medium: str
    wseat: Words = ()
    bseat: Words = ()
    bapp: Words = ()
    badv: Words = ()
    bcat: Words = ()
    acat: Words = ()
    cattax: int = IAB_1
    wlang: Words = ()
    secure: bool = False
    interstitial: bool = False
    rewarded: bool = False
    formats: tuple[tuple[int, int], ...] = ()
    ratios: tuple[tuple[int, int, int], ...] = ()
    least: tuple[int, int] = (0, 0)
    most: tuple[int, int] = (0, 0)
    keep_ratio: tuple[int, int] = (0, 0)
    durations: Numbers = ()
    shortest: int = 0
    longest: int = 0
    protocols: Numbers = ()
    mimes: Words = ()
    least_bitrate: int = 0
    most_bitrate: int = 0
    battr: Numbers = ()
    btype: Numbers = ()
    api: Numbers = ()


def demands_of(request: BidRequest, imp: Imp, medium: str) -> Demands:
    """What an impression asks of creatives of one of its media."""
    shared = Demands(
        medium=medium,
        wseat=tuple(request.wseat or ()),
        bseat=tuple(request.bseat or ()),
        bapp=tuple(request.bapp or ()),
        badv=lower(request.badv, "www."),
        bcat=tuple(request.bcat or ()),
        acat=tuple(request.acat or ()),
        cattax=request.cattax or IAB_1,
        wlang=lower([*(request.wlang or ()), *(request.wlangb or ())]),
        secure=imp.secure == 1,
        interstitial=imp.instl == 1,
        rewarded=imp.rwdd == 1,
    )
    if medium == "banner":
        assert imp.banner is not None
        return _of_banner(shared, imp.banner, request if imp.instl == 1 else None)
    if medium == "native":
        assert imp.native is not None
        return shared._replace(battr=tuple(imp.native.battr or ()))
    spot = imp.video if medium == "video" else imp.audio
    assert spot is not None
    return _of_spot(shared, spot)


def _of_banner(shared: Demands, banner: Banner, screen: BidRequest | None) -> Demands:
    formats = [(each.w, each.h) for each in banner.format or () if each.w and each.h]
    if banner.w and banner.h:
        formats.append((banner.w, banner.h))
    ratios = [
        (each.wratio, each.hratio, each.wmin or 0)
        for each in banner.format or ()
        if each.wratio and each.hratio
    ]
    least = (banner.wmin or 0, banner.hmin or 0)
    most = (banner.wmax or 0, banner.hmax or 0)
    if screen is not None and screen.device is not None:  # an interstitial fits on the screen
        wide, high = screen.device.w or 0, screen.device.h or 0
        most = (most[0] or wide, most[1] or high)
    return shared._replace(
        formats=tuple(formats),
        ratios=tuple(ratios),
        least=(0, 0) if formats or ratios else least,
        most=(0, 0) if formats or ratios else most,
        mimes=lower(banner.mimes),
        battr=tuple(banner.battr or ()),
        btype=tuple(banner.btype or ()),
        api=tuple(banner.api or ()),
    )


def _of_spot(shared: Demands, spot: Video | Audio) -> Demands:
    protocols = tuple(spot.protocols or ())
    keep_ratio = (0, 0)
    if isinstance(spot, Video):
        if not protocols and spot.protocol:
            protocols = (spot.protocol,)
        if spot.boxingallowed == 0 and spot.w and spot.h:
            keep_ratio = (spot.w, spot.h)
    return shared._replace(
        keep_ratio=keep_ratio,
        durations=tuple(spot.rqddurs or ()),
        shortest=spot.minduration or 0,
        longest=spot.maxduration or spot.poddur or 0,
        protocols=protocols,
        mimes=lower(spot.mimes),
        least_bitrate=spot.minbitrate or 0,
        most_bitrate=spot.maxbitrate or 0,
        battr=tuple(spot.battr or ()),
        api=tuple(spot.api or ()),
    )


def lower(names: list[str] | None, without: str = "") -> Words:
    """Names without blanks around them and a prefix, in lower case."""
    return tuple(name.strip().casefold().removeprefix(without) for name in names or ())

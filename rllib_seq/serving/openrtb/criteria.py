"""Whether a creative fits what is asked for, criterion by criterion.

- `CRITERIA`: reason and test, in the order in which they are applied.
- `placed`: the size that is shown; a `Placement`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rllib_seq.serving.openrtb.creatives import Creative
from rllib_seq.serving.openrtb.demands import IAB_1, Demands

_SAME_RATIO = 0.02


class Placement(NamedTuple):
    """A creative in a size."""

    ad: Creative
    w: int | None
    h: int | None


def _seat(ad: Creative, wanted: Demands) -> bool:
    return ad.seat not in wanted.buyer.bseat and (
        not wanted.buyer.wseat or ad.seat in wanted.buyer.wseat
    )


def _category(ad: Creative, wanted: Demands) -> bool:
    """A block of a category blocks what is below it; another taxonomy cannot be compared."""
    if not (wanted.buyer.bcat or wanted.buyer.acat):
        return True
    if ad.cattax != wanted.buyer.cattax:
        return False
    above: Callable[[str], frozenset[str]] = (
        (lambda name: frozenset((name, name.partition("-")[0])))
        if ad.cattax == IAB_1
        else (lambda name: frozenset((name,)))
    )
    names = [name.upper() for name in ad.cat]
    blocked = {name.upper() for name in wanted.buyer.bcat}
    allowed = {name.upper() for name in wanted.buyer.acat}
    if any(above(name) & blocked for name in names):
        return False
    return not allowed or all(above(name) & allowed for name in names)


def _language(ad: Creative, wanted: Demands) -> bool:
    if not wanted.buyer.wlang:
        return True
    spoken = {name.replace("_", "-").partition("-")[0] for name in wanted.buyer.wlang}
    return ad.language is not None and ad.language.casefold().partition("-")[0] in spoken


def _mime(ad: Creative, wanted: Demands) -> bool:
    return not (wanted.mimes and ad.media_types.isdisjoint(wanted.mimes))


def _protocol(ad: Creative, wanted: Demands) -> bool:
    return not wanted.protocols or bool(set(ad.protocols) & set(wanted.protocols))


def _duration(ad: Creative, wanted: Demands) -> bool:
    if ad.duration is None:
        return True
    if wanted.durations:
        return ad.duration in wanted.durations
    return wanted.shortest <= ad.duration <= (wanted.longest or ad.duration)


def _linearity(ad: Creative, wanted: Demands) -> bool:
    """A wrapper does not say what it holds."""
    return not wanted.linearity or not ad.linearities or wanted.linearity in ad.linearities


def _bitrate(ad: Creative, wanted: Demands) -> bool:
    if ad.bitrate is None:
        return True
    return wanted.least_bitrate <= ad.bitrate <= (wanted.most_bitrate or ad.bitrate)


CRITERIA: tuple[tuple[str, Callable[[Creative, Demands], bool]], ...] = (
    ("seat", _seat),
    ("app", lambda ad, wanted: ad.bundle not in wanted.buyer.bapp),
    ("advertiser", lambda ad, wanted: ad.domains.isdisjoint(wanted.buyer.badv)),
    ("category", _category),
    ("language", _language),
    ("secure", lambda ad, wanted: ad.secure or not wanted.secure),
    ("interstitial", lambda ad, wanted: ad.interstitial or not wanted.interstitial),
    ("rewarded", lambda ad, wanted: ad.rewarded or not wanted.rewarded),
    ("attribute", lambda ad, wanted: not set(ad.attr) & set(wanted.battr)),
    ("banner_type", lambda ad, wanted: not set(ad.btype) & set(wanted.btype)),
    ("api", lambda ad, wanted: not ad.api or bool(set(ad.api) & set(wanted.api))),
    ("mime", _mime),
    ("protocol", _protocol),
    ("linearity", _linearity),
    ("duration", _duration),
    ("bitrate", _bitrate),
)
"""The reason to say no, and whether a creative fits."""


def placed(ad: Creative, wanted: Demands) -> Placement | None:
    """The creative in the first size that is asked for and that it has; None: there is none."""
    if ad.type in ("native", "audio"):
        return Placement(ad, None, None)
    if ad.type == "video":
        for w, h in ad.sizes:
            if wanted.keep_ratio == (0, 0) or _same_ratio((w, h), wanted.keep_ratio):
                return Placement(ad, w, h)
        return None
    for size in wanted.formats:
        if size in ad.sizes:
            return Placement(ad, *size)
    for w, h in ad.sizes:
        if any(
            _same_ratio((w, h), (wide, high)) and w >= least for wide, high, least in wanted.ratios
        ):
            return Placement(ad, w, h)
        free = not (wanted.formats or wanted.ratios)
        if free and all(
            least <= length <= (most or length)
            for length, least, most in zip((w, h), wanted.least, wanted.most, strict=True)
        ):
            return Placement(ad, w, h)
    return None


def _same_ratio(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return abs(one[0] * other[1] / (one[1] * other[0]) - 1.0) <= _SAME_RATIO

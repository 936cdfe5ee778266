"""Which creatives may be shown in an impression, and on which terms; before any budget is held.

- `Eligibility`: from an impression to an `Offer`, or to the reason why there is none.
- `Offer`: what may be bought, and what a bid buys of it.
- `REASONS`: all reasons.

The criteria are applied one after the other; the reason is the first one that leaves no creative.
What is decided by lists of the request and of the impression alone is remembered, because most
requests of a placement have the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from rllib_seq.serving.openrtb.creatives import Catalogue, Creative
from rllib_seq.serving.openrtb.criteria import CRITERIA, Placement, placed
from rllib_seq.serving.openrtb.demands import Demands, demands_of, lower
from rllib_seq.serving.openrtb.native import read_request
from rllib_seq.serving.openrtb.request import BidRequest, Deal, Imp
from rllib_seq.serving.openrtb.terms import Terms

REASONS = (
    *("invalid", "currency", "quantity", "channel", "deal", "medium", "seat", "app", "advertiser"),
    *("category", "language", "secure", "interstitial", "rewarded", "size", "duration"),
    *("protocol", "linearity", "mime", "bitrate", "attribute", "banner_type", "api", "native"),
)
"""Why an impression is not bid on, whatever the policy would do."""

_FIXED_PRICE = 3


class Bought(NamedTuple):
    """What a bid is for."""

    placement: Placement
    deal: str | None
    amount: float
    """Currency units per impression."""


class _Terms(NamedTuple):
    """One way to buy an impression: the open auction or a deal."""

    deal: str | None
    floor: float
    """Currency units per impression."""
    fixed: bool
    """Whether the floor is the price."""
    placements: tuple[Placement, ...]


class Offer:
    """What may be bought of an impression.

    Args:
        ways: deals with the highest floor first, then the open auction.
        names: of the policy's creatives.
    """

    def __init__(self, ways: list[_Terms], names: Sequence[str]) -> None:
        self._ways, self._names = ways, names
        self.floor = min(way.floor for way in ways)
        """The lowest, currency units per impression."""
        self.creatives = self._shown()
        """Creatives of the policy that can be shown, as bits."""

    def _shown(self) -> int:
        bits = 0
        for way in self._ways:
            for placement in way.placements:
                if placement.ad.creative is None:
                    return -1
                bits |= 1 << self._names.index(placement.ad.creative)
        return bits

    def buy(self, creative: int, amount: float) -> Bought | None:
        """What a bid of an amount for a creative of the policy buys; None: it is below the floors.

        A deal comes before the open auction, for sellers prefer it.
        """
        name = self._names[creative]
        for way in self._ways:
            if amount >= way.floor:
                for placement in way.placements:
                    if placement.ad.creative in (None, name):
                        price = way.floor if way.fixed else amount
                        return Bought(placement, way.deal, price)
        return None


class Eligibility:
    """Decides what may be shown.

    Args:
        catalogue: of creatives.
        terms: deals and currencies.
        channels: of the policy.
        names: of the policy's creatives.
        https: whether pixels and clicks can be served over https.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        terms: Terms,
        channels: Sequence[str],
        names: Sequence[str],
        https: bool,
    ) -> None:
        self._catalogue, self._terms = catalogue, terms
        self._channels, self._names, self._https = channels, names, https
        self._decided = lru_cache(maxsize=1024)(self._decide)
        self._channels_of_media = [
            (medium, self._channel(*_CHANNELS[medium]))
            for medium in ("video", "audio", "native", "banner")
        ]

    def refused(self, request: BidRequest) -> str | None:
        """Why nothing of a request can be bought, if that is so."""
        if sum(each is not None for each in (request.site, request.app, request.dooh)) > 1:
            return "invalid"
        allowed = request.cur
        if allowed and self._terms.currency not in (each.upper() for each in allowed):
            return "currency"
        return None

    def offer(
        self, request: BidRequest, imp: Imp, remember: bool = True
    ) -> tuple[int, Offer] | str:
        """What can be bought of an impression.

        Args:
            request: of the impression.
            imp: the impression.
            remember: whether the decision may be kept for requests that ask the same; not for long
                requests, so that what is kept stays small.

        Returns:
            The number of its channel and the offer; or one of `REASONS`.
        """
        if imp.qty is not None and (imp.qty.multiplier or 0.0) > 1.0:
            return "quantity"  # it costs as many times what is bid
        reason = "channel"
        for medium, channel in self._media(imp):
            placements, why = self._placements(demands_of(request, imp, medium), imp, remember)
            if not placements:
                reason = why
                continue
            ways = self._ways(imp, placements, getattr(imp, medium))
            if ways:
                return channel, Offer(ways, self._names)
            reason = "deal" if _is_private(imp) else "currency"
        return reason

    def _media(self, imp: Imp) -> list[tuple[str, int]]:
        """Media of an impression with their channels, the most valuable first."""
        named = imp.ext.channel if imp.ext is not None else None
        media = []
        for medium, channel in self._channels_of_media:
            if getattr(imp, medium) is not None:
                if named is not None:
                    channel = self._channel(named)
                if channel is not None:
                    media.append((medium, channel))
        return media

    def _channel(self, *names: str) -> int | None:
        for name in names:
            if name in self._channels:
                return self._channels.index(name)
        return 0 if len(self._channels) == 1 else None

    def _ways(self, imp: Imp, placements: tuple[Placement, ...], medium: Any) -> list[_Terms]:
        """To buy an impression: deals that we hold, the dearest first, and the open auction."""
        ways: list[_Terms] = []
        for deal in (imp.pmp.deals if imp.pmp is not None else None) or ():
            held = self._terms.deals.get(deal.id)
            if held is None:
                continue
            fitting = tuple(
                each
                for each in placements
                if (held.creatives is None or each.ad.crid in held.creatives)
                and _deal_takes(deal, each.ad)
            )
            for floor, group in self._by_floor(fitting, deal, deal):
                fixed = deal.at == _FIXED_PRICE and floor > 0
                ways.append(_Terms(deal.id, floor, fixed, group))
        ways.sort(key=lambda way: -way.floor)
        if not _is_private(imp):
            for floor, group in self._by_floor(placements, imp, medium):
                ways.append(_Terms(None, floor, False, group))
        return ways

    def _by_floor(
        self, placements: tuple[Placement, ...], terms: Imp | Deal, spot: Any
    ) -> list[tuple[float, tuple[Placement, ...]]]:
        """Floors, currency units per impression, and what they hold for; the creatives' order."""
        groups: dict[float, list[Placement]] = {}
        for each in placements:
            price = _floor_of(each.ad.duration, terms.bidfloor or 0.0, spot)
            floor = self._terms.converted(price, terms.bidfloorcur)
            if floor is not None:
                groups.setdefault(floor / 1000.0, []).append(each)
        return [(floor, tuple(group)) for floor, group in groups.items()]

    def _placements(
        self, wanted: Demands, imp: Imp, remember: bool
    ) -> tuple[tuple[Placement, ...], str]:
        placements, why = (self._decided if remember else self._decide)(wanted)
        if placements and wanted.medium == "native":
            assert imp.native is not None
            asked, why = read_request(imp.native.request), "native"
            placements = tuple(
                each
                for each in placements
                if asked is not None
                and each.ad.native is not None
                and asked.assets_of(each.ad.native)
            )
        return placements, why

    def _decide(self, wanted: Demands) -> tuple[tuple[Placement, ...], str]:
        left = list(self._catalogue.of_medium[wanted.medium])
        if not left:
            return (), "medium"
        for reason, allows in CRITERIA:
            left = [ad for ad in left if allows(ad, wanted)]
            if reason == "secure" and wanted.secure and not self._https:
                left = []
            if not left:
                return (), reason
        placements = [place for ad in left if (place := placed(ad, wanted)) is not None]
        return tuple(placements), "size"


_CHANNELS = {
    "video": ("video",),
    "audio": ("audio",),
    "native": ("native", "display"),
    "banner": ("display", "banner"),
}


def _floor_of(duration: int | None, floor: float, spot: Any) -> float:
    """Of a creative: that of its duration where a video, an audio spot or a deal has such floors.

    What has none, a banner say, has its floor whatever the duration.
    """
    if duration is None or not hasattr(spot, "durfloors"):
        return floor
    for each in spot.durfloors or ():
        if (each.mindur or 0) <= duration <= (each.maxdur or duration):
            floor = each.bidfloor or 0.0
            break
    return max(floor, duration * (spot.mincpmpersec or 0.0))


def _is_private(imp: Imp) -> bool:
    return imp.pmp is not None and imp.pmp.private_auction == 1


def _deal_takes(deal: Deal, ad: Creative) -> bool:
    if deal.wseat and ad.seat not in deal.wseat:
        return False
    return not deal.wadomain or not ad.domains.isdisjoint(lower(deal.wadomain, "www."))

"""Competitors with values, budgets and pacing of their own, in the market of single requests.

- `Rivals`: who they are, declared.
- `RivalMarket`: the market price that they make of each request.
- `simulate_competitors`: builds it; once for each market.

Our campaign is small for them: what they learn and spend comes from a market of their own, without
us, that they have played through beforehand. So they know nothing of our bids, of this request or
of any before, and policies that play the same seed meet the same rivals. Competitors who answer our
bids are in tick mode (`tick_worlds`), where we are one of equals.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.draws import categorical, uniforms
from rllib_seq.envs.ad_auction.market.auctions import FIRST_PRICE, SECOND_PRICE, ChannelAuctions
from rllib_seq.envs.ad_auction.market.bidders import Bidder, Population
from rllib_seq.envs.ad_auction.market.competitors import QuantilePrices
from rllib_seq.envs.ad_auction.market.valuations import Regimes, ValueModel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

FLIGHTS = 32  # that have been played beforehand; a campaign meets one of them
SAMPLE = 32  # requests of an hour in which they meet
_QUANTILES = np.arange(1, 1000) / 1000


@dataclass(frozen=True)
class Rivals:
    """Everyone else in the market; all money in units of our conversion's value."""

    bidders: tuple[Bidder, ...]
    values: ValueModel
    """What requests are worth to them, by channel."""
    regimes: Regimes | None = None
    """Jumps of these values."""
    flight_days: int = 7
    """Their budgets are for so long, and then another flight of theirs begins."""


class RivalMarket:
    """The highest competing bid of each request.

    Args:
        rivals: who bids.
        value: of our conversion, currency units.
        factors: `[F, T, B]`, what each of B rivals multiplies their values by, in each hour of each
            of F flights; 0 in an hour in which their money did not last.
        channel_share: `[C]`.

    Attributes:
        num_flights: F.
        prices: how market prices are distributed over channels, hours and flights: what a bidder
            knows who does not know the hour's rivals.
    """

    def __init__(
        self, rivals: Rivals, value: float, factors: Floats, channel_share: Floats
    ) -> None:
        self._values, self._factors = rivals.values, value * factors
        self._num_draws = rivals.values.num_draws(len(rivals.bidders))
        self.num_flights = len(factors)
        rng, n = np.random.default_rng(1), 200_000
        hour = rng.integers(self.num_flights * factors.shape[1], size=n)
        channel = categorical(channel_share, rng.random(n))
        words = rng.random((self._num_draws, n))
        price = self._highest(words, channel, np.zeros(n, np.int64), hour)
        quantiles = dict(zip(_QUANTILES.tolist(), np.quantile(price, _QUANTILES), strict=True))
        self.prices = QuantilePrices(quantiles, {}, cap=float(price.max()))

    def draw(
        self, keys: Words, user: Ints, request: Ints, channel: Ints, flight: Ints, hour: Floats
    ) -> Floats:
        """Market prices of `n` requests, currency units.

        Args:
            keys: `[1, n]`, see `draws`.
            user: `[n]`, number of the user within their campaign; also the following.
            request: number of the request within their journey.
            channel: index of its channel.
            flight: in which flight of the rivals their campaign began.
            hour: since then.
        """
        each = np.arange(self._num_draws)[:, None]
        words = uniforms(keys, user, request * self._num_draws + each)
        return self._highest(words, channel, flight, hour.astype(np.int64))

    def _highest(self, words: Floats, channel: Ints, flight: Ints, hour: Ints) -> Floats:
        later, hour = np.divmod(hour, self._factors.shape[1])
        factor = self._factors[(flight + later) % self.num_flights, hour]  # (n, B)
        return (self._values.draw(words.T, channel) * factor).max(axis=1)


@lru_cache(maxsize=8)
def simulate_competitors(
    rivals: Rivals, auction: str, floor: float, value: float, channel_share: tuple[float, ...]
) -> RivalMarket:
    """Lets rivals play `FLIGHTS` flights among themselves, from a seed that is always the same.

    They are part of the world, as a measured distribution of prices would be.

    Args:
        rivals: who bids.
        auction: a key of `market.AUCTIONS`; all channels are sold so.
        floor: currency units.
        value: of our conversion, currency units.
        channel_share: of the requests.
    """
    hours, channels, share = 24 * rivals.flight_days, len(channel_share), np.array(channel_share)
    soft = FIRST_PRICE if auction == "first_price" else SECOND_PRICE
    rules = ChannelAuctions(np.full(channels, floor / value), np.full(channels, soft))
    plan = np.full(hours, 1.0 / hours)
    market = Population(rivals.bidders, rivals.values, rules, plan, hours * SAMPLE, rivals.regimes)
    seeds = np.random.SeedSequence(0).spawn(FLIGHTS + 1)
    market.reset([np.random.default_rng(seed) for seed in seeds[1:]])
    rng, campaign = np.random.default_rng(seeds[0]), np.repeat(np.arange(FLIGHTS), SAMPLE)
    factors = np.empty((FLIGHTS, hours, len(rivals.bidders)))
    for hour in range(hours):
        words = rng.random((market.num_draws, len(campaign)))
        channel = categorical(share, rng.random(len(campaign)))
        market.bids(words.T, channel, campaign, np.full(FLIGHTS, hour))
        market.observe(np.zeros(len(campaign)))
        factors[:, hour] = market.factor
    return RivalMarket(rivals, value, factors, share)

"""What price models of their own would earn for every hour or channel, against one for all.

    rllib-seq bench prices --json prices.json

Competitors bid (`COMPETITORS`). A bidder takes the best level for what a win is worth to it, by the
chance to win and the payment of all auctions together, or of those of the same hour or channel.
Worths are spread evenly on a log scale from .02 to .6 of a conversion. The 400,000 prices of each
market are given, so what is found is the most that an estimate could bring.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rllib_seq.benchmarks.result import Result, Row
from rllib_seq.envs.ad_auction.draws import purpose_keys
from rllib_seq.envs.ad_auction.worlds.presets import COMPETITORS, AuctionConfig, Preset

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PRESETS, AUCTIONS = ("journey", "display"), ("second_price", "first_price")
AUCTIONS_DRAWN, HOURS, DAY = 400_000, 7 * 24, 24


def run() -> Result:
    """Measures all markets."""
    rows: list[Row] = [
        {"preset": preset, "competitors": competitors, "auction": auction, **_gains(world)}
        for preset in PRESETS
        for competitors in COMPETITORS
        for auction in AUCTIONS
        for world in [
            AuctionConfig(preset=preset, competitors=competitors, auction=auction).build_preset()
        ]
    ]
    return Result.of_rows("Gain over one price model for all, % of profit", rows)


def _gains(preset: Preset) -> dict[str, float]:
    """What own price models add to profit, %, by what they are kept for."""
    rng, rivals = np.random.default_rng(0), preset.rivals
    assert rivals is not None
    share = preset.users.channel_share
    channel = rng.choice(len(share), AUCTIONS_DRAWN, p=share)
    flight = rng.integers(rivals.num_flights, size=AUCTIONS_DRAWN)
    hour = rng.integers(HOURS, size=AUCTIONS_DRAWN)
    user, request = np.arange(AUCTIONS_DRAWN), np.zeros(AUCTIONS_DRAWN, np.int64)
    keys = purpose_keys(0, 1)[:, None]
    price = rivals.draw(keys, user, request, channel, flight, hour.astype(np.float64))
    price = np.maximum(price, preset.floor)
    contexts = {
        "channel": channel,
        "hour of the day": hour % DAY,
        "channel and hour of the day": channel * DAY + hour % DAY,
        "hour of the flight": hour,
    }
    return {name: gain(preset, price, context) for name, context in contexts.items()}


def gain(preset: Preset, price: Floats, context: Ints) -> float:
    """What a price model for each context adds to profit, %.

    Args:
        preset: bid levels, auction and shadow price.
        price: what must be beaten, `[N]`.
        context: of each, `[N]`.
    """
    levels, cost = preset.bid_levels, 1.0 + preset.shadow_price
    worth = preset.value * np.geomspace(0.02, 0.6, 12)
    together, own = np.zeros((len(worth), len(levels))), 0.0
    for number in np.unique(context):
        mine = price[context == number][:, None]
        wins = mine <= levels  # (n, A)
        paid = np.where(wins, levels if preset.auction == "first_price" else mine, 0.0)
        profit = (worth[:, None] * wins.mean(0) - cost * paid.mean(0)) * len(mine) / len(price)
        together += profit
        own += profit.max(1).sum()
    return float(100 * (own / together.max(1).sum() - 1))

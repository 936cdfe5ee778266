"""Auctions per second of the bare market: eight competitors, second price, 2,000 per batch.

Part of `rllib-seq bench env`. Time is that of this process on its core, so that work of others
counts less. Every auction has its values drawn, all bids made, and its payment booked.
"""

from __future__ import annotations

import time

import numpy as np

from rllib_seq.benchmarks.result import Check, Result, Row
from rllib_seq.envs.ad_auction.market.auctions import ChannelAuctions
from rllib_seq.envs.ad_auction.market.bidders import Bidder, Population
from rllib_seq.envs.ad_auction.market.pacing import (
    PID,
    Constant,
    Hedge,
    OnlineDual,
    Pacing,
    Proportional,
)
from rllib_seq.envs.ad_auction.market.valuations import LognormalValues

LIMIT = 1_000_000.0
ROUNDS = 7
BATCH = 2000
TICKS = 48
MARKETS: dict[str, list[Pacing]] = {
    "truthful": [Constant()] * 8,
    "paced": [
        *(Constant(), Constant(0.8), Constant(), PID(), PID()),
        *(OnlineDual(), OnlineDual(), Proportional()),
    ],
    "learning": [
        *(Constant(), Constant(0.8), Hedge(), PID(), PID()),
        *(OnlineDual(), OnlineDual(), Proportional()),
    ],
}


def market(rules: list[Pacing]) -> Row:
    """Auctions per second of the median round after one for warming up, and of the extremes.

    Args:
        rules: how each competitor paces.
    """
    bidders = [Bidder(rule, 0.1) if rule.needs_budget else Bidder(rule) for rule in rules]
    auctions = ChannelAuctions(np.full(3, 0.01), np.zeros(3))
    values = LognormalValues((0.5, 1.0, 2.0), spread=1.0, correlation=0.5)
    requests = BATCH * TICKS
    rivals = Population(bidders, values, auctions, np.full(TICKS, 1 / TICKS), requests)
    rounds = sorted(
        (_flight(rivals, auctions) for _ in range(1 + ROUNDS)), key=lambda cost: sum(cost.values())
    )
    worst, median, best = (sum(rounds[i].values()) for i in (-1, len(rounds) // 2, 0))
    return {
        "auctions_per_s": round(requests / median),
        "worst_and_best": [round(requests / worst), round(requests / best)],
        "microseconds_per_auction": {
            name: round(1e6 * cost / requests, 3) for name, cost in rounds[len(rounds) // 2].items()
        },
    }


def _flight(rivals: Population, auctions: ChannelAuctions) -> dict[str, float]:
    """Processor seconds of one flight, by what was done in them."""
    rng, campaign = np.random.default_rng(0), np.zeros(BATCH, np.int64)
    costs = dict.fromkeys(("draws", "competing bids", "own auction", "payments, learning"), 0.0)
    rivals.reset([rng])
    for tick in range(TICKS):
        times = [time.process_time()]
        uniforms, channel = rng.random((BATCH, rivals.num_draws)), rng.integers(0, 3, BATCH)
        own = rng.random(BATCH)
        times.append(time.process_time())
        prices = rivals.prices(uniforms, channel, campaign, np.array([tick]))
        times.append(time.process_time())
        auctions.clear(own, prices[:, 0], channel)
        times.append(time.process_time())
        rivals.observe(own)
        times.append(time.process_time())
        for name, seconds in zip(costs, np.diff(times), strict=True):
            costs[name] += float(seconds)
    return costs


def markets() -> Result:
    """All `MARKETS`; each of them must reach the limit."""
    found = {name: market(rules) for name, rules in MARKETS.items()}
    rows = [
        {
            "competitors": name,
            "auctions/s": row["auctions_per_s"],
            **{f"{part}, µs": cost for part, cost in row["microseconds_per_auction"].items()},
        }
        for name, row in found.items()
    ]
    checks = [
        Check(f"auctions/s, {name}", row["auctions_per_s"], ">=", LIMIT)
        for name, row in found.items()
    ]
    return Result(found, {"eight competitors": rows}, checks)

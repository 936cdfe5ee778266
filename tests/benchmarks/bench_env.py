"""Bid requests per second on one core, and what each part of a request costs.

    rllib-seq bench env

- `journeys`: campaigns in lockstep in `display`, with journeys, delays, sessions, creatives and
  full observations: every request is observed, bid on and settled. Must reach 150,000 requests/s.
- `market`: the bare market with eight competitors, see `market_speed`. Must reach 1,000,000
  auctions/s.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from market_speed import MARKETS, markets

from envs.ad_auction import AuctionConfig, AuctionSimulator, books, features, simulator
from envs.ad_auction.schedule import Schedule
from envs.ad_auction.tracking import Tracker

CAMPAIGNS, USERS, SECONDS = 1024, 256, 4.0
LIMITS = {"requests_per_s": 150_000.0}
PARTS = {
    "draws": (simulator, "uniforms"),
    "observation": (features, "build"),
    "signals": (Tracker, "signals"),
    "counting": (Tracker, "request"),
    "users": (simulator, "advance"),
    "ledgers and state": (books.Books, "_book"),
    "clocks and queues": (Schedule, "serve"),
}


def play(world: AuctionSimulator, seconds: float) -> tuple[int, float]:
    """Requests served and the processor time that they took, resets included."""
    rng = np.random.default_rng(0)
    creatives = len(world.preset.users.creatives.names)
    requests, seed, began = 0, 0, time.process_time()
    while time.process_time() - began < seconds:
        if world.done:
            world.reset([seed + i for i in range(world.num_campaigns)])
            seed += world.num_campaigns
        rows = world.pending
        world.observe(rows)
        bids = rng.choice(world.preset.bid_levels, len(rows))
        world.step(bids, rng.integers(creatives, size=len(rows)))
        requests += len(rows)
    return requests, time.process_time() - began


def journeys(
    campaigns: int = CAMPAIGNS, users: int = USERS, seconds: float = SECONDS
) -> dict[str, Any]:
    """Measures the rate, then the parts with timers around them."""
    config = AuctionConfig("display", num_users=users, observation="full")
    world = AuctionSimulator(config, campaigns)
    requests, spent = play(world, seconds)
    rate = requests / spent
    costs = dict.fromkeys(PARTS, 0.0)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            began = time.thread_time()
            result = function(*args, **kwargs)
            costs[name] += time.thread_time() - began
            return result

        return call

    kept = {name: getattr(place, function) for name, (place, function) in PARTS.items()}
    try:
        for name, (place, function) in PARTS.items():
            setattr(place, function, timed(name, kept[name]))
        timed_world = AuctionSimulator(config, campaigns)
        requests, _ = play(timed_world, seconds)
    finally:
        for name, (place, function) in PARTS.items():
            setattr(place, function, kept[name])
    return {
        "requests_per_s": round(rate),
        "microseconds_per_request": {
            "all": round(1e6 / rate, 2),
            **{name: round(1e6 * cost / requests, 2) for name, cost in costs.items()},
        },
        "bytes_per_user": world.bytes_per_user,
        "limits": LIMITS,
        "passed": rate >= LIMITS["requests_per_s"],
    }


def run() -> dict[str, Any]:
    """Both parts, each printed with its share of the limit."""
    market = markets()
    for name in MARKETS:
        found = market[name]
        _print(f"market, {name}", found["auctions_per_s"], market["limits"]["auctions_per_s"])
        for part, cost in found["microseconds_per_auction"].items():
            print(f"    {part:20} {cost:6.3f} µs per auction")
    world = journeys()
    _print("journeys", world["requests_per_s"], LIMITS["requests_per_s"])
    for part, cost in world["microseconds_per_request"].items():
        print(f"    {part:20} {cost:6.2f} µs per request")
    print(f"    {world['bytes_per_user']} bytes per user")
    return {"market": market, "journeys": world, "passed": market["passed"] and world["passed"]}


def _print(name: str, rate: float, limit: float) -> None:
    print(f"{name}: {rate:,} per second, {rate / limit:.2f} of the limit", flush=True)


if __name__ == "__main__":
    run()

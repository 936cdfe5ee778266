"""Bid requests per second on one core, and what each part of a request costs.

    rllib-seq bench env
    rllib-seq bench env market users

- `market`: the bare market with eight competitors, see `env.market`. Must reach 1,000,000
  auctions/s.
- `journeys`: campaigns in lockstep in `display`, with journeys, delays, sessions, creatives and
  full observations: every request is observed, bid on and settled. Must reach 150,000 requests/s.
- `rivalry`: the same against competitors who pace, learn and jump.
- `users`: a million users pass through one campaign of `journey`. After a sixth of them
  the memory of the process must grow by no more than 5 MB.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from rllib_seq.benchmarks.env.market import markets
from rllib_seq.benchmarks.result import Check, Result, chosen, listed
from rllib_seq.benchmarks.speed import Parts
from rllib_seq.envs.ad_auction import AuctionConfig, AuctionSimulator
from rllib_seq.envs.ad_auction.journey import features
from rllib_seq.envs.ad_auction.simulator import accounting, step
from rllib_seq.envs.ad_auction.simulator.schedule import Schedule
from rllib_seq.envs.ad_auction.simulator.tracking import Tracker

CAMPAIGNS, USERS, SECONDS = 1024, 256, 4.0
LIMIT = 150_000.0  # requests/s
MILLION = AuctionConfig(
    "journey", num_users=1_000_000, slots=5_000, arrival_hours=30_000.0, observation="full"
)
GROWTH_MB = 5.0
TIMED = {
    "draws": (step, "uniforms"),
    "market prices": (AuctionSimulator, "_market_price"),
    "observation": (features, "build"),
    "signals": (Tracker, "signals"),
    "counting": (Tracker, "request"),
    "users": (step, "advance"),
    "ledgers and state": (accounting.Accounting, "_book"),
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
    competitors: str | None = None,
    campaigns: int = CAMPAIGNS,
    users: int = USERS,
    seconds: float = SECONDS,
) -> Result:
    """Measures the rate, then the parts with timers around them."""
    config = AuctionConfig("display", num_users=users, observation="full", competitors=competitors)
    world = AuctionSimulator(config, campaigns)
    requests, spent = play(world, seconds)
    rate = requests / spent
    with Parts(TIMED) as parts:
        timed_world = AuctionSimulator(config, campaigns)
        requests, _ = play(timed_world, seconds)
    costs = {
        "all": round(1e6 / rate, 2),
        **{name: round(1e6 * cost / requests, 2) for name, cost in parts.seconds.items()},
    }
    figures = {
        "requests_per_s": round(rate),
        "microseconds_per_request": costs,
        "bytes_per_user": world.bytes_per_user,
    }
    return Result(
        figures,
        {"rate": listed({"requests/s": round(rate)}), "µs per request": listed(costs)},
        [Check(f"requests/s{f', {competitors}' if competitors else ''}", rate, ">=", LIMIT)],
    )


def million() -> Result:
    """Lets a million users pass through the memory of some thousands."""
    world = AuctionSimulator(MILLION)
    world.reset(0)
    resident: list[float] = []
    began, step = time.process_time(), (MILLION.arrival_hours or 0.0) / 12
    while not world.done:
        rows = world.pending
        world.observe(rows)
        world.step(np.full(len(rows), 0.05))
        if world.hour > step * (1 + len(resident)):
            resident.append(_resident_mb())
            print(f"    {world.state.number.max() + 1:,} users, {resident[-1]:.1f} MB", flush=True)
    grown = max(resident) - max(resident[:2])
    figures = {
        "users": int(world.state.number.max()) + 1,
        "requests": round(world.ledger.requests),
        "seconds": round(time.process_time() - began, 1),
        "slots": MILLION.slots,
        "bytes_per_user": world.bytes_per_user,
        "grown_mb": round(grown, 1),
    }
    check = Check("MB grown", grown, "<=", GROWTH_MB)
    return Result(figures, {"a million users": listed(figures)}, [check])


def _resident_mb() -> float:
    """Of this process, now; Linux."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


PARTS: dict[str, Callable[[], Result]] = {
    "users": million,  # first: what others leave behind would hide its growth
    "market": markets,
    "journeys": journeys,
    "rivalry": lambda: journeys("rivalry"),
}


def run(only: Sequence[str] = ()) -> Result:
    """Measures the parts that `only` names; all, if it names none."""
    names = chosen(PARTS, only)
    return Result.of_parts({name: PARTS[name]() for name in names})

"""One campaign of a trained bidder, recorded for people to look at.

- `record`: plays it
- `RecordedCampaign`: what `campaign_view` draws of it

The Bayes filter watches the same requests: what it believes of each user stands beside the hidden
stage and the bids. Its own bids are what it would have done there, not what happened.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.references.oracles import BayesBids
from rllib_seq.envs.ad_auction.simulator.play import BidPolicy
from rllib_seq.envs.ad_auction.simulator.step import AuctionSimulator
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig
from rllib_seq.training.seeds import Branch, branch_seed

Array = NDArray[Any]

_POINTS = 150  # of a curve
_REQUESTS = 600  # in the scatter of bids and prices
_JOURNEYS = 2  # of each way to end


@dataclass(frozen=True, kw_only=True)
class RecordedCampaign:
    """One campaign to draw, in currency units and hours; all of it is ready for JSON."""

    policy: str
    preset: str
    num_users: int
    requests: int
    budget: float | None
    flight_hours: float | None
    stages: list[str]
    channels: list[str]
    money: dict[str, list[float]]
    """`spend` and `value` by `hour`."""
    auctions: dict[str, list[Any]]
    """`bid`, `market_price` and `won` of a sample of requests."""
    bids_by_belief: list[dict[str, float]]
    """By what Bayes would have bid."""
    journeys: list[dict[str, Any]]
    """Of some users."""


def record(policy: BidPolicy, world: AuctionConfig, seed: int = 0) -> RecordedCampaign:
    """Plays one campaign that no training and no evaluation plays.

    Args:
        policy: who bids.
        world: whose users, market and budget; rewards are always as sampled.
        seed: of the campaign.
    """
    simulator = AuctionSimulator(world.for_evaluation(), record=True)
    simulator.reset(branch_seed(seed, Branch.REPORT))
    bayes = BayesBids()
    for bidder in (bayes, policy):
        bidder.start(simulator)
    steps: list[dict[str, Array]] = []
    money: list[tuple[float, float, float]] = []
    while not simulator.done:
        users, hour = simulator.pending, simulator.hour
        bids = policy.bids(users)
        users = users[: len(bids)]
        step = {
            "user": users.copy(),
            "hour": np.full(len(users), hour),
            "channel": simulator.channel(users),
            "stage": simulator.stage[users],
            "belief": bayes.belief[users],
            "bayes_bid": bayes.bids(users),
            "bid": bids,
        }
        outcome = simulator.step(bids)
        bayes.update(users, outcome)
        policy.update(users, outcome)
        for name in ("won", "clicked", "visited", "converted", "churned"):
            step[name] = getattr(outcome, name)
        steps.append(step)
        money.append((hour, simulator.ledger.spend, simulator.ledger.value))
    assert simulator.events is not None
    events = simulator.events.columns()
    columns = {name: np.concatenate([step[name] for step in steps]) for name in steps[0]}
    # Requests are recorded in the order in which they were served.
    columns["market_price"] = events["market_price"][events["event"] == 0]
    rng = np.random.default_rng(seed)
    budget, flight = simulator.ledger.budget, simulator.preset.flight_hours
    model = simulator.preset.users
    return RecordedCampaign(
        policy=policy.name,
        preset=world.preset,
        num_users=world.num_users,
        requests=len(columns["bid"]),
        budget=budget if math.isfinite(budget) else None,
        flight_hours=flight if math.isfinite(flight) else None,
        stages=list(model.stages),
        channels=list(model.channels),
        money=_curve(np.array(money)),
        auctions=_sampled(columns, rng),
        bids_by_belief=_by_bayes(columns["bayes_bid"], columns["bid"]),
        journeys=_journeys(columns, list(model.channels)),
    )


def _curve(money: Array) -> dict[str, list[float]]:
    """Money after each tick `[T, 3]`, thinned."""
    kept = np.unique(np.linspace(0, len(money) - 1, min(_POINTS, len(money))).astype(np.int64))
    return dict(zip(("hour", "spend", "value"), money[kept].T.round(4).tolist(), strict=True))


def _sampled(columns: dict[str, Array], rng: np.random.Generator) -> dict[str, list[Any]]:
    """Bid, price and whether it was won, of some requests with a bid."""
    bidding = np.flatnonzero(columns["bid"] > 0)
    some = np.sort(rng.permutation(bidding)[:_REQUESTS])
    return {
        "bid": columns["bid"][some].round(6).tolist(),
        "market_price": columns["market_price"][some].round(6).tolist(),
        "won": columns["won"][some].tolist(),
    }


def _by_bayes(bayes: Array, bids: Array, bins: int = 20) -> list[dict[str, float]]:
    """Bids where Bayes would have bid alike: mean and tenths, in bins of as many requests each."""
    order = np.argsort(bayes, kind="stable")
    rows = []
    for part in np.array_split(order, min(bins, len(order))):
        low, high = np.quantile(bids[part], [0.1, 0.9])
        numbers = {"bayes": bayes[part].mean(), "bid": bids[part].mean(), "low": low, "high": high}
        rows.append({name: round(float(number), 6) for name, number in numbers.items()})
    return rows


def _journeys(columns: dict[str, Array], channels: list[str]) -> list[dict[str, Any]]:
    """The longest journeys of each way to end, each request of them."""
    order = np.lexsort((columns["hour"], columns["user"]))
    ordered = {name: column[order] for name, column in columns.items()}
    starts = np.flatnonzero(np.diff(ordered["user"], prepend=-1))
    lengths = np.diff(starts, append=len(order))
    last = starts + lengths - 1
    converted, churned = ordered["converted"][last], ordered["churned"][last]
    found = []
    for outcome, mask in (
        ("converted", converted),
        ("churned", churned & ~converted),
        ("went on to the end", ~converted & ~churned),
    ):
        which = np.flatnonzero(mask)
        for i in which[np.argsort(-lengths[which], kind="stable")][:_JOURNEYS]:
            rows = range(starts[i], starts[i] + lengths[i])
            found.append(
                {
                    "user": int(ordered["user"][starts[i]]),
                    "outcome": outcome,
                    "requests": [_request(ordered, row, channels) for row in rows],
                }
            )
    return found


def _request(columns: dict[str, Array], row: int, channels: list[str]) -> dict[str, Any]:
    numbers = ("hour", "bid", "bayes_bid", "market_price")
    flags = ("won", "clicked", "visited", "converted", "churned")
    return {
        "channel": channels[int(columns["channel"][row])],
        "stage": int(columns["stage"][row]),
        "belief": columns["belief"][row].round(4).tolist(),
        **{name: round(float(columns[name][row]), 6) for name in numbers},
        **{name: bool(columns[name][row]) for name in flags},
    }

"""Whom a policy is compared with on the held-out days of a log.

- `LinearBids`: real-time bidding's standard, `base * worth`, the base tuned on the training days.
- `PacedBids`: the same with the base solved again for what is left of budget and requests.
- `HindsightBids`: knows all prices (and clicks) of the episode before it begins.
- `play_replay`: plays episodes with a policy.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.log_replay.auction_log import AuctionLog
from rllib_seq.envs.ad_auction.log_replay.replay import Replay
from rllib_seq.envs.ad_auction.log_replay.world import ReplayWorld

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class ReplayPolicy(Protocol):
    """A bidding policy as `play_replay` asks it."""

    name: str

    def start(self, replay: Replay, episodes: list[slice]) -> None:
        """These episodes begin."""

    def bids(self, rows: Ints) -> Floats:
        """`[n]` bids on the current requests of these rows."""


class ReplayResult(NamedTuple):
    """What a policy got, each `[E]`."""

    requests: Ints
    wins: Ints
    clicks: Ints
    gains: Floats
    """Clicks, conversions or their value that the log has of what was won."""
    expected_clicks: Floats
    """Sum of the expected gains of what was won, by the training days' model."""
    spend: Floats
    budget: Floats


def play_replay(
    world: ReplayWorld,
    log: AuctionLog,
    episodes: list[slice],
    policy: ReplayPolicy,
    judge: ReplayWorld | None = None,
) -> ReplayResult:
    """Plays episodes to their ends.

    Args:
        world: whose market and budget.
        log: `world.held_out`, or `world.train`.
        episodes: rows of the log.
        policy: who bids.
        judge: whose market says what a win is expected to bring; None: the world's.
    """
    longest = max(episode.stop - episode.start for episode in episodes)
    judged = None if judge is None else judge.market.expected(judge.held_out)
    replay = Replay(world, log, len(episodes), longest, judged)
    replay.reset(episodes)
    policy.start(replay, episodes)
    while not replay.done:
        replay.step(policy.bids(replay.pending))
    return ReplayResult(
        np.array([episode.stop - episode.start for episode in episodes]),
        replay.wins,
        replay.clicks,
        replay.gains,
        replay.expected,
        replay.spend,
        replay.budget,
    )


class LinearBids:
    """Bids in proportion to the click probability."""

    name = "linear"

    def start(self, replay: Replay, episodes: list[slice]) -> None:
        """See `ReplayPolicy.start`."""
        self._replay = replay

    def bids(self, rows: Ints) -> Floats:
        """See `ReplayPolicy.bids`."""
        return self._replay.linear_bids(rows)


class PacedBids:
    """Linear bids whose base would just spend the rest, if the prices were the training days'."""

    def __init__(self, name: str = "paced") -> None:
        self.name = name

    def start(self, replay: Replay, episodes: list[slice]) -> None:
        """See `ReplayPolicy.start`."""
        self._replay = replay

    def bids(self, rows: Ints) -> Floats:
        """See `ReplayPolicy.bids`."""
        replay = self._replay
        base = replay.world.market.base_of_rest(*replay.rest(rows))
        return replay.linear_bids(rows) * base / replay.world.base


class HindsightBids:
    """Buys what is most worth its price, until the budget is spent: the greedy knapsack.

    It is the optimum but for less than one purchase (see `hindsight.optimum`).

    Args:
        knows_clicks: buys by what the log says of the gain first. No bidder can; it bounds it.
    """

    def __init__(self, knows_clicks: bool = False) -> None:
        self.name = "hindsight_clicks" if knows_clicks else "hindsight"
        self._knows_clicks = knows_clicks

    def start(self, replay: Replay, episodes: list[slice]) -> None:
        """See `ReplayPolicy.start`."""
        longest = max(episode.stop - episode.start for episode in episodes)
        self._replay = replay
        self._plan = np.zeros((len(episodes), longest))  # bids
        log, worth = replay.log, replay.world.market.worth(replay.log)
        for i, episode in enumerate(episodes):
            price, gains = log.price[episode], log.gains[episode]
            first = np.zeros(len(price))
            if self._knows_clicks:
                first = np.where(gains > 0, price / np.where(gains > 0, gains, 1.0), np.inf)
            order = np.lexsort([price / worth[episode], first])
            left = replay.budget[i]
            for row in order.tolist():
                if price[row] <= left:
                    left -= price[row]
                    # What is free is won by the lowest bid.
                    self._plan[i, row] = max(price[row], np.finfo(np.float64).tiny)

    def bids(self, rows: Ints) -> Floats:
        """See `ReplayPolicy.bids`."""
        episode = rows // self._replay.slots
        return self._plan[episode, self._replay.position[episode]]

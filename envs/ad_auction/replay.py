"""Replay of logged auctions: episodes of N requests with a budget, side by side.

- `fields`: name and meaning of every component of the observation.
- `Replay`: E episodes in lockstep; the faces and the evaluation are thin covers of it.

A bid wins if it reaches the logged market price; the winner pays that price (second price) or his
bid (first price), and the logged click is his. A bid is cut to what is left of the budget, so no
budget is ever exceeded. An action is a multiplier of the linear bid: `base * level * worth`, where
worth is the click probability in units of the mean; level 1 throughout is linear bidding.
"""

from __future__ import annotations

from typing import NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from envs.ad_auction.auction_log import AuctionLog, ReplayWorld
from envs.ad_auction.market import AUCTIONS

__all__ = ["LEVELS", "Replay", "ReplayOutcome", "fields", "observation_space"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LEVELS = np.concatenate([[0.0], 2.0 ** (np.arange(-8, 9) / 4)])
"""`[18]`: no bid, and multipliers of the linear bid from a quarter to four times, 19 % apart."""

_HALF_LIFE = 50.0  # requests after which an auction counts half in win rate and price


def fields(world: ReplayWorld) -> list[tuple[str, str]]:
    """Name and meaning of the components of an observation, in order; all lie in [-1, 1]."""
    channels = world.words.get("channel", ())
    return [
        ("budget_left", "share of the episode's budget"),
        ("requests_left", "share of the episode's requests, this one included"),
        ("pace", "log2 of budget_left / requests_left, over 4"),
        ("price_of_rest", "log2 of the bid that would just spend the rest / linear bid, over 4"),
        ("win_rate", "of the recent requests (half-life 50)"),
        ("paid", "log2 of the mean price of recent wins / the training days' mean price, over 4"),
        ("won", "1 if the stream's last request was won"),
        ("last_paid", "its price / (the same + the training days' mean price), 0 if lost"),
        ("new", "1 if the stream has had no request in this episode"),
        ("worth", "log2 of this request's worth, over 4"),
        ("hour_sin", "sine of the hour of the day, UTC"),
        ("hour_cos", "cosine of it"),
        *((f"channel_{name}", "1 if the request comes on this channel") for name in channels),
    ]


def observation_space(world: ReplayWorld) -> gym.spaces.Box:
    """The space of `fields`."""
    return gym.spaces.Box(-1.0, 1.0, (len(fields(world)),), np.float32)


class ReplayOutcome(NamedTuple):
    """What became of a request in each of E episodes, each `[E]`."""

    won: Bools
    paid: Floats
    clicked: Bools
    worth: Floats
    """Click probability of what was won, in units of the mean; 0 where lost."""
    reward: Floats
    """By the config's `reward`."""


class Replay:
    """E episodes in lockstep; those that are shorter than the longest end earlier.

    Args:
        world: whose market, budget and rewards.
        log: which of its days: `world.train` or `world.held_out`.

    Attributes:
        spend, wins, clicks, worth: `[E]`, totals so far.
        budget: `[E]`.
        step_number: requests of each episode that are through.
        last: episodes, their streams and rewards of the last step, each `[n]`.
    """

    def __init__(self, world: ReplayWorld, log: AuctionLog) -> None:
        self.world, self.log = world, log
        self._clear = AUCTIONS[world.config.auction]
        self._worth = world.market.worth(log)
        turn = 2 * np.pi * (log.time / 3_600_000_000 % 24) / 24
        channels = np.arange(len(log.words.get("channel", ())))
        here = log.codes.get("channel", np.zeros(len(log), np.int64))[:, None] == channels
        columns = [_log(self._worth, np.ones(len(log))), np.sin(turn), np.cos(turn), *here.T]
        self._known = np.stack(columns, axis=1).astype(np.float32)
        """`[n, 3 + C]`: what is observed of a request itself."""

    def reset(self, episodes: list[slice]) -> None:
        """Starts episodes.

        Args:
            episodes: rows of the log, each at least one.
        """
        self._start = np.array([episode.start for episode in episodes])
        self._length = np.array([episode.stop - episode.start for episode in episodes])
        count, longest = len(episodes), int(self._length.max())
        self.budget = np.array([self.world.budget_of(int(length)) for length in self._length])
        self.spend, self.worth = np.zeros(count), np.zeros(count)
        self.wins, self.clicks = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self.step_number = 0
        # Number of each request's stream within its episode.
        self._stream = np.zeros((count, longest), np.int64)
        self._last_of_stream = np.zeros((count, longest), np.bool_)
        for i, episode in enumerate(episodes):
            length = self._length[i]
            users = self.log.user[episode]
            if self.world.config.stream == "user":
                self._stream[i, :length] = np.unique(users, return_inverse=True)[1]
            backwards = self._stream[i, :length][::-1]
            last = np.unique(backwards, return_index=True)[1]
            self._last_of_stream[i, length - 1 - last] = True
        self.num_streams = int(self._stream.max()) + 1
        self._seen = np.zeros((count, self.num_streams), np.bool_)
        self._last_paid = np.full((count, self.num_streams), np.nan)  # NaN: lost
        self._recent = np.zeros((3, count))  # requests, wins, paid

    @property
    def going(self) -> Ints:
        """Numbers of the episodes that have a request left."""
        return np.flatnonzero(self._length > self.step_number)

    @property
    def done(self) -> bool:
        """Whether all episodes are through."""
        return bool((self._length <= self.step_number).all())

    def stream(self, episodes: Ints) -> Ints:
        """`[n]`: the stream of the current request of each, numbered within its episode."""
        return self._stream[episodes, np.minimum(self.step_number, self._length[episodes] - 1)]

    def ends_stream(self, episodes: Ints) -> Bools:
        """`[n]`: whether it is the stream's last request in the episode."""
        at = np.minimum(self.step_number, self._length[episodes] - 1)
        return self._last_of_stream[episodes, at]

    def observe(self, episodes: Ints) -> NDArray[np.float32]:
        """float32 `[n, D]`, see `fields`; after the end, the last request without any left."""
        market, typical = self.world.market, self.world.market.mean_price
        at = np.minimum(self._start + self.step_number, self._start + self._length - 1)[episodes]
        rest, left = self.rest(episodes)
        budget_left, requests_left = rest / self.budget[episodes], left / self._length[episodes]
        requests, wins, paid = self._recent[:, episodes]
        stream = self.stream(episodes)
        last = self._last_paid[episodes, stream]
        won = ~np.isnan(last)
        last = np.where(won, last, 0.0)
        counted = [
            budget_left,
            requests_left,
            _log(budget_left, requests_left),
            _log(market.base_of_rest(rest, left), self.world.base),
            wins / np.maximum(requests, 1e-300),
            _log(paid, wins * typical),
            won,
            last / (last + typical),
            ~self._seen[episodes, stream],
        ]
        return np.concatenate([np.stack(counted, axis=1), self._known[at]], axis=1, dtype=np.float32)

    def rest(self, episodes: Ints) -> tuple[Floats, Ints]:
        """`[n]` budget and `[n]` requests that are left, the current one included."""
        budget = np.maximum(self.budget[episodes] - self.spend[episodes], 0.0)
        return budget, np.maximum(self._length[episodes] - self.step_number, 0)

    def linear_bids(self, episodes: Ints) -> Floats:
        """`[n]`: linear bids on the current requests."""
        return self.world.base * self._worth[self._start[episodes] + self.step_number]

    def step(self, bids: Floats) -> ReplayOutcome:
        """Bids on the current request of every episode that goes on.

        Args:
            bids: `[n]`, of the episodes `going`, in the unit of the log; 0 is no bid.

        Returns:
            Rows of the episodes `going`.

        Raises:
            ValueError: a bid is negative or not a number, or their number is wrong.
        """
        episodes = self.going
        bids = np.asarray(bids, np.float64)
        if bids.shape != episodes.shape or not (bids >= 0).all():
            raise ValueError(f"bids are {bids.tolist()}; give {len(episodes)} of at least 0")
        at = self._start[episodes] + self.step_number
        before, left = self.rest(episodes)
        won, paid = self._clear(np.minimum(bids, before), self.log.price[at], 0.0)
        clicked = won & self.log.clicked[at]
        worth = np.where(won, self._worth[at], 0.0)
        self.spend[episodes] += paid
        self.worth[episodes] += worth
        self.wins[episodes] += won
        self.clicks[episodes] += clicked
        kind = self.world.config.reward
        reward = clicked.astype(np.float64) if kind == "clicks" else worth
        if kind == "paced":
            rest = self.world.market.worth_of_rest
            after = np.maximum(before - paid, 0.0)
            reward = reward + rest(after, left - 1) - rest(before, left)
        stream = self.stream(episodes)
        self.last = episodes, stream, reward
        self._seen[episodes, stream] = True
        self._last_paid[episodes, stream] = np.where(won, paid, np.nan)
        self._recent *= 2.0 ** (-1 / _HALF_LIFE)
        self._recent[:, episodes] += np.stack([np.ones(len(won)), won, paid])
        self.step_number += 1
        return ReplayOutcome(won, paid, clicked, worth, reward)


def _log(part: Floats, whole: Floats | float) -> Floats:
    """Log2 of part / whole over 4, within [-1, 1]; -1 where the part is 0, 0 where there is none."""
    whole = np.asarray(whole)
    ratio = part / np.where(whole > 0, whole, 1.0)
    logs = np.log2(np.clip(ratio, 2.0**-4, 2.0**4)) / 4
    return np.where(whole > 0, logs, 0.0)

"""Replay of logged auctions: episodes of N requests with a budget, side by side.

- `fields`: name and meaning of every component of the observation.
- `Replay`: E episodes side by side; the adapters and the evaluation are thin covers of it.

A bid wins if it reaches the logged market price; the winner pays that price (second price) or the
bid (first price), and gets the logged click; none is known of an auction that the log lost. A bid
is cut to what is left of the budget, so no budget is ever exceeded. An action is a multiplier of
the linear bid: `base * level * worth`, where worth is the click probability in units of the mean;
level 1 throughout is linear bidding.
"""

from __future__ import annotations

from typing import NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.log_replay.auction_log import AuctionLog
from rllib_seq.envs.ad_auction.log_replay.user_past import PAST
from rllib_seq.envs.ad_auction.log_replay.world import ReplayWorld
from rllib_seq.envs.ad_auction.market.auctions import AUCTIONS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LEVELS = np.concatenate([[0.0], 2.0 ** (np.arange(-4, 5) / 3)])
"""`[10]`: no bid, and multipliers of the linear bid from 0.4 to 2.5, 26 % apart."""

_NEAR = np.arange(-32, 32)  # requests whose prices stand for the luck of one
_HALF_LIFE = 50.0  # requests after which an auction counts half in win rate and price


def fields(world: ReplayWorld) -> list[tuple[str, str]]:
    """Name and meaning of the components of an observation, in order; all lie in [-1, 1]."""
    channels = world.words.get("channel", ())
    return [
        ("budget_left", "share of the episode's budget"),
        ("requests_left", "share of the episode's requests, this one included"),
        ("pace", "log2 of budget_left / requests_left, over 2"),
        ("price_of_rest", "log2 of the base that would just spend the rest / linear base, over 2"),
        ("price_of_rest_fine", "the same, over 1/2"),
        ("win_rate", "of the recent requests (half-life 50)"),
        ("paid", "log2 of the mean price of recent wins / the training days' mean price, over 4"),
        ("won", "1 if the stream's last request was won"),
        ("last_paid", "its price / (the same + the training days' mean price), 0 if lost"),
        ("new", "1 if the stream has had no request in this episode"),
        ("worth", "log2 of this request's worth, over 2"),
        ("hour_sin", "sine of the hour of the day"),
        ("hour_cos", "cosine of it"),
        *((f"channel_{name}", "1 if the request comes on this channel") for name in channels),
        *(PAST if world.config.stream == "user" else ()),
    ]


def observation_space(world: ReplayWorld) -> gym.spaces.Box:
    """The space of `fields`."""
    return gym.spaces.Box(-1.0, 1.0, (len(fields(world)),), np.float32)


class ReplayOutcome(NamedTuple):
    """What became of `n` requests, each `[n]`."""

    won: Bools
    paid: Floats
    clicked: Bools


class Replay:
    """E episodes side by side, each at its own place in the log.

    A row is a stream: `episode * slots + stream`, where an episode has one stream, or one for each
    of its users; see `ReplayConfig.stream`.

    Args:
        world: whose market, budget and rewards.
        log: which of its days: `world.train` or `world.held_out`.
        num_episodes: E.
        longest: most requests of an episode; None: those of the world.
        judged: `[n]` expected gain of the log's requests by which the result counts; None: as the
            world's market expects.

    Attributes:
        slots: streams that an episode may have.
        spend, wins, clicks, worth, gains, expected: `[E]`, totals so far; gains: of the log,
            expected: by `for_evaluation`.
        budget: `[E]`.
        position: `[E]`, requests that are through.
        ended: `[E * slots]`, whether a stream has had its last request.
    """

    def __init__(
        self,
        world: ReplayWorld,
        log: AuctionLog,
        num_episodes: int,
        longest: int | None = None,
        judged: Floats | None = None,
    ) -> None:
        self.world, self.log, self.num_episodes = world, log, num_episodes
        self._longest = longest or world.episode_requests
        self.slots = self._longest if world.config.stream == "user" else 1
        self._clear = AUCTIONS[world.config.auction]
        self._worth = world.market.worth(log)
        self._gains = log.gains
        self._judged = world.market.expected(log) if judged is None else judged
        self._shown = log.shown
        turn = 2 * np.pi * (log.time / 3_600_000_000 % 24) / 24
        channels = np.arange(len(log.words.get("channel", ())))
        here = log.codes.get("channel", np.zeros(len(log), np.int64))[:, None] == channels
        columns = [_log(self._worth, 1.0), np.sin(turn), np.cos(turn), *here.T]
        if log.past is not None:
            columns += [*log.past.T]
        self._known = np.stack(columns, axis=1).astype(np.float32)
        """`[n, K]`: what is observed of a request itself, and of its user before."""
        count, rows = num_episodes, num_episodes * self.slots
        self._start = np.zeros(count, np.int64)
        self._length = np.zeros(count, np.int64)
        self.position = np.zeros(count, np.int64)
        self.budget, self.spend = np.zeros(count), np.zeros(count)
        self.worth, self.gains, self.expected = (np.zeros(count) for _ in range(3))
        self.wins, self.clicks = (np.zeros(count, np.int64) for _ in range(2))
        self._recent = np.zeros((3, count))  # requests, wins, paid
        self._stream = np.zeros((count, self._longest), np.int64)  # of each request
        self._last = np.zeros((count, self._longest), np.bool_)  # whether it is its stream's last
        self.ended = np.ones(rows, np.bool_)
        self._seen = np.zeros(rows, np.bool_)
        self._last_paid = np.full(rows, np.nan)  # NaN: lost
        self._reward = np.zeros(rows)

    def reset(
        self,
        episodes: list[slice],
        which: Ints | None = None,
        budget_factor: Floats | float = 1.0,
    ) -> None:
        """Starts episodes.

        Args:
            episodes: rows of the log, each at least one.
            which: numbers of the episodes; None: all.
            budget_factor: `[n]` or one for all, of the usual budget.
        """
        which = np.arange(self.num_episodes) if which is None else which
        self._start[which] = [episode.start for episode in episodes]
        self._length[which] = [episode.stop - episode.start for episode in episodes]
        usual = [self.world.budget_of(n) for n in self._length[which].tolist()]
        self.budget[which] = np.array(usual) * budget_factor
        money = (self.spend, self.worth, self.gains, self.expected)
        for total in (self.position, *money, self.wins, self.clicks):
            total[which] = 0
        self._recent[:, which] = 0.0
        rows = (which[:, None] * self.slots + np.arange(self.slots)).ravel()
        self._seen[rows] = False
        self._last_paid[rows] = np.nan
        self._reward[rows] = 0.0
        self.ended[rows] = True
        for i, episode in zip(which.tolist(), episodes, strict=True):
            length = self._length[i]
            if self.slots > 1:
                users = np.unique(self.log.user[episode], return_inverse=True)[1]
                self._stream[i, :length] = users
            last = np.unique(self._stream[i, :length][::-1], return_index=True)[1]
            self._last[i] = False
            self._last[i, length - 1 - last] = True
            self.ended[i * self.slots : i * self.slots + len(last)] = False

    @property
    def over(self) -> Bools:
        """`[E]`: whether an episode has no request left."""
        return self.position >= self._length

    @property
    def done(self) -> bool:
        """Whether all are over."""
        return bool(self.over.all())

    @property
    def pending(self) -> Ints:
        """`[n]`: the row with the current request of each episode that goes on."""
        going = np.flatnonzero(~self.over)
        return going * self.slots + self._stream[going, self.position[going]]

    def rest(self, rows: Ints) -> tuple[Floats, Ints]:
        """`[n]` budget and `[n]` requests that their episodes have left, the current included."""
        episode = rows // self.slots
        budget = np.maximum(self.budget[episode] - self.spend[episode], 0.0)
        return budget, self._length[episode] - self.position[episode]

    def linear_bids(self, rows: Ints) -> Floats:
        """`[n]`: linear bids on the current requests."""
        return self.world.base * self._worth[self._at(rows // self.slots)]

    def observe(self, rows: Ints) -> NDArray[np.float32]:
        """float32 `[n, D]`, see `fields`: the current requests of their episodes, or the last."""
        market, typical = self.world.market, self.world.market.mean_price
        episode = rows // self.slots
        rest, left = self.rest(rows)
        budget_left, requests_left = rest / self.budget[episode], left / self._length[episode]
        requests, wins, paid = self._recent[:, episode]
        last = self._last_paid[rows]
        won = ~np.isnan(last)
        last = np.where(won, last, 0.0)
        base = market.base_of_rest(rest, left)
        counted = [
            budget_left,
            requests_left,
            _log(budget_left, requests_left),
            _log(base, self.world.base),
            _log(base, self.world.base, octaves=0.5),
            wins / np.maximum(requests, 1e-300),
            _log(paid, wins * typical, octaves=4.0),
            won,
            last / (last + typical),
            ~self._seen[rows],
        ]
        known = self._known[self._at(episode)]
        return np.concatenate([np.stack(counted, axis=1), known], axis=1, dtype=np.float32)

    def step(self, bids: Floats) -> ReplayOutcome:
        """Bids on the current request of every episode that goes on.

        Args:
            bids: `[n]`, of the rows `pending`, in the unit of the log; 0 is no bid.

        Raises:
            ValueError: a bid is negative or not a number, or their number is wrong.
        """
        rows, bids = self.pending, np.asarray(bids, np.float64)
        if bids.shape != rows.shape or not (bids >= 0).all():
            raise ValueError(f"bids are {bids.tolist()}; give {len(rows)} of at least 0")
        episode = rows // self.slots
        at = self._at(episode)
        before, left = self.rest(rows)
        won, paid = self._clear(np.minimum(bids, before), self.log.price[at], 0.0)
        clicked = won & self.log.clicked[at]
        worth = np.where(won, self._worth[at], 0.0)
        self.spend[episode] += paid
        self.worth[episode] += worth
        gains = np.where(won, self._gains[at], 0.0)
        self.gains[episode] += gains
        self.expected[episode] += np.where(won, self._judged[at], 0.0)
        self.wins[episode] += won
        self.clicks[episode] += clicked
        kind = self.world.config.reward
        reward = worth
        if kind == "clicks":
            chance = worth * self.world.market.mean_probability
            reward = np.where(self._shown[at], gains, np.where(won, chance, 0.0))
        if kind == "regret":
            reference = self.world.market.base_of_rest(before, left) * self._worth[at]
            reward = self._brings(bids, at, before, left) - self._brings(
                reference, at, before, left
            )
        self._reward[rows] += reward
        self._seen[rows] = True
        self._last_paid[rows] = np.where(won, paid, np.nan)
        happened = np.stack([np.ones(len(won)), won, paid])
        self._recent[:, episode] = self._recent[:, episode] * 2.0 ** (-1 / _HALF_LIFE) + happened
        self.ended[rows] = self._last[episode, self.position[episode]]
        self.position[episode] += 1
        return ReplayOutcome(won, paid, clicked)

    def _brings(self, bids: Floats, at: Ints, budget: Floats, left: Ints) -> Floats:
        """`[n]`: what bids bring at the prices around their requests, and the rest after them."""
        near = np.clip(at[:, None] + _NEAR, 0, len(self.log) - 1)  # (n, K)
        cut = np.broadcast_to(np.minimum(bids, budget)[:, None], near.shape)
        won, paid = self._clear(cut, self.log.price[near], 0.0)
        rest = self.world.market.worth_of_rest(
            np.maximum(budget[:, None] - paid, 0.0), left[:, None] - 1
        )
        return (won * self._worth[at][:, None] + rest).mean(axis=1)

    def take_rewards(self, rows: Ints) -> Floats:
        """`[n]`: what the streams brought since it was last asked, see `ReplayConfig.reward`."""
        rewards = self._reward[rows]
        self._reward[rows] = 0.0
        return rewards

    def _at(self, episode: Ints) -> Ints:
        """`[n]`: row in the log of the current request, or of the last."""
        place = np.minimum(self.position[episode], self._length[episode] - 1)
        return self._start[episode] + place


def _log(part: Floats, whole: Floats | float, octaves: float = 2.0) -> Floats:
    """Log2 of part / whole over the octaves, clipped to [-1, 1]; 0 where the whole is 0."""
    whole = np.asarray(whole)
    ratio = part / np.where(whole > 0, whole, 1.0)
    logs = np.log2(np.clip(ratio, 2.0**-octaves, 2.0**octaves)) / octaves
    return np.where(whole > 0, logs, 0.0)

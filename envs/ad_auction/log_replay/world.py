"""What the training days of a log teach, and what held-out days are bid with.

- `ReplayConfig`: how a log is replayed.
- `Market`: click model, typical price and worth-for-money of the training days.
- `ReplayWorld`: a log, split, with its market.

The replay itself is `replay`. What a log cannot tell (docs/environments/replay.md): what the
auctions that its campaign lost would have brought, and what our impressions would have changed in
the users.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.checks import check_above_zero, check_choice, check_whole
from rllib_seq.envs.ad_auction.log_replay.auction_log import AuctionLog
from rllib_seq.envs.ad_auction.log_replay.click_model import ClickModel
from rllib_seq.envs.ad_auction.log_replay.price_model import PriceModel
from rllib_seq.envs.ad_auction.log_replay.user_past import user_past
from rllib_seq.envs.ad_auction.market.auctions import AUCTIONS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

REWARDS = ("clicks", "expected", "regret")
GAINS = ("click", "conversion", "value")
WORTHS = ("response", "fields")
STREAMS = ("campaign", "user")
_REQUESTS = 1000  # of an episode, as in the literature (Cai et al. 2017)
_BASES = 100  # that are tried for the linear bid
_EPISODES = 100  # of the training days on which they are tried, at most


@dataclass(frozen=True)
class ReplayConfig:
    """How a log is replayed."""

    budget_ratio: float = 1 / 32
    """Budget of an episode: this share of what all its requests would cost at the mean price of the
    training days."""
    episode_requests: int | None = None
    """Requests of an episode; None: 1000, or a quarter of the training days' if that is less."""
    held_out_days: int | None = None
    """See `AuctionLog.split`."""
    auction: str = "second_price"
    """A key of `market.AUCTIONS`: the winner pays the market price, or their bid."""
    reward: str = "regret"
    """"clicks": a logged click counts 1; of an auction that the log lost, its probability.
    "expected": a win counts its click probability, in units of the mean. "regret": what the bid
    brings more than the paced bid (`PacedBids`) would have brought, on average over the prices of
    64 requests around this one, with the rest of the budget counted at `Market.worth_of_rest`. By
    the performance difference lemma its sum is the gain over pacing, as far as that worth is
    exact; the luck of prices is taken out. For training: in evaluation all count clicks."""
    gain: str = "click"
    """What counts: a click, a conversion of the user within 30 days of the impression (the last one
    before it), or the value of these conversions."""
    worth: str = "response"
    """Where the worth of a request comes from: "response", a model of the user's past, if the
    training days have enough gains and it is better on the last of them; or "fields", a logistic
    regression on the request's own fields."""
    stream: str = "campaign"
    """Whose history a step's past is: "campaign" or "user"."""

    def __post_init__(self) -> None:
        """Raises ValueError with one line that names the value and the fix."""
        check_above_zero("budget_ratio", self.budget_ratio)
        if self.episode_requests is not None:
            check_whole("episode_requests", self.episode_requests, 1)
        if self.held_out_days is not None:
            check_whole("held_out_days", self.held_out_days, 1)
        check_choice("auction", self.auction, AUCTIONS)
        check_choice("reward", self.reward, REWARDS)
        check_choice("gain", self.gain, GAINS)
        check_choice("worth", self.worth, WORTHS)
        check_choice("stream", self.stream, STREAMS)


class Market:
    """What the training days teach about clicks and prices.

    Args:
        log: the training days; without an auction that was won, all are worth alike.
        auction: see `ReplayConfig`.

    Attributes:
        clicks: the click model; with another gain, of impressions that brought any.
        mean_gain: of the impressions that brought any.
        mean_price: of an auction.
        mean_probability: expected gain of an impression; a probability if the gain is a click.
    """

    def __init__(self, log: AuctionLog, auction: str) -> None:
        sizes = {name: len(words) for name, words in log.words.items()} | {"hour": 24}
        seen = log.take(log.shown)
        self.clicks = ClickModel.fit(seen.features, seen.clicked, sizes)
        gains = log.gains[log.clicked]
        self.mean_gain = float(gains.mean()) if len(gains) and gains.any() else 1.0
        self.mean_price = float(log.price.mean())
        if not self.mean_price > 0:
            raise ValueError("the market prices of the training days are all 0; nothing to pace")
        expected = self.expected(log)
        self.mean_probability = float(expected.mean())
        worth = expected / self.mean_probability
        # A linear bid `base * worth` wins where price / worth is at most the base.
        base = log.price / worth
        order = np.argsort(base, kind="stable")
        self._base = base[order]
        won = np.cumsum(worth[order]) / len(log)
        cost = np.cumsum(log.price[order]) / len(log)
        if auction == "first_price":
            cost = np.maximum.accumulate(self._base * won)
        self._cost = np.concatenate([[0.0], cost])
        self._won = np.concatenate([[0.0], won])

    def expected(self, log: AuctionLog) -> Floats:
        """`[n]`: expected gain of an impression; its click probability if the gain is a click."""
        if log.worth is not None:
            return log.worth
        return self.clicks.probability(log.features) * self.mean_gain

    def worth(self, log: AuctionLog) -> Floats:
        """`[n]`: the same, in units of the training days' mean."""
        return self.expected(log) / self.mean_probability

    def bases(self, count: int) -> Floats:
        """Bases of a linear bid that win ever more of the training days, `[count]`."""
        return np.quantile(self._base, np.linspace(0.0, 1.0, count + 1)[1:])

    def worth_of_rest(self, budget: Floats, requests: Ints | Floats) -> Floats:
        """What so much budget brings in so many requests of the training days.

        `n * G(b / n)`, where G(c) is what the linear bid brings per request that costs c per
        request: the fluid limit of pacing.

        Args:
            budget: b, any shape.
            requests: n, the same.

        Returns:
            Expected clicks in units of the mean probability, same shape; 0 without requests.
        """
        per_request = budget / np.maximum(requests, 1)
        return requests * np.interp(per_request, self._cost, self._won)

    def base_of_rest(self, budget: Floats, requests: Ints | Floats) -> Floats:
        """The base at which so many requests would just cost the budget, same shape."""
        at = np.searchsorted(self._cost, budget / np.maximum(requests, 1), side="right") - 1
        return self._base[np.clip(at, 0, len(self._base) - 1)]


class ReplayWorld:
    """A log, split into training and held-out days, with the market of the former.

    Args:
        log: at least two auctions.
        config: how it is replayed.

    Attributes:
        train, held_out: `AuctionLog` of these days, prices filled by the training days' model.
        modelled_prices: share of the held-out prices that the log does not tell.
        market: of the training days.
        episode_requests: N.
        budget: of an episode of N requests.
        base: of the linear bid `base * worth`, the best one on the training days.

    Raises:
        ValueError: the log has too few days or requests.

    Examples:
        >>> time = np.arange(400) * 3_600_000_000
        >>> zeros = np.zeros(400, np.int64)
        >>> log = AuctionLog(time, zeros, np.full(400, 2.0), zeros > 0, {}, {})
        >>> world = ReplayWorld(log, ReplayConfig(budget_ratio=0.5))
        >>> len(world.train), world.episode_requests, world.budget
        (312, 78, 78.0)
    """

    def __init__(self, log: AuctionLog, config: ReplayConfig) -> None:
        self.config = config
        if config.stream == "user":
            log = dataclasses.replace(log, past=user_past(log))
        train, held_out = log.split(config.held_out_days)
        self.notes = _notes(log, train)
        """What has to be known about the days, in sentences."""
        self.modelled_prices = float(held_out.censored.mean())
        if log.censored.any():
            bid = np.full(len(train), np.nan) if train.bid is None else train.bid
            model = PriceModel.fit(train.price, bid, train.shown)
            train, held_out = train.with_prices(model), held_out.with_prices(model)
        self.train, self.held_out = train, held_out
        self.words = log.words
        self.market = Market(self.train, config.auction)
        most = len(self.train)
        requests = config.episode_requests or max(1, min(_REQUESTS, most // 4))
        if requests > most:
            raise ValueError(
                f"episode_requests is {requests}, and the training days have {most}; give at most "
                f"{most}"
            )
        self.episode_requests = requests
        self.budget = self.budget_of(requests)
        self.base = self._linear_base()

    def of_fields(self) -> ReplayWorld:
        """The same world, every request worth what its own fields say, without its user's past."""
        if self.train.worth is None:
            return self
        other = copy.copy(self)
        other.train = dataclasses.replace(self.train, worth=None)
        other.held_out = dataclasses.replace(self.held_out, worth=None)
        other.market = Market(other.train, self.config.auction)
        other.base = other._linear_base()
        return other

    def budget_of(self, requests: int) -> float:
        """Budget of an episode of so many requests."""
        return requests * self.market.mean_price * self.config.budget_ratio

    def held_out_episodes(self) -> list[slice]:
        """The held-out days in episodes of about N requests, equally long but for one request."""
        count = max(1, round(len(self.held_out) / self.episode_requests))
        ends = np.linspace(0, len(self.held_out), count + 1).round().astype(int).tolist()
        return [slice(*ends) for ends in zip(ends[:-1], ends[1:], strict=True)]

    def _linear_base(self) -> float:
        """The base with most expected clicks on the training days, budgets included.

        All candidates play the same episodes; real-time bidding's standard baseline (Perlich et
        al. 2012).
        """
        length, total = self.episode_requests, len(self.train)
        count = min(_EPISODES, total // length)
        starts = np.linspace(0, total - length, count).round().astype(int)
        rows = starts[:, None] + np.arange(length)  # (episodes, N)
        worth, price = self.market.worth(self.train)[rows], self.train.price[rows]
        bases = self.market.bases(_BASES)
        clear = AUCTIONS[self.config.auction]
        left = np.full((len(bases), count), self.budget)
        gained = np.zeros(left.shape)
        for t in range(length):
            bids = np.minimum(bases[:, None] * worth[:, t], left)
            won, paid = clear(bids, np.broadcast_to(price[:, t], bids.shape), 0.0)
            left -= paid
            gained += won * worth[:, t]
        return float(bases[gained.sum(axis=1).argmax()])


def _notes(log: AuctionLog, train: AuctionLog) -> list[str]:
    notes = []
    if len(log.days) == 1:
        notes.append("the log has one day: the last quarter of its auctions is held out")
    if not train.shown.any():
        notes.append("no auction to train on was won: nothing says who clicks, all are worth alike")
    return notes

"""Markets in which advertisers bid against each other, side by side as arrays.

- `SelfPlayConfig`: how many, which auction, which budgets
- `SharedMarketArrays`: see `envs.array_env.ArrayEnv`; every advertiser of a market is a stream
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.checks import check_above_zero, check_choice, check_keys, check_whole
from rllib_seq.envs.ad_auction.market.auctions import AUCTIONS, minimum_to_win, sell

Array = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

FIELDS = (
    ("value", "what the coming request is worth to the advertiser"),
    ("budget_left", "share of their budget that is left; 1 without a budget"),
    ("requests_left", "share of the episode's requests that is left, the coming one included"),
    ("to_win", "the minimum to win that they were answered after the last request; 0 at first"),
)
"""Name and meaning of the components of an observation, in order; all lie in [0, 1]."""


@dataclass(frozen=True)
class SelfPlayConfig:
    """The keys of the env config."""

    num_advertisers: int = 3
    auction: str = "first_price"
    """A key of `market.AUCTIONS`."""
    requests: int = 50
    """Of one episode."""
    budget: float | None = None
    """Hard limit on the spend of each advertiser in an episode; None: no limit."""

    def __post_init__(self) -> None:
        """Raises ValueError with one line that names the value and the fix."""
        check_whole("num_advertisers", self.num_advertisers, 2)
        check_whole("requests", self.requests, 1)
        check_choice("auction", self.auction, AUCTIONS)
        if self.budget is not None:
            check_above_zero("budget", self.budget)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> SelfPlayConfig:
        """Builds the config from an env config.

        Raises:
            ValueError: on an unknown key or a bad value.
        """
        check_keys(config, [field.name for field in dataclasses.fields(cls)])
        return cls(**config)


class SharedMarketArrays:
    """E markets of n advertisers each; row `i * n + j` is advertiser j of market i.

    Args:
        config: of every market.
        num_episodes: E.
        seed: of the first market, the next number of the second and so on; as in Gymnasium, it
            fixes the episodes that follow, too.
    """

    rewards_at_once = True

    def __init__(self, config: SelfPlayConfig, num_episodes: int, seed: int | None) -> None:
        self.config = config
        self.num_episodes, self.slots = num_episodes, config.num_advertisers
        numbers = range(num_episodes)
        self.generators = [
            seeding.np_random(None if seed is None else seed + number)[0] for number in numbers
        ]
        self.values = np.zeros((num_episodes, config.requests, self.slots))
        """`[E, requests, n]`, of the episodes: an advertiser sees their own alone."""
        self.spent = np.zeros((num_episodes, self.slots))
        """`[E, n]`, in the episodes so far."""
        self.over = np.ones(num_episodes, np.bool_)
        self.truncated = np.zeros(num_episodes * self.slots, np.bool_)
        self._auction = AUCTIONS[config.auction]
        self._request = np.zeros(num_episodes, np.int64)
        self._to_win = np.zeros((num_episodes, self.slots))
        self._rewards = np.zeros((num_episodes, self.slots))

    @property
    def pending(self) -> Ints:
        """See `ArrayEnv`: all advertisers of a market bid on every request."""
        return np.flatnonzero(~self.ended)

    @property
    def ended(self) -> Bools:
        """See `ArrayEnv`."""
        return np.repeat(self.over, self.slots)

    def observe(self, rows: Ints) -> Array:
        """See `ArrayEnv`; float32 `[n, 4]`, see `FIELDS`."""
        config, market, who = self.config, rows // self.slots, rows % self.slots
        # After the last request the last value stands in: no one acts on it.
        request = np.minimum(self._request[market], config.requests - 1)
        seen = np.ones((len(rows), len(FIELDS)), np.float32)
        seen[:, 0] = self.values[market, request, who]
        if config.budget is not None:
            seen[:, 1] = np.clip(1.0 - self.spent[market, who] / config.budget, 0.0, 1.0)
        seen[:, 2] = 1.0 - self._request[market] / config.requests
        seen[:, 3] = self._to_win[market, who]
        return seen

    def take_rewards(self, rows: Ints) -> Floats:
        """See `ArrayEnv`."""
        rewards = self._rewards.reshape(-1)
        taken = rewards[rows]
        rewards[rows] = 0.0
        return taken

    def serve(self, rows: Ints, actions: Array) -> dict[str, Array]:
        """See `ArrayEnv`: sell a request in every market that is not over.

        Args:
            rows: `pending`.
            actions: shares of the value that are bid, `[n]` or `[n, 1]`.

        Raises:
            ValueError: a share is not in [0, 1].
        """
        share = np.asarray(actions, np.float64).reshape(-1, self.slots)  # (m, n)
        if not ((share >= 0) & (share <= 1)).all():
            raise ValueError(f"give shares of the value from 0 to 1, not {np.ravel(actions)}")
        market = rows[:: self.slots] // self.slots
        values = self.values[market, self._request[market]]
        bids = share * values
        if self.config.budget is not None:
            bids = np.where(bids <= self.config.budget - self.spent[market], bids, 0.0)
        winner, paid = sell(self._auction, bids, 0.0)
        won = winner[:, None] == np.arange(self.slots)  # (m, n)
        self._rewards[market] += np.where(won, values - paid[:, None], 0.0)
        self.spent[market] += np.where(won, paid[:, None], 0.0)
        self._to_win[market] = minimum_to_win(bids, winner, paid, 0.0)
        self._request[market] += 1
        self.over[market] = self._request[market] == self.config.requests
        one = np.ones(len(rows))
        return {"present": one, "survival": one, "won": won.ravel()}

    def begin(self, episodes: Ints) -> None:
        """See `ArrayEnv`."""
        self.values = self.values.copy()  # those of an episode before may have been kept
        for episode in episodes.tolist():
            self.values[episode] = self.generators[episode].random(self.values.shape[1:])
        for column in (self.spent, self._to_win, self._rewards, self._request):
            column[episodes] = 0
        self.over[episodes] = False

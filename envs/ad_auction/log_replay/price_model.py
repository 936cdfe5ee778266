"""Prices that a log does not tell, from wins and losses.

- `PriceModel`: a lognormal price, fitted to known and to censored prices.

A lost auction says that its price was above our bid, a win without a price that it was at most the
bid. Both count by their likelihood (Tobit; in bidding: Wu et al. 2015, "Predicting winning price in
real time bidding with censored data").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class PriceModel:
    """The logarithm of a price is normal."""

    mean: float
    """Of the logarithm."""
    deviation: float

    @classmethod
    def fit(cls, price: Floats, bid: Floats, won: Bools) -> PriceModel:
        """The most likely model.

        Args:
            price: `[n]`, NaN where it is not known.
            bid: `[n]`, our bid; needed where the price is not known.
            won: `[n]`; unknown prices of won auctions are at most the bid, others above it.

        Raises:
            ValueError: there is neither a known price, nor both a win and a loss with a bid.

        Examples:
            >>> rng = np.random.default_rng(0)
            >>> price, bid = rng.lognormal(1.0, 0.5, 4000), rng.lognormal(1.0, 0.5, 4000)
            >>> won = bid >= price
            >>> model = PriceModel.fit(np.where(won, price, np.nan), bid, won)
            >>> round(model.mean, 1), round(model.deviation, 1)
            (1.0, 0.5)
        """
        known = np.isnan(price) == 0
        above, below = ~known & ~won & (bid > 0), ~known & won & (bid > 0)
        if not known.any() and not (above.any() and below.any()):
            raise ValueError(
                "the training days have no known price; a replay needs a market_price, or bids "
                "that won and bids that lost"
            )
        smallest = np.min(price[known & (price > 0)], initial=np.inf)
        smallest = smallest if np.isfinite(smallest) else 1.0
        exact = np.log(np.maximum(price[known], smallest / 2))
        high, low = np.log(bid[above]), np.log(bid[below])
        every = np.concatenate([exact, high, low])

        def loss(weights: Floats) -> float:
            mean, deviation = weights[0], np.exp(weights[1])
            likelihood = -0.5 * (((exact - mean) / deviation) ** 2).sum() - len(exact) * weights[1]
            likelihood += special.log_ndtr((mean - high) / deviation).sum()
            likelihood += special.log_ndtr((low - mean) / deviation).sum()
            # Weak prior: keeps the spread finite where all prices are one.
            return float(-likelihood + 0.5 * (weights[1] - np.log(0.5)) ** 2)

        start = np.array([every.mean(), np.log(max(every.std(), 0.1))])
        found = optimize.minimize(loss, start, method="Nelder-Mead").x
        return cls(float(found[0]), float(np.exp(found[1])))

    def fill(self, price: Floats, bid: Floats, won: Bools) -> Floats:
        """`[n]`: known prices as they are, others at evenly spread quantiles of what they can be.

        Nothing is drawn: the same rows get the same prices.
        """
        unknown = np.flatnonzero(np.isnan(price))
        if not len(unknown):
            return price
        limit = (np.log(np.maximum(bid[unknown], 1e-12)) - self.mean) / self.deviation
        at = special.ndtr(limit)
        spread = (np.arange(1, len(unknown) + 1) * _GOLDEN) % 1.0
        share = np.where(won[unknown], spread * at, at + spread * (1 - at))
        values = np.exp(self.mean + self.deviation * special.ndtri(np.clip(share, 1e-12, 1 - 1e-9)))
        filled = price.copy()
        # Rounding must not bring a lost auction's price to the bid, or a won one's above it.
        over = np.nextafter(bid[unknown], np.inf)
        filled[unknown] = np.where(
            won[unknown], np.minimum(values, bid[unknown]), np.maximum(values, over)
        )
        return filled

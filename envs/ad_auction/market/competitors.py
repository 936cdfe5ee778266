"""Who sets the market price.

- `Competitors`: what a simulator asks of them, of any kind. Competitors that have values,
  budgets and pacing of their own are in `bidders`.
- `Stationary`: the simplest competitors, prices that are drawn from a distribution:
- `GammaPrices`: the smooth body that fits most public landscapes; `LognormalPrices`.
- `QuantilePrices`: a measured landscape, from quantiles and atoms (prices paid again and again).
- `load_landscape`: the landscape of a real campaign that ships with the package.

How a simulator plugs competitors in:

    competitors.reset([np.random.default_rng(seed_of_campaign)])  # one generator per campaign
    while requests are pending:
        uniforms = ...  # [n, competitors.num_draws], drawn by the simulator
        market_prices = competitors.prices(uniforms, channel, campaign, tick)[:, 0]
        won, paid = auctions.clear(bids, market_prices, channel)
        competitors.observe(bids_made)

Prices come from uniforms that the simulator draws before it sees any bid, so no competitor can
react to our bid of the same request. What `observe` tells them they use from the next tick on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Competitors(Protocol):
    """Everyone else in the market, for E campaigns in lockstep; see the module for the order."""

    num_draws: int
    """Uniforms that one request needs."""
    num_slots: int
    """S: how many of their bids count."""

    def reset(self, rngs: Sequence[np.random.Generator], campaigns: Ints | None = None) -> None:
        """Starts flights.

        Args:
            rngs: one generator per campaign, so that a campaign is the same in any company.
            campaigns: which of the E start again; None: E new ones, as many as generators.
        """

    def prices(self, uniforms: Floats, channel: Ints, campaign: Ints, tick: Ints) -> Floats:
        """The highest competing bids of n requests, `[n, S]`, highest first; 0 for none.

        Args:
            uniforms: `[n, num_draws]` in `[0, 1)`.
            channel: `[n]`, index of each request's channel.
            campaign: `[n]`, index below E of each request's campaign, in the order of time.
            tick: `[E]`, the tick of each campaign's flight; never decreases in a flight.
        """

    def observe(self, own_bids: Floats) -> None:
        """How the requests of the last `prices` went.

        Args:
            own_bids: `[n]`, the bids that we made; 0 for none.
        """


class MarketPrices(Protocol):
    """Distribution of the market price, in currency units per impression."""

    def ppf(self, probability: ArrayLike) -> Floats:
        """Quantile function: uniforms in `[0, 1)` to prices, same shape."""

    def cdf(self, price: ArrayLike) -> Floats:
        """Probability that the market price is at most `price`."""

    def mean_below(self, price: ArrayLike) -> Floats:
        """`E[X; X <= price]`: what a second-price bidder expects to pay at this bid."""


@dataclass(frozen=True)
class GammaPrices:
    """Gamma-distributed market prices.

    >>> prices = GammaPrices(shape=1.4, scale=0.04)
    >>> round(float(prices.mean_below(10.0)), 3)
    0.056
    """

    shape: float
    """Shape k; public landscapes have 1.1 to 1.9."""
    scale: float
    """Scale theta in currency units; the mean price is `shape * scale`."""

    def ppf(self, probability: ArrayLike) -> Floats:
        """See `MarketPrices.ppf`."""
        return self.scale * special.gammaincinv(self.shape, np.asarray(probability, np.float64))

    def cdf(self, price: ArrayLike) -> Floats:
        """See `MarketPrices.cdf`."""
        return special.gammainc(self.shape, np.maximum(price, 0.0) / self.scale)

    def mean_below(self, price: ArrayLike) -> Floats:
        """See `MarketPrices.mean_below`."""
        mean = self.shape * self.scale
        return mean * special.gammainc(self.shape + 1.0, np.maximum(price, 0.0) / self.scale)


@dataclass(frozen=True)
class LognormalPrices:
    """Lognormal market prices.

    >>> float(LognormalPrices(median=60.0, spread=0.85).cdf(60.0))
    0.5
    """

    median: float
    """In currency units."""
    spread: float
    """Standard deviation of the logarithm."""

    def ppf(self, probability: ArrayLike) -> Floats:
        """See `MarketPrices.ppf`."""
        z = special.ndtri(np.asarray(probability, np.float64))
        return self.median * np.exp(self.spread * z)

    def cdf(self, price: ArrayLike) -> Floats:
        """See `MarketPrices.cdf`."""
        return special.ndtr(self._z(price))

    def mean_below(self, price: ArrayLike) -> Floats:
        """See `MarketPrices.mean_below`."""
        mean = self.median * np.exp(self.spread**2 / 2)
        return mean * special.ndtr(self._z(price) - self.spread)

    def _z(self, price: ArrayLike) -> Floats:
        with np.errstate(divide="ignore"):  # log(0) = -inf is right
            return np.log(np.maximum(price, 0.0) / self.median) / self.spread


class QuantilePrices:
    """Market prices from a table of quantiles with atoms.

    Between the given quantiles the quantile function is linear; an atom is a flat piece of it.
    A quantile that coincides with an atom says where the jump lies and adds no further knot.

    Args:
        quantiles: probability in (0, 1) to price, increasing.
        atoms: price to its probability mass.
        cap: the highest possible price.
    """

    def __init__(
        self, quantiles: Mapping[float, float], atoms: Mapping[float, float], cap: float
    ) -> None:
        knots: list[tuple[float, float]] = [(0.0, 0.0), (1.0, cap)]  # (probability, price)
        body = [(p, x) for p, x in sorted(quantiles.items()) if x not in atoms]
        knots += body
        for price, mass in sorted(atoms.items()):
            below = _mass_below(price, body, atoms, cap)
            knots += [(below, price), (below + mass, price)]
        # An atom near a quantile may overlap it by rounding of the table: keep both monotone.
        knots.sort(key=lambda knot: (knot[1], knot[0]))
        self._p = np.maximum.accumulate([p for p, _ in knots])
        self._x = np.array([x for _, x in knots], np.float64)
        areas = np.diff(self._p) * (self._x[1:] + self._x[:-1]) / 2
        self._area = np.concatenate([[0.0], np.cumsum(areas)])

    def ppf(self, probability: ArrayLike) -> Floats:
        """See `MarketPrices.ppf`."""
        return np.interp(np.asarray(probability, np.float64), self._p, self._x)

    def cdf(self, price: ArrayLike) -> Floats:
        """See `MarketPrices.cdf`."""
        price = np.asarray(price, np.float64)
        right = np.clip(np.searchsorted(self._x, price, side="right"), 1, len(self._x) - 1)
        x0, x1 = self._x[right - 1], self._x[right]
        share = np.clip((price - x0) / np.where(x1 > x0, x1 - x0, 1.0), 0.0, 1.0)
        inside = self._p[right - 1] + share * (self._p[right] - self._p[right - 1])
        return np.where(price >= self._x[-1], 1.0, np.where(price < 0, 0.0, inside))

    def mean_below(self, price: ArrayLike) -> Floats:
        """See `MarketPrices.mean_below`; exact, the quantile function is piecewise linear."""
        p = self.cdf(price)
        left = np.clip(np.searchsorted(self._p, p, side="right") - 1, 0, len(self._p) - 2)
        return self._area[left] + (p - self._p[left]) * (self._x[left] + self.ppf(p)) / 2


class Stationary:
    """Competitors without memory: every request's market price is drawn from one distribution.

    Args:
        distribution: of the highest competing bid.
    """

    num_draws = 1
    num_slots = 1

    def __init__(self, distribution: MarketPrices) -> None:
        self.distribution = distribution

    def reset(self, rngs: Sequence[np.random.Generator], campaigns: Ints | None = None) -> None:
        """See `Competitors.reset`."""

    def prices(self, uniforms: Floats, channel: Ints, campaign: Ints, tick: Ints) -> Floats:
        """See `Competitors.prices`."""
        return self.distribution.ppf(uniforms)

    def observe(self, own_bids: Floats) -> None:
        """They remember nothing."""


def _mass_below(
    price: float, body: list[tuple[float, float]], atoms: Mapping[float, float], cap: float
) -> float:
    """Probability strictly below an atom: the body is interpolated without the atoms' mass."""
    x = [0.0] + [q for _, q in body] + [cap]
    jumps = [sum(mass for atom, mass in atoms.items() if atom < q) for q in x]
    smooth = np.array([0.0] + [p for p, _ in body] + [1.0]) - np.array(jumps)
    below = sum(mass for atom, mass in atoms.items() if atom < price)
    return float(np.interp(price, x, smooth) + below)


def load_landscape(campaign: str, unit: float = 1.0) -> QuantilePrices:
    """The market prices of a real campaign.

    Args:
        campaign: a key of `data/landscapes.json`, which names its source.
        unit: currency units per unit of the table (the table holds prices per mille).

    Raises:
        ValueError: if the table does not hold the campaign.
    """
    file = resources.files("rllib_seq.envs.ad_auction").joinpath("data/landscapes.json")
    table = json.loads(file.read_text())
    if campaign not in table["campaigns"]:
        known = ", ".join(table["campaigns"])
        raise ValueError(f"unknown landscape {campaign!r}; choose one of: {known}")
    row = table["campaigns"][campaign]
    return QuantilePrices(
        {float(p) / 100: x * unit for p, x in row["quantiles"].items()},
        {float(x) * unit: mass for x, mass in row["atoms"].items()},
        cap=table["cap"] * unit,
    )

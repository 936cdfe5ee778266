"""What bids win and pay, learned from the auctions of a bidder who sees only their own outcomes.

A lost request shows that the price was above the bid, a win in a second-price auction shows the
price, and a win in a first-price auction only that the price was not above the bid. With m the
clearing price of a request, the price to beat or the floor if that is higher,

    F(b) = P(m <= b),    payment(b) = E[m; m <= b] in second price,  b F(b) in first price.

- `price_model`: F and payments of all bid levels, from censored outcomes
- `price_models`: the same for each channel, or any other context
- `cell_masses`: the distribution behind it, self-consistent (Turnbull 1976). Where losses alone are
  censored, it is the estimator of Kaplan and Meier (1958).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["PriceModel", "cell_masses", "price_model", "price_models"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_TOLERANCE = 1e-10
_MOST_ROUNDS = 2000
_PRIOR = 200.0  # auctions of all contexts that one context's own auctions are weighed against


class PriceModel(NamedTuple):
    """Of A bid levels."""

    win: Floats
    """`[A]`, chance to win; never falls."""
    payment: Floats
    """`[A]`, expected payment, wins and losses together, currency units."""


def price_model(
    levels: Floats,
    action: Ints,
    won: Bools,
    paid: Floats,
    auction: str,
    minimum_to_win: Floats | None = None,
) -> PriceModel:
    """Estimate what every bid level wins and pays.

    Prices fall into the cells between the levels; those above the highest level share one more.

    Args:
        levels: bids in currency units, rising, the first 0 (no bid), `[A]`.
        action: which level was bid, `[N]`.
        won: `[N]`.
        paid: per impression, `[N]`; read where won.
        auction: "second_price" or "first_price".
        minimum_to_win: the clearing price where someone reported it, NaN elsewhere, `[N]`.

    Raises:
        ValueError: the auction is unknown, or a price or payment is above the bid that won.
    """
    if auction not in ("second_price", "first_price"):
        raise ValueError(f"auction is {auction!r}; give 'second_price' or 'first_price'")
    size = len(levels)
    price = np.full(len(action), np.nan)
    if auction == "second_price":
        price[won] = paid[won]
    if minimum_to_win is not None:
        reported = ~np.isnan(minimum_to_win)
        price[reported] = minimum_to_win[reported]
    exact = ~np.isnan(price)
    # Cell c (1 to A - 1) holds the prices in (level c-1, level c]; cell A what no level beats.
    cell = np.full(len(action), size)
    cell[exact] = np.maximum(np.searchsorted(levels, price[exact] * (1 - 1e-6)), 1)
    if (cell[exact & won] > action[exact & won]).any():
        raise ValueError("a win was dearer than its bid; give what was bid and paid, one for one")
    first = np.where(exact, cell, np.where(won, 1, action + 1))
    last = np.where(exact, cell, np.where(won, action, size))
    masses = cell_masses(first - 1, last - 1, size)
    win = np.concatenate([[0.0], np.cumsum(masses[:-1])])
    if auction == "first_price":
        return PriceModel(win, win * levels)
    count = np.bincount(cell[exact], minlength=size + 1)[1:size]
    total = np.bincount(cell[exact], np.where(exact, price, 0.0)[exact], size + 1)[1:size]
    middle = (levels[1:] + levels[:-1]) / 2
    mean = np.where(count > 0, total / np.maximum(count, 1), middle)
    return PriceModel(win, np.concatenate([[0.0], np.cumsum(masses[:-1] * mean)]))


def price_models(
    levels: Floats,
    action: Ints,
    won: Bools,
    paid: Floats,
    auction: str,
    context: Ints,
    contexts: int,
) -> PriceModel:
    """Estimate a price model for each of K contexts, such as channels.

    Contexts of which little is known lean on all of them together: n own auctions weigh n against
    200.

    Args:
        levels: see `price_model`; also the following.
        action: `[N]`.
        won: `[N]`.
        paid: `[N]`.
        auction: "second_price" or "first_price".
        context: of each auction, `[N]`.
        contexts: K.

    Returns:
        arrays `[K, A]`.
    """
    pooled = price_model(levels, action, won, paid, auction)
    rows = []
    for number in range(contexts):
        mine = context == number
        own = price_model(levels, action[mine], won[mine], paid[mine], auction)
        weight = mine.sum() / (mine.sum() + _PRIOR)
        rows.append([weight * a + (1 - weight) * b for a, b in zip(own, pooled, strict=True)])
    return PriceModel(*(np.stack(part) for part in zip(*rows, strict=True)))


def cell_masses(first: Ints, last: Ints, cells: int) -> Floats:
    """Return the most likely masses of C cells, `[C]`, from N values known to lie in runs of cells.

    The masses are self-consistent: each is the mean share of the observations that it explains.

        p_c = 1/N sum_n [first_n <= c <= last_n] p_c / P(first_n..last_n)

    Args:
        first: lowest cell of each value, `[N]`.
        last: highest, `[N]`, at least `first`.
        cells: C.
    """
    counts = np.zeros((cells, cells))
    np.add.at(counts, (first, last), 1.0)
    # A run that is all cells says nothing.
    counts[0, cells - 1] = 0.0
    total = counts.sum()
    masses = np.full(cells, 1.0 / cells)
    if total == 0:
        return masses
    rows, columns = np.nonzero(counts)
    weights = counts[rows, columns] / total
    covers = (rows[:, None] <= np.arange(cells)) & (np.arange(cells) <= columns[:, None])
    for _ in range(_MOST_ROUNDS):
        inside = covers @ masses
        # Where no mass is left, no value of the run is explained by what is there.
        share = weights / np.maximum(inside, 1e-300)
        after = masses * (share @ covers)
        change = np.abs(after - masses).max()
        masses = after
        if change < _TOLERANCE:
            break
    return masses / masses.sum()

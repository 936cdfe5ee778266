"""Equilibria of auctions with independent private values, numerically exact on grids.

A strategy is `[V]`: the bids at V equally likely values of its bidder.

- `win_probability`: of a bid against rivals who play strategies.
- `best_first_price_bids`: best response to any distribution of the market price.
- `first_price_regret`: what bidders would gain by their best responses; 0 in equilibrium.
- `best_response_play`: fictitious play to the symmetric equilibrium.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def win_probability(rivals: Floats, bids: Floats) -> Floats:
    """Probability `[K]` that bids `[K]` beat all rivals; a tie with one rival is won half the time.

    Args:
        rivals: `[R, V]`, strategies.
        bids: `[K]`.
    """
    ordered = np.sort(rivals, axis=1)
    share = np.ones(len(bids))
    for rival in ordered:
        below, up_to = (np.searchsorted(rival, bids, side) for side in ("left", "right"))
        share *= (below + up_to) / (2 * len(rival))
    return share


def best_first_price_bids(values: Floats, grid: Floats, win: Floats) -> tuple[Floats, Floats]:
    """Best bids and what they earn, each `[V]`: the maximum over the grid of (value - bid) * win.

    Args:
        values: `[V]`.
        grid: `[K]`, bids to choose from.
        win: `[K]`, the probability that each wins.
    """
    surplus = (values[:, None] - grid) * win
    best = surplus.argmax(axis=1)
    return grid[best], surplus[np.arange(len(values)), best]


def first_price_regret(values: Floats, strategies: Floats, grid: Floats) -> Floats:
    """`[A]`: mean gain of each bidder if they alone played their best response on the grid.

    Args:
        values: `[V]`, equally likely.
        strategies: `[A, V]`, what each of A bidders bids at these values.
        grid: `[K]`, bids to deviate to.
    """
    regret = np.empty(len(strategies))
    for i, own in enumerate(strategies):
        rivals = np.delete(strategies, i, axis=0)
        _, best = best_first_price_bids(values, grid, win_probability(rivals, grid))
        regret[i] = np.mean(best - (values - own) * win_probability(rivals, own))
    return regret


def best_response_play(values: Floats, num_bidders: int, grid: Floats, rounds: int) -> Floats:
    """Fictitious play of a first-price auction, from bidding the truth.

    Every round all bidders move towards the best response by 1 / (round + 1).

    Args:
        values: `[V]`, equally likely values of each bidder.
        num_bidders: n.
        grid: `[K]`, bids to choose from.
        rounds: how often.

    Returns:
        The common strategy `[V]` after the last round.
    """
    bids = values.copy()
    for t in range(1, rounds + 1):
        rivals = np.broadcast_to(bids, (num_bidders - 1, len(bids)))
        best, _ = best_first_price_bids(values, grid, win_probability(rivals, grid))
        bids += (best - bids) / (t + 1)
    return bids

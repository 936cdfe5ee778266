"""Single-slot auctions as pure functions over arrays.

- `second_price`: the winner pays what he had to beat.
- `first_price`: the winner pays his bid.

A bid wins when it is positive and reaches both the market price (the highest competing bid) and
the floor. The market price is given: it never depends on our own bid.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["AUCTIONS", "Auction", "first_price", "second_price"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Auction = Callable[[Floats, Floats, float], tuple[Bools, Floats]]


def second_price(bids: Floats, market_prices: Floats, floor: float) -> tuple[Bools, Floats]:
    """Clears second-price auctions.

    Args:
        bids: `[n]`, currency units per impression; 0 means no bid.
        market_prices: `[n]`, the highest competing bid of each auction.
        floor: the lowest price at which the seller sells.

    Returns:
        `won [n]` and the clearing price `paid [n]` (0 where lost), `max(market price, floor)`.
    """
    to_beat = np.maximum(market_prices, floor)
    won = (bids > 0) & (bids >= to_beat)
    return won, np.where(won, to_beat, 0.0)


def first_price(bids: Floats, market_prices: Floats, floor: float) -> tuple[Bools, Floats]:
    """Clears first-price auctions: as `second_price`, but the winner pays his own bid."""
    won, _ = second_price(bids, market_prices, floor)
    return won, np.where(won, bids, 0.0)


AUCTIONS: dict[str, Auction] = {"second_price": second_price, "first_price": first_price}

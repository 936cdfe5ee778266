"""The newest auctions of a bidder, and what they say of prices.

- `PriceHistory`
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_seq.lift.prices import PriceModel, price_models

__all__ = ["PriceHistory"]

Array = NDArray[Any]

_COLUMNS = ("action", "won", "paid", "context")


class PriceHistory:
    """Keeps the last auctions, whole batches of them.

    Args:
        levels: bids in currency units, rising, the first 0 (no bid), `[A]`.
        auction: "second_price" or "first_price".
        contexts: K, such as channels, each with prices of its own; 1 for one price for all.
        capacity: auctions that are kept, at least.
    """

    def __init__(
        self, levels: NDArray[np.float64], auction: str, contexts: int, capacity: int = 200_000
    ) -> None:
        self._levels, self._auction, self._contexts = levels, auction, contexts
        self._capacity = capacity
        self._batches: list[dict[str, Array]] = []

    def __len__(self) -> int:
        """Return how many auctions there are."""
        return sum(len(batch["won"]) for batch in self._batches)

    def add(self, action: Array, won: Array, paid: Array, context: Array) -> None:
        """Add N auctions.

        Args:
            action: which level was bid, `[N]`.
            won: `[N]`.
            paid: per impression, currency units, `[N]`; read where won.
            context: of each auction, `[N]`.
        """
        columns = np.asarray(action), np.asarray(won, np.bool_), np.asarray(paid), context
        self._batches.append(dict(zip(_COLUMNS, columns, strict=True)))
        while len(self) - len(self._batches[0]["won"]) >= self._capacity:
            del self._batches[0]

    def models(self) -> PriceModel:
        """Return what every bid level wins and pays in each context, `[K, A]`."""
        action, won, paid, context = (
            np.concatenate([batch[name] for batch in self._batches]) for name in _COLUMNS
        )
        return price_models(
            self._levels,
            action,
            won,
            paid.astype(np.float64),
            self._auction,
            context,
            self._contexts,
        )

    def get_state(self) -> list[Mapping[str, Array]]:
        """Return what `set_state` takes."""
        return list(self._batches)

    def set_state(self, state: list[dict[str, Array]]) -> None:
        """Go on where `get_state` was called."""
        self._batches = list(state)

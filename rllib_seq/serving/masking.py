"""Which actions show which creative.

- `CreativeChoice`: from creatives that can be shown to actions that can be taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class CreativeChoice:
    """Actions of a policy that chooses creatives.

    Args:
        creatives: how many there are (A).
        actions: how many flat actions, the creative running fastest.

    >>> CreativeChoice(3, 6).allowed(np.array([0b101])).astype(int).tolist()
    [[1, 0, 1, 1, 0, 1]]
    """

    def __init__(self, creatives: int, actions: int) -> None:
        self._bits = 1 << np.arange(creatives, dtype=np.int64)
        self._levels = actions // creatives

    @classmethod
    def of(cls, kind: str, sizes: Sequence[int], names: Sequence[str]) -> CreativeChoice | None:
        """The choice of a policy; None for one that does not choose.

        Args:
            kind: see `envs.ad_auction.worlds.actions`.
            sizes: of the parts of an action.
            names: of the creatives.
        """
        if kind == "levels" or len(names) < 2:
            return None
        return cls(len(names), math.prod(sizes))

    def allowed(self, creatives: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Flat actions that can be taken `[n, actions]`, of creatives as bits `[n]`; None: all."""
        shown = (creatives[:, None] & self._bits) != 0
        return None if shown.all() else np.tile(shown, (1, self._levels))

"""How bidders try out what they would not bid: in one way along a user's whole journey.

What a win changes shows many requests later, so a journey is explored from its first request to
its last. Bids are moved on a log scale, in which the units of a world's money make no difference.

- `JourneyExploration`
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["JourneyExploration"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_WOBBLE = 0.7  # of the bids of users who are bid for at random, around their level, log scale


class JourneyExploration:
    """Draws for every journey how it is explored, and moves bids accordingly.

    Every journey has a factor, lognormal, that its bids are multiplied by. A share of the journeys
    is bid for at random: around a level of their own, which lies anywhere between the lowest and
    the highest on a log scale.

    Args:
        levels: bids in currency units, rising, the first 0 (no bid), `[A]`.
        streams: how many journeys go on at a time.
        spread: standard deviation of the logarithm of the factor.
        seed: of the draws.

    Attributes:
        share: of the journeys that begin from now on, those that are bid for at random.
    """

    def __init__(self, levels: Floats, streams: int, spread: float, seed: int | None) -> None:
        self.share = 0.0
        self._rng = np.random.default_rng(seed)
        self._spread = spread
        self._log_levels = np.log(levels[1:])
        self._factor = np.zeros(streams)
        self._wanders = np.zeros(streams, np.bool_)
        self._level = np.zeros(streams)

    def begin(self, streams: Ints) -> None:
        """Draw again for streams `[n]` that begin a journey."""
        rng, size = self._rng, len(streams)
        self._factor[streams] = rng.normal(0.0, self._spread, size)
        self._wanders[streams] = rng.random(size) < self.share
        self._level[streams] = rng.uniform(self._log_levels[0], self._log_levels[-1], size)

    def choose(self, streams: Ints, greedy: Ints) -> Ints:
        """Return the levels to bid, `[n]`.

        Args:
            streams: whose requests, `[n]`.
            greedy: the best levels, `[n]`; where that is no bid, the lowest one is moved.
        """
        bid = self._log_levels[np.maximum(greedy, 1) - 1] + self._factor[streams]
        wobble = self._level[streams] + _WOBBLE * self._rng.standard_normal(len(streams))
        bid = np.where(self._wanders[streams], wobble, bid)
        place = np.interp(bid, self._log_levels, np.arange(len(self._log_levels)))
        # Between two levels, each is bid as often as it is near.
        return 1 + np.floor(place + self._rng.random(len(place))).astype(np.int64).clip(
            max=len(self._log_levels) - 1
        )

"""What requests are worth to the bidders of a market.

- `UniformValues`, `LognormalValues`: the values of one request to each of them.
- `Regimes`: values that jump now and then over the flight.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class ValueModel(Protocol):
    """What requests are worth to B bidders."""

    def num_draws(self, num_bidders: int) -> int:
        """Uniforms that one request needs."""

    def draw(self, uniforms: Floats, channel: Ints) -> Floats:
        """Values `[n, B]` in currency units of requests on channels `[n]`."""


@dataclass(frozen=True)
class UniformValues:
    """Independent, uniform on [0, highest]: the textbook."""

    highest: float = 1.0

    def num_draws(self, num_bidders: int) -> int:
        """See `ValueModel.num_draws`."""
        return num_bidders

    def draw(self, uniforms: Floats, channel: Ints) -> Floats:
        """See `ValueModel.draw`."""
        return self.highest * uniforms


@dataclass(frozen=True)
class LognormalValues:
    """Lognormal values with a common part: what one bidder likes, others tend to like.

    log(value / median) = spread * (sqrt(correlation) z_0 + sqrt(1 - correlation) z_bidder), and the
    first of the uniforms makes z_0.
    """

    median: tuple[float, ...]
    """`[C]`, by channel, or `[1]`, of all channels; in currency units."""
    spread: float
    """Standard deviation of the logarithm."""
    correlation: float
    """Of the logarithms of two bidders' values."""

    def num_draws(self, num_bidders: int) -> int:
        """See `ValueModel.num_draws`."""
        return 1 + num_bidders

    def draw(self, uniforms: Floats, channel: Ints) -> Floats:
        """See `ValueModel.draw`."""
        z = special.ndtri(uniforms)
        common = self.spread * math.sqrt(self.correlation) * z[:, 0]
        values = self.spread * math.sqrt(1.0 - self.correlation) * z[:, 1:]
        medians = np.log(self.median)
        values += ((medians[channel] if len(medians) > 1 else medians) + common)[:, None]
        return np.exp(values, out=values)


@dataclass(frozen=True)
class Regimes:
    """From time to time all values jump to a new level, half together, half each for themselves."""

    changes: int
    """Jumps in a flight, at random ticks."""
    spread: float
    """Standard deviation of the logarithm of a level."""

    def draw(
        self, rng: np.random.Generator, num_ticks: int, num_bidders: int
    ) -> tuple[Ints, Floats]:
        """Ticks of the jumps `[changes]` and levels `[changes + 1, B]` of one flight."""
        ticks = np.sort(rng.integers(1, max(num_ticks, 2), self.changes))
        z = rng.standard_normal((self.changes + 1, 1 + num_bidders))
        return ticks, np.exp(self.spread * math.sqrt(0.5) * (z[:, :1] + z[:, 1:]))

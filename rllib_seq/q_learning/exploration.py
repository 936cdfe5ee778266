"""Exploration that is constant along a journey instead of new at every step.

- `EpsilonLadder`: how much each stream explores, as in Ape-X (Horgan et al. 2018)
- `StreamExploration`: the connector that gives every new stream its epsilon or its noise
- `noise_of`: the noise of a stream, from its seed

Epsilon that is new at every step hardly ever tries two unusual things in a row, which is what a
journey needs. On a ladder some streams follow the policy closely, so that the far end of a journey
is seen, and some try everything. With noise, a stream follows one other policy to its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rllib_seq.errors import UserError
from rllib_seq.models.rl_module.connectors import StreamColumns

EPSILON = "epsilon_of_stream"
NOISE_SEED = "noise_seed_of_stream"


@dataclass(frozen=True)
class EpsilonLadder:
    """Rungs `base ** (1 + alpha * i / (rungs - 1))`; every stream draws one and keeps it.

    Examples:
        >>> [round(float(epsilon), 3) for epsilon in EpsilonLadder(rungs=3).epsilons()]
        [0.4, 0.016, 0.001]
    """

    base: float = 0.4
    """Highest epsilon, in (0, 1)."""
    alpha: float = 7.0
    """How far the ladder reaches down: the lowest epsilon is `base ** (1 + alpha)`."""
    rungs: int = 8

    def __post_init__(self) -> None:
        """Raises UserError that names the value and the fix."""
        if not 0 < self.base < 1:
            raise UserError(f"base of the epsilon ladder is {self.base}; give a number in (0, 1)")
        if not self.alpha >= 0:
            raise UserError(f"alpha of the epsilon ladder is {self.alpha}; give at least 0")
        if type(self.rungs) is not int or self.rungs < 2:
            raise UserError(f"rungs of the epsilon ladder are {self.rungs!r}; give at least 2")

    def epsilons(self) -> np.ndarray:
        """`[rungs]`, highest first."""
        return self.base ** (1 + self.alpha * np.linspace(0, 1, self.rungs))


class StreamExploration(StreamColumns):
    """How each stream explores, drawn at its first step.

    The draws come from numpy's global generator, which RLlib seeds on every runner.
    """

    def __init__(self, ladder: EpsilonLadder | None) -> None:
        """Build the connector.

        Args:
            ladder: gives epsilons; None gives seeds of noise, and epsilon 0.
        """
        super().__init__()
        self.epsilons = None if ladder is None else ladder.epsilons()

    def draw(self, count: int) -> dict[str, NDArray[Any]]:
        """Draw `EPSILON` and, for noise, `NOISE_SEED` of streams that begin, `[count]` each."""
        if self.epsilons is not None:
            return {EPSILON: np.random.choice(self.epsilons, count).astype(np.float32)}
        seeds = np.random.randint(2**31, size=count)
        return {EPSILON: np.zeros(count, np.float32), NOISE_SEED: seeds}


def noise_of(seeds: Tensor, width: int) -> Tensor:
    """Standard normal draws `[N, width]` of seeds `[N]`: the same for the same seed."""
    rows = [np.random.default_rng(seed).standard_normal(width) for seed in seeds.tolist()]
    return torch.as_tensor(np.array(rows), dtype=torch.float32, device=seeds.device)

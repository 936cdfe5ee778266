"""The optimum under partial information: the most that anybody can earn who does not see stages.

- `optimum`: an upper bound, and the advantages by which the best bids are made.
- `OptimalBids`: the policy that follows them; what it earns is a lower bound.

The bidder knows the numbers of the world, filters the stage as `BayesBids` does, and unlike it
counts on what later requests will tell. On the grid of beliefs see `worlds.beliefs`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.references.oracles import BayesBids
from rllib_seq.envs.ad_auction.worlds.beliefs import BeliefGrid, belief_grid, solve
from rllib_seq.envs.ad_auction.worlds.values import is_exact
from rllib_seq.envs.ad_auction.worlds.world import Preset

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Optimum(NamedTuple):
    """Result of `optimum`."""

    upper_bound: float
    """No bidder who does not see stages earns more per user in the mean, currency units."""
    grid: BeliefGrid
    advantage: Floats
    """`[R, n, K, C]`: worth of winning over losing, by request, grid belief, segment, channel."""


def optimum(preset: Preset) -> Optimum | None:
    """The optimum under partial information of a world; None where it is not known.

    It is known where `values.is_exact` is (no budget, flight or rivals, effects that do not vary)
    and for at most 5 stages.
    """
    grid = belief_grid(preset)
    if grid is None or not is_exact(preset):
        return None
    best = solve(preset, grid)
    return Optimum(best.value, grid, best.advantage)


class OptimalBids(BayesBids):
    """Bids the best response to the advantage of the optimum at the belief.

    Args:
        best: of the world that is played, see `optimum`.
    """

    name = "optimal"

    def __init__(self, best: Optimum) -> None:
        self._best = best

    def advantage(self, users: Ints) -> Floats:
        """See `BayesBids.advantage`."""
        sim, best = self._simulator, self._best
        near, weight = best.grid.mix(self.belief[users])
        segment, request = sim.state.segment[users], sim.request[users]
        channel = sim.channel(users)
        by_point = best.advantage[request[:, None], near, segment[:, None], channel[:, None]]
        return (weight * by_point).sum(axis=1)

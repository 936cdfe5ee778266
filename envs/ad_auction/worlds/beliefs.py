"""Values over beliefs: what a bidder can earn who infers the hidden stage from what it sees.

- `BeliefGrid`: points of the simplex of beliefs, and any belief as a mixture of its neighbours.
- `belief_grid`: the grid of a world, or None where it would be too large.
- `solve`: backward induction over (request, grid belief), of the best bids or of given ones.

The worth of a belief is convex in the belief (Sondik, 1971): information never harms. A mixture of
grid points is therefore never worth less than the belief between them, and backward induction that
interpolates bounds the optimum under partial information from above (Lovejoy, 1991).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.worlds.values import (
    best_response,
    expected_auction,
    kernels,
    return_rates,
)
from rllib_seq.envs.ad_auction.worlds.world import Preset

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_STEPS = {1: 1, 2: 256, 3: 96, 4: 32, 5: 16}
"""Steps of the grid by number of stages: at most 6,545 points, a second of work."""
_WARP = 1.5  # closer points where later stages are unlikely: most users are there


@dataclass(frozen=True, eq=False)
class BeliefGrid:
    """Beliefs whose tails `P(stage >= i)` are all on one axis.

    The simplices between them are those of Kuhn (1960): the tails fall with `i`, so each belief
    lies in a cell of the axis' product, and the order of the distances to its lower corner tells
    in which of the cell's simplices.
    """

    axis: Floats
    """`[N + 1]`, from 0 to 1, rising."""
    points: Floats
    """`[n, S]` beliefs."""
    place: Ints
    """`[(N + 1) ** (S - 1)]`: number of the point with these tails; -1 where there is none."""

    @classmethod
    def of(cls, num_stages: int, steps: int) -> BeliefGrid:
        """The grid of beliefs over S stages with N steps on each axis."""
        axis = (np.arange(steps + 1) / steps) ** _WARP
        falling = itertools.combinations_with_replacement(range(steps, -1, -1), num_stages - 1)
        every = list(falling)
        tails = np.array(every, np.int64).reshape(len(every), num_stages - 1)
        place = np.full((steps + 1) ** (num_stages - 1), -1)
        place[tails @ _strides(num_stages, steps)] = np.arange(len(tails))
        ends = np.ones((len(tails), 1)), np.zeros((len(tails), 1))
        points = -np.diff(np.concatenate([ends[0], axis[tails], ends[1]], axis=1), axis=1)
        return cls(axis, points, place)

    def mix(self, beliefs: Floats) -> tuple[Ints, Floats]:
        """Writes beliefs as mixtures of grid points.

        Args:
            beliefs: `[m, S]`.

        Returns:
            `[m, S]` numbers of points and their weights, which sum to 1.
        """
        num_stages, steps = beliefs.shape[1], len(self.axis) - 1
        tails = np.cumsum(beliefs[:, :0:-1], axis=1)[:, ::-1].clip(0.0, 1.0)  # (m, S - 1)
        cell = np.searchsorted(self.axis, tails, side="right") - 1
        cell = np.minimum(cell, steps - 1)
        inside = (tails - self.axis[cell]) / np.diff(self.axis)[cell]
        order = np.argsort(-inside, axis=1, kind="stable")
        falling = np.take_along_axis(inside, order, axis=1)
        edge = np.ones((len(beliefs), 1))
        weights = -np.diff(np.concatenate([edge, falling, 0 * edge], axis=1), axis=1)
        strides = _strides(num_stages, steps)
        corner = (cell @ strides)[:, None]
        codes = np.concatenate([corner, corner + np.cumsum(strides[order], axis=1)], axis=1)
        return self.place[codes], weights


def _strides(num_stages: int, steps: int) -> Ints:
    return (steps + 1) ** np.arange(num_stages - 1)


def belief_grid(preset: Preset) -> BeliefGrid | None:
    """The grid that is used for a world; None with more than 5 stages."""
    num_stages = len(preset.users.stages)
    steps = _STEPS.get(num_stages)
    return None if steps is None else BeliefGrid.of(num_stages, steps)


class BeliefValues(NamedTuple):
    """Result of `solve`."""

    value: float
    """Profit per user, currency units."""
    advantage: Floats
    """`[R, n, K, C]`: worth of winning over losing at a request, by belief, segment, channel."""
    potential: Floats
    """`[R + 1, n, K]`: worth of a user before each request; after the last, 0."""


def solve(
    preset: Preset, grid: BeliefGrid, bids: Callable[[int, Floats], Floats] | None = None
) -> BeliefValues:
    """Backward induction over requests and beliefs: those of the grid, and the first.

    Exact on the dynamics where `values.is_exact` is; between grid points linear. Of the best bids
    the value is an upper bound of every bidder's who does not see the stage. Of given bids it is an
    approximation.

    Args:
        preset: the world.
        grid: over its stages.
        bids: from a request and `[m, S]` beliefs to `[m, K, C]` bids, currency units; None: the
            best.
    """
    model, audience = preset.users, preset.users.audience
    worth = preset.value * audience.value_factor  # (K,)
    beliefs = np.concatenate([grid.points, model.initial_share[None]])  # (m, S)
    lost, won = _outcomes(preset, grid, beliefs)
    converts_lost, converts_won = beliefs @ model.hazard_lost, beliefs @ model.hazard_won
    after = np.zeros((len(beliefs), len(worth)))  # (m, K)
    advantages, potentials = [], [after]
    rates = return_rates(model)
    for request in reversed(range(len(rates))):
        after = rates[request] * after
        if_lost = converts_lost[:, None] * worth + lost.mean(after)[:, 0]  # (m, K)
        if_won = converts_won[:, None, None] * worth + won.mean(after)  # (m, C, K)
        advantage = (if_won - if_lost[:, None]).swapaxes(1, 2)  # (m, K, C)
        made = best_response(preset, advantage) if bids is None else bids(request, beliefs)
        win, payment = expected_auction(preset, made)
        gain = win * advantage - (1.0 + preset.shadow_price) * payment
        after = if_lost + gain @ model.channel_share
        advantages.append(advantage)
        potentials.append(after)
    value = float(after[-1] @ audience.segment_share)
    return BeliefValues(
        value, np.stack(advantages[::-1])[:, :-1], np.stack(potentials[::-1])[:, :-1]
    )


class _Outcomes(NamedTuple):
    """What may be seen after a request with users who stay, as mixtures of grid points."""

    near: Ints
    """`[m, A, O, S]` by belief, case and signals."""
    weight: Floats
    """The same; the sum over the last two axes is the chance that the user stays."""

    def mean(self, values: Floats) -> Floats:
        """`[m, A, K]`: mean of `[m, K]` worths over what may be seen."""
        beliefs, cases = self.near.shape[:2]
        flat = self.weight.reshape(beliefs * cases, -1)
        near = self.near.reshape(flat.shape)
        each = [(flat * column[near]).sum(axis=1) for column in values.T]
        return np.stack(each, axis=1).reshape(beliefs, cases, -1)


def _outcomes(preset: Preset, grid: BeliefGrid, beliefs: Floats) -> tuple[_Outcomes, _Outcomes]:
    """After a loss (one case), and after a win (one for each channel)."""
    model = preset.users
    step = kernels(model)
    visit = np.stack([1 - model.visit, model.visit], axis=1)  # (S', visited)
    click = np.stack([1 - model.click, model.click], axis=2)  # (S, C, clicked)
    lost = np.einsum("ns,sz,zv->nvz", beliefs, step.lost, visit)
    won = np.einsum("ns,scz,sck,zv->nckvz", beliefs, step.won, click, visit, optimize=True)
    (count, stages), channels = beliefs.shape, click.shape[1]
    return (
        _mixtures(grid, lost.reshape(count, 1, 2, stages)),
        _mixtures(grid, won.reshape(count, channels, 4, stages)),
    )


def _mixtures(grid: BeliefGrid, joint: Floats) -> _Outcomes:
    """`joint`: `[m, A, O, S]`, probabilities of what is seen together with the next stage."""
    chance = joint.sum(axis=-1, keepdims=True)
    belief = joint / np.maximum(chance, 1e-300)
    belief[..., 0] += 1.0 - belief.sum(axis=-1)  # what cannot be seen counts for nothing
    near, weight = grid.mix(belief.reshape(-1, joint.shape[-1]))
    return _Outcomes(near.reshape(joint.shape), weight.reshape(joint.shape) * chance)

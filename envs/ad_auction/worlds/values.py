"""Exact values of the journey: what an auction, a win and a stage are worth.

- `expected_auction`, `best_response`: a bid in one auction against the market's prices.
- `full_information`: backward induction over (request, stage) for a bidder who sees the stage.
- `Regret`: what a bid gives away against that bidder, a training signal without luck in it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.journey.users import JourneyModel, Response
from rllib_seq.envs.ad_auction.worlds.world import Preset

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def expected_auction(preset: Preset, bids: Floats) -> tuple[Floats, Floats]:
    """Probability of winning and expected payment of each bid, same shapes as `bids`."""
    floor, prices = preset.floor, preset.prices
    enters = (bids > 0) & (bids >= floor)
    win = np.where(enters, prices.cdf(bids), 0.0)
    if preset.auction == "first_price":
        return win, win * bids
    at_floor = floor * prices.cdf(floor)
    above = prices.mean_below(bids) - prices.mean_below(floor)
    return win, np.where(enters, at_floor + above, 0.0)


def best_response(preset: Preset, advantage: Floats) -> Floats:
    """The bid that maximizes `P(win) * advantage - (1 + lambda) * E[payment]`.

    Args:
        preset: the market.
        advantage: what winning is worth more than losing, currency units, any shape.

    Returns:
        Bids of the same shape; 0 where no bid pays. In a second-price auction the truth,
        `advantage / (1 + lambda)`; in a first-price auction the best of a fine grid.
    """
    worth = np.maximum(advantage, 0.0) / (1.0 + preset.shadow_price)
    if preset.auction == "second_price":
        return worth
    return np.interp(worth, *_first_price_responses(preset))


@lru_cache(maxsize=8)
def _first_price_responses(preset: Preset) -> tuple[Floats, Floats]:
    """Worths and the best bid at each; the best bid rises with the worth, so interpolate."""
    grid = np.concatenate([[0.0], np.geomspace(1e-4, 1.0, 2000) * preset.value])
    win, payment = expected_auction(preset, grid)
    return grid, grid[np.argmax(win[None] * grid[:, None] - payment[None], axis=1)]


class Kernels(NamedTuple):
    """One-request dynamics of users who stay."""

    lost: Floats  # (S, S') without impression: no conversion, maybe one down
    won: Floats  # (S, C, S') with impression: no conversion, no churn, maybe one up


def kernels(model: JourneyModel) -> Kernels:
    """The dynamics of a journey, see `Kernels`."""
    same = np.eye(len(model.stages))
    up, down = np.roll(same, 1, axis=1), np.roll(same, -1, axis=1)
    up[-1], down[0] = same[-1], same[0]
    lost = (1 - model.hazard_lost)[:, None] * (same + model.move_down[:, None] * (down - same))
    stays = (1 - model.hazard_won) * (1 - model.churn)
    moves = same[:, None] + model.move_up[:, :, None] * (up - same)[:, None]
    return Kernels(lost, stays[:, None, None] * moves)


class FullInformation(NamedTuple):
    """Result of `full_information`."""

    value: float
    """Expected profit per user, currency units."""
    advantage: Floats
    """`[K, R, S, C]`: worth of winning over losing at a request, by segment, stage and channel."""
    potential: Floats
    """`[K, R + 1, S]`: worth of a user before each request, its channel not yet known; last, 0."""


def full_information(preset: Preset) -> FullInformation:
    """Backward induction of the bidder who sees the stage.

    Exact where an impression's effect depends on stage and channel alone (`is_exact`); what wears
    out or appeals to some (see `users.Creatives`) is left out.
    """
    model, audience = preset.users, preset.users.audience
    step = kernels(model)
    cost = 1.0 + preset.shadow_price
    worth = (preset.value * audience.value_factor)[:, None]  # (K, 1)
    v_next = np.zeros((len(worth), len(model.stages)))
    advantages, potentials = [], [v_next]
    for return_probability in return_rates(model)[::-1]:
        v_next = return_probability * v_next
        q_lost = worth * model.hazard_lost + v_next @ step.lost.T  # (K, S)
        q_won = (worth * model.hazard_won)[..., None] + np.einsum("scz,kz->ksc", step.won, v_next)
        advantage = q_won - q_lost[..., None]
        win, payment = expected_auction(preset, best_response(preset, advantage))
        v_next = q_lost + (win * advantage - cost * payment) @ model.channel_share
        advantages.append(advantage)
        potentials.append(v_next)
    value = float(audience.segment_share @ v_next @ model.initial_share)
    stack = [np.stack(parts[::-1], axis=1) for parts in (advantages, potentials)]
    return FullInformation(value, *stack)


def is_exact(preset: Preset) -> bool:
    """Whether `full_information` is: no budget, flight or rivals, and no effect wears out."""
    endless = math.isinf(preset.budget_per_user) and math.isinf(preset.flight_hours)
    return endless and preset.rivals is None and not preset.users.effects_vary


def return_rates(model: JourneyModel) -> Floats:
    """`[R]`: probability of another request after each."""
    if model.return_probability is not None:
        return model.return_probability
    return np.append(np.ones(model.requests_per_user - 1), 0.0)


class Regret:
    """Minus what bids give away against the full-information bidder.

    A request pays what its bid earns, then and later under the full-information policy, less what
    that policy's bid would earn at the same request: the advantage of the full-information policy,
    with the same luck on both sides, and so hardly any. By the performance difference lemma (Kakade
    and Langford, 2002) these add up, in the mean and for every policy, to its profit minus that of
    the full-information policy.

    Where `full_information` is not exact (`is_exact`) they add up to about that, and single
    requests may pay above 0; of the bids at a request the same is best.

    Args:
        preset: the world.
    """

    def __init__(self, preset: Preset) -> None:
        self._preset = preset
        full = full_information(preset)
        self._potential = full.potential
        self._best = best_response(preset, full.advantage)  # (K, R, S, C)

    def __call__(
        self,
        bids: Floats,
        segment: Ints,
        request: Ints,
        stage: Ints,
        channel: Ints,
        more: Bools,
        in_flight: float | Floats = 1.0,
        response: Response | None = None,
    ) -> Floats:
        """Returns the negative regret of `n` bids, currency units, 0 for the best.

        Args:
            bids: `[n]`, bids that were made.
            segment: `[n]`, of the user.
            request: `[n]`, index of the request in the user's journey.
            stage: `[n]`, hidden stage before it.
            channel: `[n]`, its channel.
            more: `[n]`, whether the user has another request in the flight.
            in_flight: probability that a conversion caused now happens before the flight ends.
            response: what multiplies the impression's effect.
        """
        model = self._preset.users
        value = in_flight * self._preset.value * model.audience.value_factor[segment]
        after = self._potential[segment, request + 1] * more[:, None]  # (n, S')
        each = np.arange(len(request))
        stays, last = after[each, stage], after.shape[1] - 1
        up = after[each, np.minimum(stage + 1, last)] - stays
        down = after[each, np.maximum(stage - 1, 0)] - stays
        move_up = model.move_up[stage, channel]
        if response is not None:
            move_up = np.minimum(move_up * response.move, 1.0)
        hazard, churn = model.hazard_won[stage], model.churn[stage]
        won = value * hazard + (1 - hazard) * (1 - churn) * (stays + move_up * up)
        hazard = model.hazard_lost[stage]
        lost = value * hazard + (1 - hazard) * (stays + model.move_down[stage] * down)
        best = self._best[segment, request, stage, channel]
        earned, possible = _surplus(self._preset, np.stack([bids, best]), won - lost)
        return earned - possible


def _surplus(preset: Preset, bids: Floats, advantage: Floats) -> Floats:
    """What bids gain over not bidding, in the mean over market prices; shape of `bids`."""
    win, payment = expected_auction(preset, bids)
    return win * advantage - (1.0 + preset.shadow_price) * payment

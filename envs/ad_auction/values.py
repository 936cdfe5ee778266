"""Exact values of the journey: what an auction, a win and a stage are worth.

- `expected_auction`, `best_response`: a bid in one auction against the market's prices.
- `full_information`: backward induction over (request, stage) for a bidder who sees the stage.
- `Regret`: what a bid gives away against that bidder, a training signal without luck in it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.ad_auction.presets import Preset
from envs.ad_auction.users import JourneyModel

__all__ = [
    "FullInformation",
    "Kernels",
    "Regret",
    "best_response",
    "expected_auction",
    "full_information",
    "kernels",
]

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
    """`[R, S, C]`: worth of winning over losing at a request, by stage and channel."""
    potential: Floats
    """`[R + 1, S]`: worth of a user before each request, its channel not yet known; last, 0."""


def full_information(preset: Preset) -> FullInformation:
    """Backward induction of the bidder who sees the stage."""
    model = preset.users
    step = kernels(model)
    cost = 1.0 + preset.shadow_price
    v_next = np.zeros(len(model.stages))
    advantages, potentials = [], [v_next]
    for _ in range(model.requests_per_user):
        q_lost = preset.value * model.hazard_lost + step.lost @ v_next  # (S,)
        q_won = preset.value * model.hazard_won[:, None] + step.won @ v_next  # (S, C)
        advantage = q_won - q_lost[:, None]
        win, payment = expected_auction(preset, best_response(preset, advantage))
        v_next = q_lost + (win * advantage - cost * payment) @ model.channel_share
        advantages.append(advantage)
        potentials.append(v_next)
    value = float(model.initial_share @ v_next)
    return FullInformation(value, np.stack(advantages[::-1]), np.stack(potentials[::-1]))


class Regret:
    """Minus what bids give away against the full-information policy.

    A request pays the expected profit of its bid, then and later under the full-information policy,
    minus what that policy would make of it: the advantage of the full-information policy. By the
    performance difference lemma (Kakade and Langford, 2002) these add up, in the mean and for every
    policy, to its profit minus that of the full-information policy; it is the potential-based
    shaping of Ng et al. (1999) with all luck of the request taken out. What is best stays best.

    Args:
        preset: the world.
    """

    def __init__(self, preset: Preset) -> None:
        self._preset = preset
        self._kernels = kernels(preset.users)
        full = full_information(preset)
        self._potential = full.potential
        surplus = _surplus(preset, best_response(preset, full.advantage), full.advantage)
        # The channel comes after the potential: what it adds has mean zero.
        mean = surplus @ preset.users.channel_share
        self._luck_of_channel = surplus - mean[..., None]  # (R, S, C)

    def __call__(
        self,
        bids: Floats,
        request: Ints,
        stage: Ints,
        channel: Ints,
        more: Bools,
        in_flight: float = 1.0,
    ) -> Floats:
        """Returns the negative regret of `n` bids, currency units, about 0 for the best.

        Args:
            bids: `[n]`, bids that were made.
            request: `[n]`, index of the request in the user's journey.
            stage: `[n]`, hidden stage before it.
            channel: `[n]`, its channel.
            more: `[n]`, whether the user has another request in the flight.
            in_flight: probability that a conversion caused now happens before the flight ends.
        """
        model, value = self._preset.users, in_flight * self._preset.value
        after = self._potential[request + 1] * more[:, None]  # (n, S')
        lost = value * model.hazard_lost[stage] + (self._kernels.lost[stage] * after).sum(axis=1)
        won = value * model.hazard_won[stage]
        won = won + (self._kernels.won[stage, channel] * after).sum(axis=1)
        made = lost + _surplus(self._preset, bids, won - lost)
        best = self._potential[request, stage] + self._luck_of_channel[request, stage, channel]
        return made - best


def _surplus(preset: Preset, bids: Floats, advantage: Floats) -> Floats:
    """What bids gain over not bidding, in the mean over market prices; same shapes."""
    win, payment = expected_auction(preset, bids)
    return win * advantage - (1.0 + preset.shadow_price) * payment

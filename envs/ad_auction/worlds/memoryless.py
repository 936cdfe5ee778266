"""Bids without memory: the best that see little, and what they earn.

- `best_fixed`, `best_memoryless`, `best_one_step`: the best bids that see the channel alone, the
  signals of the current request, or these and whether the last request was won; exact joint
  distribution of stage and signals, policy iteration.
"""

from __future__ import annotations

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


class Memoryless(NamedTuple):
    """Result of `best_fixed`, `best_memoryless` and `best_one_step`."""

    value: float
    """Expected profit per user, currency units."""
    bids: Floats
    """`[2, 2, 2, C]`: bids by won, clicked, visited (since the last request) and channel."""


def best_fixed(preset: Preset) -> Memoryless:
    """The best bids that see the channel alone."""
    return _policy_iteration(preset, group=np.zeros(8, np.int64))


def best_memoryless(preset: Preset) -> Memoryless:
    """The best bids that see the signals of the current request: channel, click and visit."""
    return _policy_iteration(preset, group=np.arange(8) % 4)


def best_one_step(preset: Preset) -> Memoryless:
    """The best bids that see these signals and whether the user's last request was won."""
    return _policy_iteration(preset, group=np.arange(8))


def _policy_iteration(preset: Preset, group: Ints, iterations: int = 60) -> Memoryless:
    """Iterates bids = best response to the mean advantage, given what is seen, of these bids.

    The mean is taken over the joint distribution of request, stage and signals under the bids
    themselves; the step is damped by half, and the best bids met are kept.

    Args:
        preset: the world.
        group: `[8]`, signals o = 4 * won + 2 * clicked + visited that look alike share a number.
        iterations: enough for bids to settle to 1e-6.
    """
    model = preset.users
    step, cost = kernels(model), 1.0 + preset.shadow_price
    num_stages, num_channels = model.click.shape
    visit = np.stack([1 - model.visit, model.visit], axis=1)  # (S', visited)
    click = np.stack([1 - model.click, model.click], axis=2)  # (S, C, clicked)
    to_lost = np.zeros((num_stages, num_stages, 8))  # no win, no click: o = 0, 1
    to_lost[:, :, :2] = np.einsum("sz,zv->szv", step.lost, visit)
    to_won = np.zeros((num_stages, num_channels, num_stages, 8))  # o = 4 .. 7
    signals = np.einsum("scz,sck,zv->sczkv", step.won, click, visit)
    to_won[..., 4:] = signals.reshape(num_stages, num_channels, num_stages, 4)
    alike = group[:, None] == group  # (o, o')

    bids = np.full((8, num_channels), preset.value * 0.05)
    best = Memoryless(-np.inf, bids)
    for _ in range(iterations):
        win, payment = expected_auction(preset, bids)
        profit_now = -cost * payment @ model.channel_share  # (o,)
        v_next = np.zeros((num_stages, 8))
        advantages = []
        for return_probability in return_rates(model)[::-1]:
            v_next = return_probability * v_next
            q_lost = preset.mean_value * model.hazard_lost
            q_lost = q_lost + np.einsum("szo,zo->s", to_lost, v_next)
            q_won = preset.mean_value * model.hazard_won[:, None]
            q_won = q_won + np.einsum("sczo,zo->sc", to_won, v_next)
            advantage = q_won - q_lost[:, None]  # (S, C)
            gain = np.einsum("oc,sc,c->so", win, advantage, model.channel_share)
            v_next = q_lost[:, None] + gain + profit_now
            advantages.append(advantage)
        value = float(model.initial_share @ v_next[:, 0])
        if value > best.value:
            best = Memoryless(value, bids)

        joint = np.zeros((num_stages, 8))  # P(stage, signals, still here)
        joint[:, 0] = model.initial_share
        weighted, mass = np.zeros((8, num_channels)), np.zeros(8)
        for advantage, return_probability in zip(
            advantages[::-1], return_rates(model), strict=True
        ):
            weighted += np.einsum("so,sc->oc", joint, advantage)
            mass += joint.sum(axis=0)
            lost = np.einsum("so,oc,c->s", joint, 1 - win, model.channel_share)
            won = np.einsum("so,oc,c->sc", joint, win, model.channel_share)
            joint = np.einsum("s,szo->zo", lost, to_lost) + np.einsum("sc,sczo->zo", won, to_won)
            joint *= return_probability
        mean = (alike @ weighted) / np.maximum(alike @ mass, 1e-300)[:, None]
        bids = (bids + best_response(preset, mean)) / 2
    return best._replace(bids=best.bids.reshape(2, 2, 2, num_channels))

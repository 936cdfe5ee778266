"""The requests of a tick and their auctions, of one flight or of many side by side.

- `random_streams`: the random numbers of a flight, apart for every purpose
- `draw_tick`, `requests_of`, `Requests`: what comes in a tick
- `clear_tick`: who wins and sees what, at which price
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.market.auctions import own_slot
from rllib_seq.envs.ad_auction.tick.worlds import TickWorld

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Each purpose has its own child of the seed; append new ones, never reorder.
_PURPOSES = ("traffic", "channel", "values", "exposure", "conversion", "regimes")


def random_streams(seed: np.random.SeedSequence) -> dict[str, np.random.Generator]:
    """A generator for each purpose; the same seed gives the same ones."""
    return {
        # Not seed.spawn(): it counts its calls, and a second reset would differ.
        name: np.random.default_rng(
            np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, i))
        )
        for i, name in enumerate(_PURPOSES)
    }


class Draws(NamedTuple):
    """Uniforms of the n requests of a tick."""

    channel: Floats
    """`[n]`."""
    values: Floats
    """`[n, num_draws + 1]`: for the values of all bidders, ours last."""
    exposure: Floats
    """`[n]`: whether an impression is seen."""


def draw_tick(
    rng: Mapping[str, np.random.Generator], world: TickWorld, mean: float | None, num_draws: int
) -> Draws:
    """Draws how many requests come, and all that is random about them.

    Args:
        rng: see `random_streams`.
        world: how much traffic varies.
        mean: requests to expect; None: the flight is over, none come.
        num_draws: uniforms per request for the values of competitors.
    """
    n = 0
    if mean is not None:
        noise = world.traffic_noise * rng["traffic"].standard_normal() - world.traffic_noise**2 / 2
        n = int(rng["traffic"].poisson(mean * np.exp(noise)))
    return Draws(
        rng["channel"].random(n),
        rng["values"].random((n, num_draws + 1)),
        rng["exposure"].random(n),
    )


class Requests(NamedTuple):
    """The requests of one tick, each `[n]`, in the order of time."""

    channel: Ints
    probability: Floats
    """That a seen impression converts; a bidder's prediction, and exact."""
    counts: Floats
    """What the goal counts, expected of a seen impression: conversions, or their value."""
    worth: Floats
    """What the impression may cost: counts * `Goal.unit`."""


def requests_of(world: TickWorld, draws: Draws) -> Requests:
    """The requests that these draws make."""
    share = np.cumsum(world.channel_share)[:-1]
    channel = np.searchsorted(share, draws.channel, side="right")
    own = draws.values[:, [0, -1]]  # the first makes what is common to all bidders
    probability = np.minimum(world.own_values.draw(own, channel)[:, 0], 1.0)
    value = probability * np.asarray(world.conversion_value)[channel]
    counts = world.goal.count(probability, value)
    return Requests(channel, probability, counts, world.goal.unit * counts)


def clear_tick(
    world: TickWorld, bids: Floats, prices: Floats, channel: Ints, visible: Floats
) -> tuple[Bools, Bools, Floats]:
    """The auctions of a tick, each as if the budget allowed its bid.

    Args:
        world: whose auctions and slots.
        bids: `[n]`.
        prices: `[n, S]` of the slots, falling.
        channel: `[n]`.
        visible: `[n]` uniforms, see `Draws.exposure`.

    Returns:
        `[n]` each: won, seen, and what is paid, for impressions that are seen.
    """
    if len(world.exposure) == 1:
        won, price = world.auctions.clear(bids, prices[:, 0], channel)
        slot = np.where(won, 0, 1)
    else:
        slot, price = own_slot(bids, prices, world.auctions.floor[channel])
        won = slot < len(world.exposure)
    seen = visible < np.append(world.exposure, 0.0)[slot]
    return won, seen, np.where(seen, price, 0.0)

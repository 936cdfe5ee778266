"""Worlds that are drawn by a seed: journeys that no one tuned on.

- `drawn_preset`: the world of a seed; the same in every process.
- `drawn_numbers`: one draw, whether or not memory pays in it.
- `worth_of_bayes`: what the Bayes bidder earns, to about 2 %.

A world is as `journey` is: a hidden Markov journey, a market price from a gamma distribution, no
budget and no end of the flight, so that all references are exact. All its numbers are drawn, most
of them log-uniformly around those of `journey`. Where memory pays too little (`LEAST_RATIO`) or
there is little to earn (`LEAST_WORTH`) the world is drawn again.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.journey.traffic import Traffic
from rllib_seq.envs.ad_auction.journey.users import JourneyModel
from rllib_seq.envs.ad_auction.market.competitors import GammaPrices
from rllib_seq.envs.ad_auction.worlds.beliefs import belief_grid, solve
from rllib_seq.envs.ad_auction.worlds.memoryless import best_one_step
from rllib_seq.envs.ad_auction.worlds.values import best_response, full_information
from rllib_seq.envs.ad_auction.worlds.world import Preset

Floats = NDArray[np.float64]

STAGES = ("unaware", "aware", "interested", "considering", "intent")
CHANNELS = ("display", "video", "search", "social")
LEAST_RATIO = 1.35
"""Of the worth of Bayes to that of one step; it promises 1.3, and `worth_of_bayes` errs by 2 %."""
LEAST_WORTH = 0.04
"""Of Bayes per user, in conversion values: a third of what it is in `journey`."""
_LEVELS = 16


@lru_cache(maxsize=32)
def drawn_preset(world_seed: int) -> Preset:
    """The world of a seed: the first of its draws in which memory pays.

    Args:
        world_seed: at least 0.
    """
    attempt = 0
    while True:
        preset = drawn_numbers(world_seed, attempt)
        bayes = worth_of_bayes(preset)
        if bayes >= LEAST_WORTH and bayes >= LEAST_RATIO * best_one_step(preset).value:
            return preset
        attempt += 1


def worth_of_bayes(preset: Preset) -> float:
    """Profit per user of the bids that `oracles.BayesBids` makes, currency units."""
    full, grid = full_information(preset).advantage, belief_grid(preset)
    assert grid is not None

    def bids(request: int, beliefs: Floats) -> Floats:
        return best_response(preset, np.einsum("ms,ksc->mkc", beliefs, full[:, request]))

    return solve(preset, grid, bids).value


def drawn_numbers(world_seed: int, attempt: int = 0) -> Preset:
    """One draw with the seed's 3 to 5 stages, 2 to 4 channels and 16 to 32 requests.

    Args:
        world_seed: at least 0.
        attempt: which of the seed's draws.
    """
    counts = np.random.default_rng(np.random.SeedSequence(world_seed, spawn_key=(0,)))
    stages, channels, requests = counts.integers((3, 2, 16), (6, 5, 33)).tolist()
    rng = np.random.default_rng(np.random.SeedSequence(world_seed, spawn_key=(1, attempt)))

    def between(low: float, high: float, size: int | tuple[int, ...] | None = None) -> Floats:
        """Log-uniform."""
        return np.exp(rng.uniform(math.log(low), math.log(high), size))

    rising = np.arange(stages) / (stages - 1)
    # Hardly any users begin in the last stage, however many there are before it.
    share = between(0.01, 0.06) ** rising * np.append(1.0, between(0.7, 1.4, stages - 1))
    # The first stage is left with difficulty, and impressions annoy in it. A longer way is faster.
    pace = (stages - 1) / 3
    up = np.concatenate([between(0.02, 0.06, 1), between(0.1, 0.25, stages - 2), np.zeros(1)])
    up *= pace
    hazard = np.zeros(stages)
    hazard[-2:] = between(0.01, 0.05), between(0.15, 0.35)
    by_channel = between(0.5, 2.0, (2, stages, channels))
    click = between(0.005, 0.02) * (between(10.0, 30.0) ** rising)
    users = JourneyModel(
        stages=(*STAGES[: stages - 1], STAGES[-1]),
        channels=CHANNELS[:channels],
        initial_share=share / share.sum(),
        channel_share=rng.dirichlet(np.full(channels, 8.0)),
        move_up=np.minimum(up[:, None] * by_channel[0], 0.6),
        move_down=np.concatenate([np.zeros(1), between(0.01, 0.08, stages - 1)]),
        hazard_won=hazard,
        hazard_lost=hazard * between(0.05, 0.2),
        churn=np.concatenate([between(0.03, 0.1, 1), between(0.005, 0.02, stages - 1)]),
        click=np.minimum(click[:, None] * by_channel[1], 0.6),
        visit=between(0.005, 0.02) * between(25.0, 40.0) ** rising,
        requests_per_user=requests,
        traffic=Traffic(arrival_hours=48.0, mean_gap_hours=float(rng.uniform(2.0, 4.0))),
    )
    shape, mean = float(rng.uniform(1.0, 2.0)), float(between(0.03, 0.08))
    return _with_levels(users, GammaPrices(shape=shape, scale=mean / shape))


def _with_levels(users: JourneyModel, prices: GammaPrices) -> Preset:
    """Bid levels up to what the full-information bidder bids at most, as in `journey`."""

    def preset(highest: float) -> Preset:
        return Preset(
            users=users,
            prices=prices,
            auction="second_price",
            floor=0.0,
            value=1.0,
            budget_per_user=math.inf,
            shadow_price=0.0,
            flight_hours=math.inf,
            lowest_bid=highest / 75,
            highest_bid=highest,
            num_bid_levels=_LEVELS,
        )

    return preset(float(full_information(preset(1.0)).advantage.max()))

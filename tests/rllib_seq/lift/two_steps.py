"""A world of two requests with a closed form.

Users are cold. An impression warms one in two of them, and only the warm visit; a won request
converts .4 of the warm. After the first request the visit tells all, so a history of two requests
is one of three: the first request, the second of a cold user, the second of a warm one.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from rllib_seq.envs.ad_auction.journey.traffic import Traffic
from rllib_seq.envs.ad_auction.journey.users import JourneyModel
from rllib_seq.envs.ad_auction.market.competitors import GammaPrices
from rllib_seq.envs.ad_auction.worlds.presets import PRESETS
from rllib_seq.envs.ad_auction.worlds.values import expected_auction

WARMED, CONVERTED, LOST, SCALE = 0.5, 0.4, 0.05, 0.1

PRESET = dataclasses.replace(
    PRESETS["journey"],
    users=JourneyModel(
        stages=("cold", "warm"),
        channels=("display",),
        initial_share=np.array([1.0, 0.0]),
        channel_share=np.ones(1),
        move_up=np.array([[WARMED], [0.0]]),
        move_down=np.zeros(2),
        hazard_won=np.array([0.0, CONVERTED]),
        hazard_lost=np.array([0.0, LOST]),
        churn=np.zeros(2),
        click=np.zeros((2, 1)),
        visit=np.array([0.0, 1.0]),
        requests_per_user=2,
        traffic=Traffic(arrival_hours=12.0, mean_gap_hours=3.0),
    ),
    prices=GammaPrices(shape=1.0, scale=SCALE),
    lowest_bid=0.01,
    highest_bid=0.5,
    num_bid_levels=16,
)


class Exact(NamedTuple):
    """Worth if lost and lift, at the first request and at the second of cold and of warm users."""

    lost: np.ndarray
    lift: np.ndarray


def exact(auction: str, shadow_price: float) -> Exact:
    """What a bidder of bid levels can earn, by backward induction."""
    preset = dataclasses.replace(PRESET, auction=auction, shadow_price=shadow_price)
    win, payment = expected_auction(preset, preset.bid_levels)

    def value(lost: float, lift: float) -> float:
        return float((lost + win * lift - (1 + shadow_price) * payment).max())

    second_cold, second_warm = (0.0, 0.0), (LOST, CONVERTED - LOST)
    cold, warm = value(*second_cold), value(*second_warm)
    first = cold, WARMED * (warm - cold)
    rows = np.array([first, second_cold, second_warm])
    return Exact(rows[:, 0], rows[:, 1])

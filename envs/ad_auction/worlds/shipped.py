"""The worlds that ship: every number, with its source.

- `PRESETS`: `journey` (the hidden stage makes memory pay; exact references exist), `display` (the
  market, hours, click rate and journey lengths of real campaigns; segments, devices, creatives that
  wear out, a budget, a flight that ends and conversions that come late) and `uniform` (one auction
  against a rival who bids U[0, 1]; everything has a closed form).
- `COMPETITORS`: who may bid against us instead of the prices of a preset.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from rllib_seq.envs.ad_auction.journey.traffic import Traffic, load_week
from rllib_seq.envs.ad_auction.journey.users import (
    Audience,
    ConversionDelay,
    Creatives,
    JourneyModel,
)
from rllib_seq.envs.ad_auction.market.bidders import Bidder
from rllib_seq.envs.ad_auction.market.competitors import GammaPrices, QuantilePrices, load_landscape
from rllib_seq.envs.ad_auction.market.pacing import PID, Constant, Hedge, OnlineDual, Proportional
from rllib_seq.envs.ad_auction.market.rivals import Rivals
from rllib_seq.envs.ad_auction.market.valuations import LognormalValues, Regimes
from rllib_seq.envs.ad_auction.worlds.world import Preset

# A hidden Markov journey in which the value of memory is known exactly.
_JOURNEY = JourneyModel(
    stages=("unaware", "aware", "considering", "intent"),
    channels=("display", "video", "search"),
    initial_share=np.array([0.60, 0.30, 0.08, 0.02]),
    channel_share=np.array([0.5, 0.2, 0.3]),
    move_up=np.array([[0.02, 0.06, 0.03], [0.15, 0.35, 0.10], [0.15, 0.10, 0.40], [0, 0, 0]]),
    move_down=np.array([0, 0.03, 0.05, 0.05]),
    hazard_won=np.array([0, 0, 0.03, 0.25]),
    hazard_lost=np.array([0, 0, 0.005, 0.03]),
    churn=np.array([0.06, 0.01, 0.01, 0.01]),
    click=np.array(
        [[0.01, 0.02, 0.02], [0.05, 0.10, 0.10], [0.10, 0.15, 0.30], [0.15, 0.15, 0.50]]
    ),
    visit=np.array([0.01, 0.10, 0.30, 0.60]),
    requests_per_user=24,
    traffic=Traffic(arrival_hours=48.0, mean_gap_hours=3.0),  # 24 requests in three days
)

_JOURNEY_PRESET = Preset(
    users=_JOURNEY,
    prices=GammaPrices(shape=1.4, scale=0.04),
    auction="second_price",
    floor=0.0,
    value=1.0,
    budget_per_user=math.inf,
    shadow_price=0.0,
    flight_hours=math.inf,
    # The oracle's bids lie between these; 16 log-spaced levels cost it .6 % of its profit.
    lowest_bid=0.004,
    highest_bid=0.3,
    num_bid_levels=16,
)

_DISPLAY = dataclasses.replace(
    _JOURNEY,
    # Users who know us already make short journeys to a conversion as common as they are: a user
    # who sees all our impressions converts after 3 of them in the median, after 6 at the third
    # quartile, as in the journeys of the PyPI package mta (MIT; 3, 6).
    initial_share=np.array([0.53, 0.27, 0.13, 0.07]),
    # One by one from the lengths of the 68,602 journeys in mta that end without a conversion.
    return_probability=np.array(
        [0.854, 0.880, 0.606, 0.853, 0.859, 0.553, 0.820, 0.821, 0.851, 0.879, 0.878, 0.861]
        + [0.889, 0.882, 0.894, 0.903, 0.910, 0.914, 0.910, 0.896, 0.927, 0.942, 0.920, 0.0]
    ),
    # A click rate of .0335 % on all impressions: iPinYou campaign 2259, 280 on 835,556.
    click=_JOURNEY.click * 0.005,
    # Made up but for the curve: arrivals in the first week, sessions of two requests a
    # quarter of an hour apart, and a day between two sessions.
    traffic=Traffic(
        arrival_hours=168.0,
        mean_gap_hours=24.0,
        tick_hours=0.25,
        session_continues=0.5,
        session_gap_hours=0.25,
        week=load_week(),
    ),
    # After a click about 35 % of the conversions come within an hour, 50 % within a day, the
    # last after 30 days.
    delay=ConversionDelay((0.0, 0.35, 0.5, 1.0), (0.02, 1.0, 24.0, 720.0)),
    # Made up: a few users are worth twice the others; no public log tells.
    audience=Audience(
        segments=("mass", "premium"),
        segment_share=np.array([0.8, 0.2]),
        value_factor=np.array([0.8, 1.8]),
        devices=("phone", "desktop", "tablet"),
        device_share=np.array([[0.62, 0.33, 0.05], [0.45, 0.48, 0.07]]),
        click_factor=np.array([1.1, 0.85, 1.0]),
    ),
    # Made up: one creative for everybody, one for each segment; half of an effect is lost after
    # 14 impressions within a day, or 7 of the same creative in a row.
    creatives=Creatives(
        names=("brand", "offer", "service"),
        appeal=np.array([[1.0, 1.2, 0.7], [1.0, 0.6, 1.4]]),
        frequency_fatigue=0.05,
        creative_fatigue=0.1,
    ),
)

_DISPLAY_PRESET = dataclasses.replace(
    _JOURNEY_PRESET,
    users=_DISPLAY,
    # Prices of iPinYou campaign 2259, per impression (its table is per mille).
    prices=load_landscape("2259", unit=1e-3),
    floor=0.005,
    # The mean price is the same share of a conversion's value as in `journey` (.0931 / 1.66).
    value=1.66,
    # What the Bayes policy spends per user at this shadow price, about half of what it would
    # spend at none: the two describe the same scarcity.
    budget_per_user=0.021,
    shadow_price=0.5,
    flight_hours=14 * 24.0,
    observation="full",
)

_UNIFORM_PRESET = Preset(
    # One request per user, who converts if and only if we win it. What that is worth is their
    # segment, which the bidder sees: our value is uniform, too, on a grid of ten.
    users=JourneyModel(
        stages=("ready",),
        channels=("auction",),
        initial_share=np.ones(1),
        channel_share=np.ones(1),
        move_up=np.zeros((1, 1)),
        move_down=np.zeros(1),
        hazard_won=np.ones(1),
        hazard_lost=np.zeros(1),
        churn=np.zeros(1),
        click=np.zeros((1, 1)),
        visit=np.zeros(1),
        requests_per_user=1,
        traffic=Traffic(arrival_hours=24.0, mean_gap_hours=1.0),
        audience=Audience(
            segments=tuple(f"value_{percent}" for percent in range(5, 100, 10)),
            segment_share=np.full(10, 0.1),
            value_factor=np.arange(5, 100, 10) / 100,
            device_share=np.ones((10, 1)),
        ),
        creatives=Creatives(appeal=np.ones((10, 1))),
    ),
    prices=QuantilePrices({}, {}, cap=1.0),
    auction="second_price",
    floor=0.0,
    value=1.0,
    budget_per_user=math.inf,
    shadow_price=0.0,
    flight_hours=math.inf,
    lowest_bid=0.01,
    highest_bid=1.0,
    num_bid_levels=24,
    observation="full",
)

# Made up, but for the mean price, which is that of `journey` and `display`: 5.6 % of a conversion's
# value. Eight rivals who differ in scale; what one likes, the others tend to like.
COMPETITORS: dict[str, Rivals] = {
    "truthful": Rivals(
        tuple(Bidder(value=scale) for scale in (1.1, 1.0, 0.9, 0.8, 0.8, 0.7, 0.6, 0.5)),
        LognormalValues((0.017,), spread=1.0, correlation=0.5),
    ),
    # Budgets are half of what each would spend without one.
    "rivalry": Rivals(
        (
            Bidder(value=0.9),
            Bidder(Constant(0.8), value=1.1),
            Bidder(Hedge(), value=1.0),
            Bidder(Hedge(), value=0.8),
            Bidder(Constant(), value=1.1, budget=0.0034),  # until broke
            Bidder(Proportional(), value=0.9, budget=0.0021),
            Bidder(PID(), value=1.2, budget=0.0041),
            Bidder(OnlineDual(), value=1.0, budget=0.0027),
        ),
        LognormalValues((0.016,), spread=1.0, correlation=0.5),
        Regimes(changes=4, spread=0.4),
    ),
}
PRESETS: dict[str, Preset] = {
    "journey": _JOURNEY_PRESET,
    "display": _DISPLAY_PRESET,
    "uniform": _UNIFORM_PRESET,
}
"""The worlds of the ad auction by name; `drawn` is made from its seed."""

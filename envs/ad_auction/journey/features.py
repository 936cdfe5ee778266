"""The observation of one bid request: one builder, for the simulator and for serving.

What is hidden (the stage, the probabilities) is never in it. Three kinds:

- "raw": what a bidder sees in one request, and nothing that they would have to remember.
- "full": the same, and after it what they could have counted until then, in ten groups.
- "user": of "full" what is of this request and user, and nothing that depends on how the campaign
  has bid for others.

What is observed, in natural units, are `signals.Signals`; a simulator counts them, a server looks
them up.

- `fields`: every component, in order.
- `observation_space`: the Box that they span. `build`: the observations of many requests at once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.journey.signals import Layout, Signals

__all__ = ["KINDS", "Field", "build", "fields", "observation_space"]

Floats = NDArray[np.float64]

KINDS = ("raw", "full", "user")
DAY, WEEK = 24.0, 168.0
MANY, LONG = 100.0, 720.0  # counts and hours that count as the most


class Field(NamedTuple):
    """One component of the observation."""

    group: str
    name: str
    low: float
    high: float
    meaning: str
    column: Callable[[Signals], Any]
    """From signals to `[n]`, clipped to the range afterwards."""


@lru_cache(maxsize=64)
def fields(layout: Layout) -> list[Field]:
    """The components of an observation, in order."""
    raw = [
        *_one_hot(_PLACE, "channel", layout.channels, "the request came on"),
        _field(_JOURNEY, "clicked", "1 if the user clicked our last impression"),
        _field(_JOURNEY, "visited", "1 if they visited the site after their last request"),
        Field(
            _MONEY,
            "last_profit",
            -1,
            0,
            "realised profit of their last request / conversion value",
            lambda s: s.last_profit,
        ),
        _field(_MONEY, "budget_left", "share of the budget left; 1 without a budget"),
        _field(_MONEY, "flight_left", "share of the flight left, 0 if overdue; 1 without a budget"),
    ]
    if layout.kind == "raw":
        return raw
    return [
        field
        for field in raw + _counted(layout)
        if layout.kind == "full" or not field.name.startswith(_OF_CAMPAIGN)
    ]


def _counted(layout: Layout) -> list[Field]:
    """What "full" has beyond "raw", group by group."""
    price, value, shadow = layout.highest_bid, layout.value, layout.shadow_price
    creative = layout.creatives
    return [
        _count(_JOURNEY, "requests", "their requests so far"),
        _count(_JOURNEY, "impressions", "their impressions so far"),
        _count(_JOURNEY, "clicks", "their clicks so far"),
        _count(_JOURNEY, "visits", "their visits so far"),
        _field(_JOURNEY, "won", "1 if we won their last request"),
        _since(_JOURNEY, "since_impression", "their last impression"),
        _since(_JOURNEY, "since_click", "their last click"),
        _since(_JOURNEY, "since_visit", "their last visit"),
        *_one_hot("segment", "segment", layout.segments, "they belong to"),
        *_one_hot(_PLACE, "device", layout.devices, "they use"),
        *_one_hot("creative", "creative", creative, "what they were shown last was"),
        _count("creative", "repeats", "their last impressions in a row of that creative"),
        *_circle("hour", DAY, "hour of the day"),
        *_circle("week", WEEK, "hour of the week"),
        _since(_TIME, "since_request", "their last request"),
        _count(_TIME, "session", "their requests before without a pause of over 30 minutes"),
        _field(_RIVAL, "win_rate", "share won of the campaign's requests, half-life 6 hours"),
        _field(
            _RIVAL,
            "mean_paid",
            "mean price of the campaign's wins, half-life 6 hours / highest bid",
            lambda s: s.mean_paid / price,
        ),
        _field(
            _RIVAL,
            "last_paid",
            "price of their last impression / highest bid",
            lambda s: s.last_paid / price,
        ),
        _field(_RIVAL, "floor", "floor price / highest bid", lambda s: layout.floor / price),
        Field(
            _MONEY,
            "ahead",
            -1,
            1,
            "share of the flight left minus share of the budget left",
            lambda s: s.flight_left - s.budget_left,
        ),
        _field(_MONEY, "spent", "spent on this user / conversion value", lambda s: s.spent / value),
        _field(_MONEY, "shadow_price", "lambda / (1 + lambda)", lambda s: shadow / (1 + shadow)),
        _field(_WHO, "new", "1 if this is their first request", lambda s: s.requests == 0),
        _since(_WHO, "age", "their first request"),
        *(_field(_WHO, f"bit_{i}", "a bit of a hash of the user", _bit(i)) for i in range(4)),
        *_shares("touches", layout.channels, "share of their impressions on"),
        *_shares("credit", layout.channels, "share of the conversions with the last touch on"),
        _count(_LATE, "exposure", "their impressions, half-life a day"),
        _count(_LATE, "conversions", "conversions of the campaign so far", MANY**2),
        _field(
            _LATE,
            "conversion_rate",
            "conversions of the campaign so far / its impressions so far",
            lambda s: s.conversions / np.maximum(s.campaign_impressions, 1.0),
        ),
        _field(
            _LATE,
            "immature",
            "share of the campaign's impressions that are young, half-life a day",
            lambda s: s.recent_impressions / np.maximum(s.campaign_impressions, 1.0),
        ),
        _since(_LATE, "since_conversion", "the campaign's last conversion"),
    ]


_JOURNEY, _PLACE, _TIME, _RIVAL = "journey", "device and channel", "time", "competition"
_MONEY, _WHO, _TOUCH = "budget and pacing", "identity", "attribution"
_LATE = "delayed conversions and exposure"
_OF_CAMPAIGN = (
    *("budget_left", "ahead", "win_rate", "mean_paid", "credit_"),
    *("conversion", "immature", "since_conversion"),
)
"""How names of fields begin that depend on the bids for other users."""


def _field(
    group: str, name: str, meaning: str, column: Callable[[Signals], Any] | None = None
) -> Field:
    """A share or a yes or no; without a column, the signal of that name."""
    return Field(group, name, 0, 1, meaning, column or (lambda s: getattr(s, name)))


def _count(group: str, name: str, meaning: str, most: float = MANY) -> Field:
    meaning = f"{meaning}, log scale to {most:,.0f}"
    return _field(group, name, meaning, lambda s: np.log1p(getattr(s, name)) / np.log1p(most))


def _since(group: str, name: str, event: str) -> Field:
    meaning = f"hours since {event}, log scale to {LONG:.0f}; 1 if never"
    return _field(group, name, meaning, lambda s: np.log1p(getattr(s, name)) / np.log1p(LONG))


def _circle(name: str, period: float, meaning: str) -> list[Field]:
    turn = 2 * np.pi / period
    meaning = f"{meaning} on a circle, from Monday midnight"
    return [
        Field(_TIME, f"{name}_sin", -1, 1, meaning, lambda s: np.sin(turn * s.hour)),
        Field(_TIME, f"{name}_cos", -1, 1, meaning, lambda s: np.cos(turn * s.hour)),
    ]


def _shares(name: str, channels: tuple[str, ...], meaning: str) -> list[Field]:
    def share(i: int) -> Callable[[Signals], Any]:
        return lambda s: (c := getattr(s, name))[:, i] / np.maximum(c.sum(axis=1), 1.0)

    return [
        _field(_TOUCH, f"{name}_{channel}", f"{meaning} {channel}", share(i))
        for i, channel in enumerate(channels)
    ]


def _bit(i: int) -> Callable[[Signals], Any]:
    shift, golden = np.uint64(60 + i), np.uint64(0x9E3779B97F4A7C15)
    return lambda s: ((s.number.astype(np.uint64) * golden) >> shift) & np.uint64(1)


def _one_hot(group: str, signal: str, names: tuple[str, ...], meaning: str) -> list[Field]:
    def column(i: int) -> Callable[[Signals], Any]:
        return lambda s: getattr(s, signal) == i

    return [
        _field(group, f"{signal}_{name}", f"1 if {meaning} {name}", column(i))
        for i, name in enumerate(names)
    ]


@lru_cache(maxsize=64)
def _range(layout: Layout) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    low, high = np.array([(f.low, f.high) for f in fields(layout)], np.float32).T
    return low, high


def observation_space(layout: Layout) -> gym.spaces.Box:
    """The declared space of an observation, float32 `[D]`."""
    return gym.spaces.Box(*_range(layout), dtype=np.float32)


def build(layout: Layout, signals: Signals) -> NDArray[np.float32]:
    """Builds the observations of `n` bid requests, float32 `[n, D]`."""
    low, high = _range(layout)
    rows = np.empty((len(low), len(signals.channel)), np.float32)
    for row, field in zip(rows, fields(layout), strict=True):
        row[:] = field.column(signals)
    observation = np.ascontiguousarray(rows.T)
    return np.minimum(np.maximum(observation, low, out=observation), high, out=observation)

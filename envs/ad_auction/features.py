"""The observation of one bid request: one builder, for the simulator and for serving.

An observation holds what a bidder sees in one request and nothing that it would have to remember:
no counts, no averages, no history. What is hidden (the stage, the probabilities) is never in it.

- `fields`: name, range and meaning of every component, in order.
- `observation_space`: the Box that they span.
- `build`: the observations of many requests at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

__all__ = ["Field", "build", "fields", "observation_space"]


class Field(NamedTuple):
    """One component of the observation."""

    name: str
    low: float
    high: float
    meaning: str


def fields(channels: Sequence[str]) -> list[Field]:
    """The components of an observation, in order."""
    return [
        *(Field(f"channel_{c}", 0, 1, f"1 if the request came on {c}") for c in channels),
        Field("clicked", 0, 1, "1 if the user clicked our last impression"),
        Field("visited", 0, 1, "1 if the user visited the site after his last request"),
        Field("last_profit", -1, 0, "realised profit of his last request / conversion value"),
        Field("budget_left", 0, 1, "share of the budget left; 1 without a budget"),
        Field("flight_left", 0, 1, "share of the flight left, 0 if overdue; 1 without a budget"),
    ]


def observation_space(channels: Sequence[str]) -> gym.spaces.Box:
    """The declared space of an observation, float32 `[D]`."""
    low, high = np.array([(f.low, f.high) for f in fields(channels)], np.float32).T
    return gym.spaces.Box(low, high, dtype=np.float32)


def build(
    channel: NDArray[np.int64],
    clicked: NDArray[np.bool_],
    visited: NDArray[np.bool_],
    last_profit: NDArray[np.float64],
    budget_left: float | NDArray[np.float64],
    flight_left: float | NDArray[np.float64],
    num_channels: int,
) -> NDArray[np.float32]:
    """Builds the observations of `n` bid requests.

    Args:
        channel: `[n]`, index of the channel; -1 for none (the journey has ended).
        clicked: `[n]`, see `fields`; likewise the following.
        visited: `[n]`.
        last_profit: `[n]`, in units of the conversion value, clipped to its range.
        budget_left: share, for all or `[n]`.
        flight_left: likewise.
        num_channels: C.

    Returns:
        float32 `[n, C + 5]`.
    """
    observation = np.empty((len(channel), num_channels + 5), np.float32)
    observation[:, :num_channels] = channel[:, None] == np.arange(num_channels)
    observation[:, num_channels] = clicked
    observation[:, num_channels + 1] = visited
    observation[:, num_channels + 2] = np.minimum(np.maximum(last_profit, -1.0), 0.0)
    observation[:, num_channels + 3] = budget_left
    observation[:, num_channels + 4] = flight_left
    return observation

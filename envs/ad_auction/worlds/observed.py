"""A world as far as a log of real users tells it, laid over a preset.

- `Observed`: what was observed; JSON in an env config (`AuctionConfig.observed`).

What no log tells stays the preset's: the hidden stages, market prices, values, budget. What a
channel or segment does to a user there is averaged over the preset's own channels or segments.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.checks import check_keys
from rllib_seq.envs.ad_auction.journey.users import Audience, ConversionDelay, JourneyModel
from rllib_seq.envs.ad_auction.worlds.world import Preset

Floats = NDArray[np.float64]

_LEAST_TRAFFIC = 1e-3  # of an hour without events, in mean hours: the clock must go on


@dataclass(frozen=True)
class Observed:
    """Shares and chances that a log shows; None: the log does not tell.

    >>> Observed.from_dict({"channels": {"web": 3, "app": 1}}).channels
    {'web': 3, 'app': 1}
    """

    channels: Mapping[str, float] | None = None
    """Name to share of the requests, in any unit."""
    segments: Mapping[str, float] | None = None
    """Name to share of the users, in any unit."""
    hours: tuple[float, ...] | None = None
    """`[24]`: traffic by hour of the day (UTC), in any unit."""
    weekdays: tuple[float, ...] | None = None
    """`[7]`: the same, Monday first; counts only with `hours`."""
    return_probability: tuple[float, ...] | None = None
    """`[R]`: chance of another request after the first, second, ...; the last is 0."""
    gap_hours: float | None = None
    """Mean time between two requests of a journey."""
    delay: tuple[tuple[float, float], ...] | None = None
    """Pairs of probability (from 0 to 1, rising) and delay of a conversion in hours (rising)."""

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Observed:
        """Reads what `dataclasses.asdict` made of it, also after a way through JSON.

        Raises:
            ValueError: a key is unknown or a value is wrong.
        """
        check_keys(content, [field.name for field in dataclasses.fields(cls)])
        frozen = dict(content)
        for name in ("hours", "weekdays", "return_probability"):
            if frozen.get(name) is not None:
                frozen[name] = tuple(map(float, frozen[name]))
        if frozen.get("delay") is not None:
            frozen["delay"] = tuple((float(p), float(h)) for p, h in frozen["delay"])
        return cls(**frozen)

    def __post_init__(self) -> None:
        """Raises ValueError with one line that names the value and the fix."""
        for name, size in (("hours", 24), ("weekdays", 7)):
            curve = getattr(self, name)
            if curve is not None and (len(curve) != size or min(curve) < 0 or sum(curve) <= 0):
                raise ValueError(f"{name} is {curve}; give {size} numbers of at least 0, not all 0")
        for name in ("channels", "segments"):
            shares = getattr(self, name)
            if shares is not None and (not shares or min(shares.values()) <= 0):
                raise ValueError(f"{name} is {shares}; give names with shares above 0")
        if self.return_probability is not None and (
            not self.return_probability or self.return_probability[-1] != 0
        ):
            raise ValueError(
                f"return_probability is {self.return_probability}; give chances, the last of them 0"
            )
        if self.delay is not None:
            steps = np.diff(np.array(self.delay), axis=0)
            ends = self.delay[0][0], self.delay[-1][0]
            if ends != (0.0, 1.0) or self.delay[0][1] <= 0 or not (steps > 0).all():
                raise ValueError(
                    f"delay is {self.delay}; give pairs of probability, from 0 to 1, and hours "
                    "above 0, both rising"
                )

    def apply_to(self, preset: Preset) -> Preset:
        """The preset with what was observed in the place of its own numbers."""
        users = preset.users
        if self.channels is not None:
            users = _with_channels(users, self.channels)
        if self.segments is not None:
            users = _with_segments(users, self.segments)
        traffic = users.traffic
        if self.hours is not None:
            days = np.ones(7) if self.weekdays is None else _shares(self.weekdays)
            week = np.outer(days, _shares(self.hours)).ravel()
            least = _LEAST_TRAFFIC * week.mean()
            traffic = dataclasses.replace(traffic, week=np.maximum(week, least))
        if self.gap_hours is not None:
            gap = max(self.gap_hours, traffic.tick_hours)
            traffic = dataclasses.replace(traffic, mean_gap_hours=gap, session_continues=0.0)
        users = dataclasses.replace(users, traffic=traffic)
        if self.return_probability is not None:
            users = dataclasses.replace(
                users,
                requests_per_user=len(self.return_probability),
                return_probability=np.array(self.return_probability),
            )
        if self.delay is not None:
            probabilities, hours = zip(*self.delay, strict=True)
            users = dataclasses.replace(users, delay=ConversionDelay(probabilities, hours))
        return dataclasses.replace(preset, users=users)


def _shares(amounts: Any) -> Floats:
    numbers = np.array(list(amounts), np.float64)
    return numbers / numbers.sum()


def _with_channels(users: JourneyModel, channels: Mapping[str, float]) -> JourneyModel:
    def same_on_all(effect: Floats) -> Floats:
        mean = effect @ users.channel_share  # (S,)
        return np.repeat(mean[:, None], len(channels), axis=1)

    return dataclasses.replace(
        users,
        channels=tuple(channels),
        channel_share=_shares(channels.values()),
        move_up=same_on_all(users.move_up),
        click=same_on_all(users.click),
    )


def _with_segments(users: JourneyModel, segments: Mapping[str, float]) -> JourneyModel:
    audience, count = users.audience, len(segments)

    def same_for_all(table: Floats) -> Floats:
        mean = audience.segment_share @ table
        return np.repeat(mean[None], count, axis=0)

    return dataclasses.replace(
        users,
        audience=Audience(
            segments=tuple(segments),
            segment_share=_shares(segments.values()),
            value_factor=same_for_all(audience.value_factor),
            devices=audience.devices,
            device_share=same_for_all(audience.device_share),
            click_factor=audience.click_factor,
        ),
        creatives=dataclasses.replace(users.creatives, appeal=same_for_all(users.creatives.appeal)),
    )

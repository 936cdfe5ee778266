"""When users come and when they come back.

- `Traffic`: arrivals, sessions, gaps and the curve of the week; one clock in whole ticks.
- `load_week`: the curve of a real market.

Between two sessions time runs as fast as the curve of the week says: a user who would come back
after three average hours waits for them to pass, which takes longer at night.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from importlib import resources

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HOURS_PER_WEEK = 168


@dataclass(frozen=True, eq=False)
class Traffic:
    """The numbers of arrivals and gaps.

    >>> hourly = Traffic(arrival_hours=48.0, mean_gap_hours=3.0)
    >>> hourly.next_tick(np.array([10]), np.array([0.0]), np.array([0.0]))
    array([11])
    """

    arrival_hours: float
    """First requests are spread over these first hours of the campaign."""
    mean_gap_hours: float
    """Mean time between two requests, of two sessions if there are sessions; at least a tick."""
    tick_hours: float = 1.0
    """Length of a tick. All requests of a tick happen at the same time."""
    session_continues: float = 0.0
    """Probability that a user's next request belongs to the same session."""
    session_gap_hours: float = 0.0
    """Mean time between two requests of a session, at least a tick if there are sessions."""
    week: Floats | None = None
    """`[168]`: traffic by hour of the week, from Monday midnight, when a campaign starts; any unit.
    None: the same at all hours."""

    def __post_init__(self) -> None:
        """Raises ValueError with one line that names the value and the fix."""
        if self.mean_gap_hours < self.tick_hours:
            raise ValueError(
                f"mean_gap_hours is {self.mean_gap_hours}; give at least a tick, {self.tick_hours}"
            )
        if self.session_continues and self.session_gap_hours < self.tick_hours:
            raise ValueError(
                f"session_gap_hours is {self.session_gap_hours}; give at least a tick, "
                f"{self.tick_hours}"
            )
        if self.week is not None and (self.week.shape != (HOURS_PER_WEEK,) or min(self.week) <= 0):
            raise ValueError("week must hold 168 positive numbers")

    @cached_property
    def _clock(self) -> Floats:
        """`[ticks of a week + 1]`: average ticks that have passed at the start of each tick."""
        assert self.week is not None
        ticks = round(HOURS_PER_WEEK / self.tick_hours)
        pace = self.week[(np.arange(ticks) * self.tick_hours).astype(np.int64)]
        passed = np.concatenate([[0.0], np.cumsum(pace)])
        return passed * (ticks / passed[-1])

    def first_tick(self, share: Floats) -> Ints:
        """The tick before which this share of the arrivals has come, same shape."""
        ticks = round(self.arrival_hours / self.tick_hours)
        if self.week is None:
            return (share * ticks).astype(np.int64)
        return self._later(np.zeros_like(share), share * self._passed(np.array([ticks])))

    def next_tick(self, tick: Ints, gap: Floats, session: Floats) -> Ints:
        """The tick of a user's next request.

        Args:
            tick: `[n]`, of this request.
            gap: `[n]`, uniforms.
            session: `[n]`, uniforms.

        Returns:
            `[n]`, later than `tick`; without a curve the gap is geometric.
        """
        between = _wait(gap, self.mean_gap_hours / self.tick_hours)
        if self.week is None:
            later = tick + between.astype(np.int64) + 1
        else:
            later = np.maximum(self._later(self._passed(tick), between), tick + 1)
        if self.session_continues == 0:
            return later
        within = tick + _wait(gap, self.session_gap_hours / self.tick_hours).astype(np.int64) + 1
        return np.where(session < self.session_continues, within, later)

    def _passed(self, tick: Ints) -> Floats:
        """Average ticks that have passed at a tick."""
        weeks, rest = np.divmod(tick, len(self._clock) - 1)
        return weeks * self._clock[-1] + self._clock[rest]

    def _later(self, passed: Floats, wait: Floats) -> Ints:
        """The tick in which an average time has passed."""
        weeks, rest = np.divmod(passed + wait, self._clock[-1])
        tick = np.searchsorted(self._clock[1:-1], rest, side="right")
        return (weeks * (len(self._clock) - 1)).astype(np.int64) + tick


def _wait(uniform: Floats, mean: float) -> Floats:
    """Exponential waits whose whole parts plus one are geometric with this mean, in ticks."""
    if mean <= 1:
        return np.zeros_like(uniform)
    return np.log1p(-uniform) / np.log1p(-1 / mean)


def load_week() -> Floats:
    """`[168]`: traffic by hour of the week in a real market; its source: `data/traffic.json`."""
    file = resources.files("rllib_seq.envs.ad_auction").joinpath("data/traffic.json")
    return np.array(json.loads(file.read_text())["week"])

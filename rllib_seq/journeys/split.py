"""From a user's events to their journeys.

- `find_gap`: the silence that ends a journey, if the data show one.
- `split`: cuts every user's events into journeys.
- `Journeys`: what there is to know of each.

A journey ends with a conversion, or with a silence longer than the gap; a conversion never begins
a journey, however late it comes. Touchpoints are impressions, clicks and visits. Steps are what a
model sees one at a time: requests if the log has any, else impressions, else all touchpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rllib_seq.journeys.event_log import EventLog

TOUCHPOINTS = ("impression", "click", "visit")

_FOLLOW_UP = 60.0  # seconds; sooner is an answer to the event before, not a return
_BINS_PER_DECADE = 20
_SMOOTHING = 4.0  # bins
_FEWEST = 200  # gaps that a distribution needs
_DEPTH = 0.5  # of the valley, as a share of the lower peak beside it
_SMALLEST_SIDE = 0.05  # share of the gaps on either side of the valley
_SEGMENTS = 10  # most frequent ones


@dataclass(frozen=True)
class Gap:
    """The silence that ends a journey."""

    seconds: float | None
    """None: only a conversion ends a journey."""
    reason: str
    """In words, with the numbers that it rests on."""
    by_segment: dict[str, float | None] = field(default_factory=dict)
    """Seconds in the segments (of a user's first event) whose users pause differently."""


@dataclass(frozen=True, eq=False)
class Journeys:
    """J journeys over the n events of a log."""

    first: NDArray[np.int64]
    """`[J]` index of the first event."""
    of_event: NDArray[np.int32]
    """`[n]` journey of each event."""
    converted: NDArray[np.bool_]
    """`[J]`."""
    value: NDArray[np.float64]
    """`[J]` sum over its conversions; one without a value counts 1."""
    touchpoints: NDArray[np.int64]
    """`[J]`."""
    steps: NDArray[np.int64]
    """`[J]`."""
    hours: NDArray[np.float64]
    """`[J]` from the first event to the last."""
    step_kinds: tuple[str, ...]
    """Which events are steps."""

    def __len__(self) -> int:
        return len(self.first)

    def running_count(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """`[n]`: how many marked events the journey has had, the present one included."""
        total = np.cumsum(mask)
        before: NDArray[np.int64] = total[self.first] - mask[self.first]
        return total - before[self.of_event]


def find_gap(log: EventLog) -> Gap:
    """Looks for a valley in the distribution of the times between a user's events.

    If users come in sittings, log-times between events have two peaks, within a sitting and
    between two; the deepest valley between two peaks is the gap. Clicks and conversions, and what
    comes within a minute, are answers to the event before and do not count. A segment has a gap of
    its own where that ends another share of its silences than the common gap (5 % or more).

    Args:
        log: sorted events.
    """
    if not log.timed:
        return Gap(None, "the file has no times")
    if not log.has_clock:
        return Gap(None, "the file has dates without hours")
    later = ~log.is_event("click", "conversion")[1:] & (log.user[1:] == log.user[:-1])
    seconds = np.diff(log.time)[later] / 1e6
    returns = seconds >= _FOLLOW_UP
    seconds = seconds[returns]
    gap, reason = _valley(seconds)
    segment = user_segment(log)[1:][later][returns]
    by_segment = {}
    for code in np.argsort(-np.bincount(segment, minlength=1), kind="stable")[:_SEGMENTS]:
        own = seconds[segment == code]
        if len(own) < _FEWEST or len(own) == len(seconds):
            continue
        its_gap = _valley(own)[0]
        ends = [(own > (np.inf if limit is None else limit)).mean() for limit in (gap, its_gap)]
        if abs(ends[0] - ends[1]) >= _SMALLEST_SIDE:
            by_segment[log.names["segment"][code]] = its_gap
    return Gap(gap, reason, by_segment)


def user_segment(log: EventLog) -> NDArray[np.integer]:
    """`[n]` segment of each event's user: that of their first event."""
    begins = np.ones(len(log), np.bool_)
    begins[1:] = log.user[1:] != log.user[:-1]
    return log.segment[begins][np.cumsum(begins) - 1]


def _valley(seconds: NDArray[np.float64]) -> tuple[float | None, str]:
    """The gap in a sample of silences, and why."""
    if len(seconds) < _FEWEST:
        return None, f"only {len(seconds)} returns of users; at least {_FEWEST} are needed"
    bins = ((np.log10(seconds) - np.log10(_FOLLOW_UP)) * _BINS_PER_DECADE).astype(np.int64)
    margin = int(4 * _SMOOTHING)
    counts = np.bincount(bins, minlength=bins.max() + 1)
    density = np.convolve(np.pad(counts, margin), _kernel(margin), mode="same")[margin:-margin]
    valley = _deepest_valley(density)
    if valley is None:
        return None, f"the times between {len(seconds):,} returns have a single peak"
    share = counts[: valley + 1].sum() / counts.sum()
    if min(share, 1 - share) < _SMALLEST_SIDE:
        return None, f"the times between {len(seconds):,} returns have no two clear peaks"
    gap = float(_FOLLOW_UP * 10 ** ((valley + 0.5) / _BINS_PER_DECADE))
    return (
        gap,
        f"valley between two peaks; {100 * share:.0f} % of {len(seconds):,} returns are sooner",
    )


def _kernel(margin: int) -> NDArray[np.float64]:
    weights = np.exp(-0.5 * (np.arange(-margin, margin + 1) / _SMOOTHING) ** 2)
    return weights / weights.sum()


def _deepest_valley(density: NDArray[np.float64]) -> int | None:
    """The bin that lies deepest below the highest peaks on its two sides, if deep enough."""
    walls = np.minimum(np.maximum.accumulate(density), np.maximum.accumulate(density[::-1])[::-1])
    depth = density / np.maximum(walls, 1e-12)
    lowest = depth.min()
    if lowest > _DEPTH:
        return None
    floor = np.flatnonzero(depth <= lowest + 1e-9)
    return int(floor[len(floor) // 2])  # the middle of an empty valley


def split(
    log: EventLog,
    gap_seconds: float | None,
    by_segment: Mapping[str, float | None] | None = None,
) -> Journeys:
    """Cuts a log into journeys.

    Args:
        log: sorted events.
        gap_seconds: a longer silence ends a journey; None: no silence does.
        by_segment: other gaps, for users of these segments.
    """
    conversion = log.is_event("conversion")
    begins = np.ones(len(log), np.bool_)
    begins[1:] = log.user[1:] != log.user[:-1]
    ends = conversion[:-1]
    gaps = {name: np.inf if gap is None else gap for name, gap in (by_segment or {}).items()}
    common = np.inf if gap_seconds is None else gap_seconds
    if gaps:
        of_segment = np.array([gaps.get(name, common) for name in log.names["segment"]])
        ends = ends | (np.diff(log.time) > of_segment[user_segment(log)[1:]] * 1e6)
    elif gap_seconds is not None:
        ends = ends | (np.diff(log.time) > gap_seconds * 1e6)
    begins[1:] |= ends & ~conversion[1:]
    first = np.flatnonzero(begins)
    of_event = np.cumsum(begins, dtype=np.int32) - np.int32(1)
    last = np.append(first[1:], len(log)) - 1

    touch = log.is_event(*TOUCHPOINTS)
    step_kinds = next(
        (kinds for kinds in (("request",), ("impression",)) if log.is_event(*kinds).any()),
        TOUCHPOINTS,
    )
    paid = np.flatnonzero(conversion)
    value = np.where(np.isnan(log.value[paid]), 1.0, log.value[paid]).astype(np.float64)

    def per_journey(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(of_event[mask], minlength=len(first))

    return Journeys(
        first=first,
        of_event=of_event,
        converted=per_journey(conversion) > 0,
        value=np.bincount(of_event[paid], value, len(first)).astype(np.float64),
        touchpoints=per_journey(touch),
        steps=per_journey(log.is_event(*step_kinds)),
        hours=(log.time[last] - log.time[first]) / 3.6e9,
        step_kinds=step_kinds,
    )

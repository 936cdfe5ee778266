"""What depends on the clock: peak hours, weekdays, trends, drift; all times in UTC.

A day is one observation: the intervals come from how days differ, not from how many events there
are, because the events of one day rise and fall together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_seq.journeys.event_log import EventLog
from rllib_seq.journeys.statistics import mean_interval, slope_interval, stability_index

__all__ = ["Curve", "drift", "hour_curve", "trends", "weekday_curve"]

_HOUR = 3_600_000_000  # microseconds
_DAY = 24 * _HOUR
_PRICE_BINS = 10
_FEWEST_DAYS = 3  # for a trend
_FEWEST_EVENTS = 100  # on either side, for drift


@dataclass(frozen=True)
class Curve:
    """How a whole is shared out over hours or weekdays, K of them."""

    share: list[float]
    """`[K]`, sums to 1."""
    low: list[float] | None
    """`[K]` lower ends of 95 % intervals; None with fewer than two whole days of a kind."""
    high: list[float] | None
    """`[K]` upper ends."""
    peaks: list[int]
    """Where the share is above `1 / K` beyond doubt (without intervals: by a quarter), largest
    first."""
    days: int
    """Whole days that it rests on."""


def hour_curve(time: NDArray[np.int64]) -> Curve:
    """Share of events by hour of the day.

    Args:
        time: `[n]` microseconds, at least one.
    """
    by_day = _days(time)[1]
    whole = by_day[by_day.sum(axis=1) > 0]
    shares = whole / whole.sum(axis=1, keepdims=True)
    low, high = mean_interval(shares)
    return _curve(shares.mean(axis=0), low, high, len(whole))


def weekday_curve(time: NDArray[np.int64]) -> Curve | None:
    """Share of events by weekday, Monday first; None unless every weekday is there as a whole."""
    first, by_day = _days(time)
    volume = by_day.sum(axis=1)
    weekday = (np.arange(len(volume)) + first + 3) % 7  # 1970-01-01 was a Thursday
    if len(np.unique(weekday)) < 7:
        return None
    groups = [volume[weekday == day] for day in range(7)]
    mean = np.array([group.mean() for group in groups])
    ends = [mean_interval(group) for group in groups]
    total = mean.sum()
    low, high = (np.array([end[i] for end in ends], np.float64) / total for i in (0, 1))
    return _curve(mean / total, low, high, len(volume))


def _curve(
    share: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64], days: int
) -> Curve:
    known = bool(np.isfinite(low).all())
    above = low > 1 / len(share) if known else share > 1.25 / len(share)
    peaks = [int(k) for k in np.argsort(-share) if above[k]]
    if not known:
        return Curve(share.tolist(), None, None, peaks, days)
    return Curve(share.tolist(), np.maximum(low, 0).tolist(), high.tolist(), peaks, days)


def _days(time: NDArray[np.int64]) -> tuple[int, NDArray[np.int64]]:
    """Number of the first day since 1970 and counts `[days, 24]`, without half days at the ends."""
    begin, end = int(time.min()), int(time.max())
    first = begin // _DAY
    counts = np.bincount(time // _HOUR - first * 24, minlength=(end // _DAY - first + 1) * 24)
    by_day = counts.reshape(-1, 24)
    skip_first = begin % _DAY >= _HOUR
    skip_last = end % _DAY < _DAY - _HOUR
    if len(by_day) - skip_first - skip_last >= 1:
        by_day = by_day[skip_first : len(by_day) - skip_last]
        first += skip_first
    return first, by_day


def trends(log: EventLog) -> list[dict[str, Any]]:
    """Daily means of bid and prices, and the change per day.

    Returns:
        For every number that the log has on three days or more: `{"name", "mean", "per_day",
        "low", "high", "days", "daily"}`; low and high bound the change per day.
    """
    day = log.time // _DAY
    day -= day.min()
    found = []
    for name in ("price", "market_price", "floor"):
        values = getattr(log, name)
        known = ~np.isnan(values)
        count = np.bincount(day[known], minlength=1)
        seen = np.flatnonzero(count)
        if len(seen) < _FEWEST_DAYS:
            continue
        daily = np.bincount(day[known], weights=values[known])[seen] / count[seen]
        slope, low, high = slope_interval(seen.astype(np.float64), daily)
        mean = float(values[known].mean(dtype=np.float64))
        found.append(
            {
                "name": name,
                "mean": mean,
                "per_day": slope,
                "low": low,
                "high": high,
                "days": len(seen),
                "daily": [[int(d), float(v)] for d, v in zip(seen, daily, strict=True)],
            }
        )
    return found


def drift(log: EventLog) -> list[dict[str, Any]]:
    """How far the second half of the log's time lies from the first, as many whole days each.

    Returns:
        `{"name", "index", "verdict"}` for channel, segment, device, creative, hour and prices; see
        `statistics.stability_index`.
    """
    begin = int(log.time.min())
    half = (int(log.time.max()) - begin) // (2 * _DAY) * _DAY
    early = log.time < begin + half
    late = ~early & (log.time < begin + 2 * half)
    if min(late.sum(), early.sum()) < _FEWEST_EVENTS:
        return []
    codes: dict[str, NDArray[np.integer]] = {
        name: getattr(log, name) for name in log.names if len(log.names[name]) > 1
    }
    codes["hour"] = (log.time // _HOUR % 24).astype(np.int8)
    rows = []
    for name, code in codes.items():
        size = int(code.max()) + 1
        rows.append(
            _drift_row(name, *(np.bincount(code[s], minlength=size) for s in (early, late)))
        )
    for name in ("price", "market_price", "floor"):
        values = getattr(log, name)
        known = ~np.isnan(values)
        before, after = values[known & early], values[known & late]
        if min(len(before), len(after)) < _FEWEST_EVENTS:
            continue
        inner = np.unique(np.quantile(before, np.arange(1, _PRICE_BINS) / _PRICE_BINS))
        counts = [
            np.bincount(np.searchsorted(inner, part), minlength=len(inner) + 1)
            for part in (before, after)
        ]
        rows.append(_drift_row(name, *counts))
    return rows


def _drift_row(name: str, before: NDArray[np.int64], after: NDArray[np.int64]) -> dict[str, Any]:
    index = stability_index(before, after)
    verdict = "stable" if index < 0.1 else "some" if index < 0.25 else "strong"
    return {"name": name, "index": index, "verdict": verdict}

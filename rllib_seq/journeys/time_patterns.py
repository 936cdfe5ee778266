"""What depends on the clock: peak hours, weekdays, trends, drift, by the log's wall clock.

The events of one day rise and fall together, and so do those of one user. So intervals and limits
come from how days and users differ, not from how many events there are; those for peaks and drift
hold for all hours (weekdays, names) together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rllib_seq.journeys.event_log import EventLog
from rllib_seq.journeys.statistics import share_variance, slope_interval, stability_index

_HOUR = 3_600_000_000  # microseconds
_DAY = 24 * _HOUR
_PRICE_BINS = 10
_FEWEST_DAYS = 3  # for a trend
_FEWEST_EVENTS = 100  # on either side, for drift
_FEWEST_HALVES = 3  # days of both halves: more than the two means that are compared
_FEWEST_OF_A_NAME = 10  # events, for a bin of its own
_SURE = 0.95  # of all hours, weekdays or rows of drift together


@dataclass(frozen=True)
class Curve:
    """How a whole is shared out over hours or weekdays, K of them."""

    share: list[float]
    """`[K]`, sums to 1."""
    low: list[float] | None
    """`[K]` lower ends of 95 % intervals, one at a time; None with fewer than two whole days of a
    kind."""
    high: list[float] | None
    """`[K]` upper ends."""
    peaks: list[int]
    """Where the share is above `1 / K`, largest first. A log without peaks has one here with a
    chance of at most 5 %, all K together; none can be found without intervals."""
    days: int
    """Whole days that it rests on."""


def hour_curve(time: NDArray[np.int64], user: NDArray[np.integer]) -> Curve:
    """Share of events by hour of the day, every day counting the same.

    Args:
        time: `[n]` microseconds, at least one.
        user: `[n]` number of the user.
    """
    first, days, inside = _whole_days(time)
    day, user = time[inside] // _DAY - first, user[inside]
    hour = (time[inside] // _HOUR % 24).astype(np.int8)
    events = np.bincount(day, minlength=days)
    seen = int((events > 0).sum())
    weights = 1.0 / (events[day] * seen)
    expected = np.full(24, 1 / 24)
    return _curve(hour, weights, expected, user, day, freedom=seen - 1, days=seen)


def weekday_curve(time: NDArray[np.int64], user: NDArray[np.integer]) -> Curve | None:
    """Share of events by weekday, Monday first; None unless every weekday is there as a whole.

    A steady trend of the daily events is taken out first.

    Args:
        time: `[n]` microseconds, at least one.
        user: `[n]` number of the user.
    """
    first, days, inside = _whole_days(time)
    if days < 7:
        return None
    day, user = time[inside] // _DAY - first, user[inside]
    volume = np.bincount(day, minlength=days)
    kind = (np.arange(days) + first + 3) % 7  # 1970-01-01 was a Thursday
    of_kind = np.bincount(kind, minlength=7)
    design = np.eye(7)[kind]
    if days > 8:
        trend = np.arange(days) - (days - 1) / 2
        design = np.column_stack([design, trend])
    solve = np.linalg.pinv(design)[:7]  # volume to the mean of each weekday
    mean = np.maximum(solve @ volume, 0)
    share = mean / mean.sum()
    freedom = days - np.linalg.matrix_rank(design)
    if freedom < 1:
        return Curve(share.tolist(), None, None, [], days)
    rest = volume - design @ (np.linalg.pinv(design) @ volume)
    by_day = (rest @ rest) / freedom * (solve**2).sum(axis=1) / mean.sum() ** 2
    weekday = kind[day].astype(np.int8)
    weights = 1.0 / (of_kind[weekday] * mean.sum())
    by_user = share_variance(weekday, weights, share, user, np.zeros_like(day))
    # A single busy day makes no peak: its weekday must stand out in the logarithm, too.
    size = np.log(volume + 0.5)
    rest = size - design @ (np.linalg.pinv(design) @ size)
    contrast = solve - solve.mean(axis=0)
    spread = np.sqrt((rest @ rest) / freedom * (contrast**2).sum(axis=1))
    chance = np.maximum(
        _chance_of_more(np.bincount(weekday, minlength=7), of_kind / days),
        stats.t.sf(contrast @ size / np.maximum(spread, 1e-12), freedom),
    )
    error = np.sqrt(np.maximum(by_day, by_user))
    return _judged(share, error, chance, freedom, days)


def _curve(
    code: NDArray[np.integer],
    weights: NDArray[np.float64],
    expected: NDArray[np.float64],
    user: NDArray[np.integer],
    day: NDArray[np.int64],
    freedom: int,
    days: int,
) -> Curve:
    share = np.bincount(code, weights, len(expected)).astype(np.float64)
    share = share / share.sum()
    if freedom < 1:
        return Curve(share.tolist(), None, None, [], days)
    error = np.sqrt(share_variance(code, weights, share, user, day))
    chance = _chance_of_more(np.bincount(code, minlength=len(expected)), expected)
    return _judged(share, error, chance, freedom, days)


def _chance_of_more(
    counts: NDArray[np.int64], expected: NDArray[np.float64]
) -> NDArray[np.float64]:
    """`[K]`: chance of as many independent events or more, where t trusts too few of them."""
    return stats.binom.sf(counts - 1, counts.sum(), expected)


def _judged(
    share: NDArray[np.float64],
    error: NDArray[np.float64],
    chance: NDArray[np.float64],
    freedom: int,
    days: int,
) -> Curve:
    """Intervals by Student's t, and the peaks that neither it nor small numbers explain."""
    level = (1 - _SURE) / len(share)  # of each, so that all together stay below
    limit = 1 / len(share) + stats.t.ppf(1 - level, freedom) * error
    peak = (share > limit) & (chance < level)
    half = stats.t.ppf(0.975, freedom) * error
    return Curve(
        share.tolist(),
        np.maximum(share - half, 0).tolist(),
        np.minimum(share + half, 1).tolist(),
        [int(k) for k in np.argsort(-share) if peak[k]],
        days,
    )


def _whole_days(time: NDArray[np.int64]) -> tuple[int, int, NDArray[np.bool_]]:
    """First day since 1970, how many, which events; without half days at the ends, if possible."""
    begin, end = int(time.min()), int(time.max())
    first, last = begin // _DAY, end // _DAY
    whole = first + (begin % _DAY >= _HOUR), last - (end % _DAY < _DAY - _HOUR)
    inside = (time >= whole[0] * _DAY) & (time < (whole[1] + 1) * _DAY)
    if not inside.any():
        return first, last - first + 1, np.ones(len(time), np.bool_)
    return whole[0], whole[1] - whole[0] + 1, inside


def trends(log: EventLog) -> list[dict[str, Any]]:
    """Daily means of bid and prices, and the change per day.

    Returns:
        For every number that the log has on three days or more: `{"name", "mean", "per_day",
        "low", "high", "days", "daily"}`; low and high bound the change per day.
    """
    day = log.local_time // _DAY
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

    Halves of two weeks or more are whole weeks, so that weekdays are no drift. A name that fewer
    than ten events have shares a bin with the others of its kind.

    Returns:
        `{"name", "index", "limit", "verdict"}` for channel, segment, device, creative, hour and
        prices. index: see `statistics.stability_index`. limit: what a log without drift stays
        below; with 95 % in all rows together. It comes from how users and days differ (first-order
        correction of Rao and Scott 1984). verdict: "stable" below the limit or .1, "some" below
        .25, else "strong". No rows where fewer than four days or a hundred events on a side tell.
    """
    time = log.local_time
    begin = int(time.min())
    days = (int(time.max()) - begin) // _DAY + 1
    half = days // 14 * 7 if days >= 14 else days // 2
    early = time < begin + half * _DAY
    inside = time < begin + 2 * half * _DAY
    late = inside & ~early
    if min(late.sum(), early.sum()) < _FEWEST_EVENTS or 2 * half < _FEWEST_HALVES:
        return []
    codes: dict[str, tuple[NDArray[np.bool_], NDArray[np.integer]]] = {
        name: (inside, getattr(log, name)) for name in log.names if len(log.names[name]) > 1
    }
    if log.has_clock:
        codes["hour"] = inside, (time // _HOUR % 24).astype(np.int8)
    for name in ("price", "market_price", "floor"):
        values = getattr(log, name)
        known = ~np.isnan(values) & inside
        if min((known & early).sum(), (known & late).sum()) < _FEWEST_EVENTS:
            continue
        inner = np.unique(np.quantile(values[known], np.arange(1, _PRICE_BINS) / _PRICE_BINS))
        codes[name] = known, np.searchsorted(inner, values).astype(np.int8)
    day = ((time - begin) // _DAY).astype(np.int32)
    return [
        _drift_row(name, code[known], early[known], log.user[known], day[known], len(codes))
        for name, (known, code) in codes.items()
    ]


def _drift_row(
    name: str,
    code: NDArray[np.integer],
    early: NDArray[np.bool_],
    user: NDArray[np.integer],
    day: NDArray[np.integer],
    rows: int,
) -> dict[str, Any]:
    counts = np.bincount(code)
    frequent = counts >= _FEWEST_OF_A_NAME
    bins = np.where(frequent, np.cumsum(frequent) - 1, frequent.sum())[code]
    size = int(bins.max()) + 1
    n = np.array([early.sum(), (~early).sum()])
    before, after = (np.bincount(bins[side], minlength=size) for side in (early, ~early))
    index = stability_index(before, after)
    freedom = min(len(np.unique(day)), len(np.unique(user))) - 2
    if size < 2 or freedom < 1:
        return {"name": name, "index": index, "limit": None, "verdict": "not enough to tell"}
    share = (before + after) / n.sum()
    weights = np.where(early, -1 / n[0], 1 / n[1])
    variance = share_variance(bins, weights, share, user, day)
    mean = float((variance / share).sum())  # of the index, without drift
    limit = mean * stats.f.ppf(1 - (1 - _SURE) / rows, size - 1, (size - 1) * freedom)
    small = index < max(limit, 0.1)
    verdict = "stable" if small else "some" if index < 0.25 else "strong"
    return {"name": name, "index": index, "limit": float(limit), "verdict": verdict}

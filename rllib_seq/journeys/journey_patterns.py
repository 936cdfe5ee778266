"""What happens along a journey: lengths, outcomes, delays, rates by position and by name.

Pure functions of a log and its journeys; a rate comes with its 95 % interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_seq.journeys.attribution import named_channels
from rllib_seq.journeys.event_log import EventLog
from rllib_seq.journeys.split import TOUCHPOINTS, Journeys
from rllib_seq.journeys.statistics import quantile_interval, wilson

__all__ = [
    "Delay",
    "conversion_delay",
    "journey_groups",
    "journey_summary",
    "mix",
    "positions",
    "rates",
    "transitions",
]

_POSITIONS = 20  # the last one holds all later ones
_SEGMENTS = 10  # most frequent ones; the others together are "(other)"
_NAMES = 20
_LONGEST = 128  # steps of a journey that are told one by one
_PROBABILITIES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)


@dataclass(frozen=True)
class Delay:
    """Distribution of the time from the last click (or touchpoint) to the conversion."""

    conversions: int
    quantiles: list[dict[str, float]]
    """`{"probability", "hours", "low", "high"}`."""
    within: dict[str, float]
    """Share within "hour", "day" and "week"."""


def journey_summary(log: EventLog, journeys: Journeys, unattributed: float) -> dict[str, Any]:
    """Numbers of journeys, their conversion rate and their lengths.

    Args:
        log: sorted events.
        journeys: of the log.
        unattributed: see `attribution.Paths.unattributed`.

    Returns:
        `{"journeys", "per_user", "converted", "conversion_rate", "low", "high", "value",
        "unattributed_value", "step", "steps", "comes_back", "touchpoints", "touchpoints_converted",
        "hours"}`; steps and the last three hold `{"mean", "p50", "p75", "p90", "p99"}`. comes_back:
        of the journeys without a conversion that have 1, 2, ... steps, the share that has another.
    """
    count, converted = len(journeys), int(journeys.converted.sum())
    low, high = wilson(converted, count)
    return {
        "journeys": count,
        "per_user": count / len(np.unique(log.user)),
        "converted": converted,
        "conversion_rate": converted / count,
        "low": low,
        "high": high,
        "value": float(journeys.value.sum()),
        # Of conversions without a touchpoint that could be credited.
        "unattributed_value": unattributed,
        "step": " or ".join(journeys.step_kinds),
        "steps": _summary(journeys.steps),
        "comes_back": _comes_back(journeys.steps[~journeys.converted]),
        "touchpoints": _summary(journeys.touchpoints),
        "touchpoints_converted": _summary(journeys.touchpoints[journeys.converted]),
        "hours": _summary(journeys.hours) if log.timed else None,
    }


def _summary(values: NDArray[Any]) -> dict[str, float] | None:
    if not len(values):
        return None
    at = (0.5, 0.75, 0.9, 0.99)
    points = np.quantile(values, at, method="inverted_cdf")
    names = [f"p{100 * q:.0f}" for q in at]
    return {"mean": float(values.mean()), **dict(zip(names, points.tolist(), strict=True))}


def _comes_back(steps: NDArray[np.int64]) -> list[float]:
    """`[R]`, R the longest journey but at most 128; the last is 0."""
    lengths = np.minimum(steps[steps > 0], _LONGEST)
    if not len(lengths):
        return []
    at_least = np.bincount(lengths)[::-1].cumsum()[::-1]  # of k = 0 ... R steps
    return [*(at_least[2:] / at_least[1:-1]).tolist(), 0.0]


def mix(log: EventLog, journeys: Journeys) -> dict[str, dict[str, int]]:
    """How often a name occurs.

    Returns:
        `{"channel", "segment", "touchpoints"}`: steps by channel, journeys by the segment of their
        first event (the ten most frequent, the others together), and touchpoints by channel; a
        missing channel does not count.
    """
    named = named_channels(log)[log.channel]
    steps = log.channel[log.is_event(*journeys.step_kinds) & named]
    touched = log.channel[log.is_event(*TOUCHPOINTS) & named]
    segments = _most_frequent(log.segment[journeys.first], log.names["segment"], _SEGMENTS)
    counted = {
        "channel": (steps, log.names["channel"]),
        "segment": segments,
        "touchpoints": (touched, log.names["channel"]),
    }
    found = {}
    for name, (code, words) in counted.items():
        counts = np.bincount(code, minlength=len(words)).tolist()
        found[name] = {word: n for word, n in zip(words, counts, strict=True) if n}
    return found


def journey_groups(log: EventLog, journeys: Journeys) -> list[dict[str, Any]]:
    """Touchpoints and duration by segment (of the first event) and outcome."""
    code, names = _most_frequent(log.segment[journeys.first], log.names["segment"], _SEGMENTS)
    rows = []
    for segment, name in enumerate(names):
        inside = code == segment
        for outcome, word in ((True, "converted"), (False, "not converted")):
            chosen = inside & (journeys.converted == outcome)
            if not chosen.any():
                continue
            rows.append(
                {
                    "segment": name,
                    "outcome": word,
                    "journeys": int(chosen.sum()),
                    "touchpoints": _summary(journeys.touchpoints[chosen]),
                    "hours": _summary(journeys.hours[chosen]) if log.timed else None,
                }
            )
    return rows


def _most_frequent(
    code: NDArray[np.integer], names: list[str], limit: int
) -> tuple[NDArray[np.int64], list[str]]:
    """Renumbers codes by frequency; what is beyond the limit shares the last number."""
    counts = np.bincount(code, minlength=len(names))
    order = np.argsort(-counts, kind="stable")[:limit]
    order = order[counts[order] > 0]
    rank = np.full(len(names), len(order))
    rank[order] = np.arange(len(order))
    words = [names[i] for i in order]
    return rank[code], words + ["(other)"] if counts.sum() > counts[order].sum() else words


def conversion_delay(log: EventLog, journeys: Journeys) -> Delay | None:
    """Time from a journey's last click, or touchpoint without one, to its first conversion."""
    conversion = np.flatnonzero(log.is_event("conversion"))
    journey, index = np.unique(journeys.of_event[conversion], return_index=True)
    end = conversion[index]
    cause = np.full(len(journeys), -1)
    for kinds in (("impression", "visit"), ("click",)):  # a click overrides
        event = np.flatnonzero(log.is_event(*kinds))
        cause[journeys.of_event[event]] = event  # events are in order: the last one stays
    known = cause[journey] >= 0
    if not known.any():
        return None
    hours = np.sort((log.time[end[known]] - log.time[cause[journey[known]]]) / 3.6e9)
    quantiles = []
    for probability in _PROBABILITIES:
        value, low, high = quantile_interval(hours, probability)
        quantiles.append({"probability": probability, "hours": value, "low": low, "high": high})
    spans = {"hour": 1.0, "day": 24.0, "week": 168.0}
    within = {name: float((hours <= span).mean()) for name, span in spans.items()}
    return Delay(len(hours), quantiles, within)


def transitions(channels: list[str], counts: NDArray[np.float64]) -> dict[str, Any]:
    """Chances from every channel (and the start) to every channel, conversion and null.

    Args:
        channels: C names.
        counts: `[C + 3, C + 3]`, see `attribution.transition_counts`.
    """
    live = counts[: len(channels) + 1]
    chance = live / np.maximum(live.sum(axis=1, keepdims=True), 1)
    states = [*channels, "(start)", "(conversion)", "(null)"]
    return {"states": states, "matrix": chance.tolist()}


def positions(log: EventLog, journeys: Journeys) -> list[dict[str, Any]]:
    """Rates by place in the journey; the last row holds all later places.

    Returns:
        `{"position", "impressions", "clicks", "ctr", "ctr_low", "ctr_high", "journeys",
        "conversions", "cvr", "cvr_low", "cvr_high"}`: CTR of a journey's p-th impression (a click
        belongs to the impression before it), CVR of the journeys that have p touchpoints.
    """
    shown, clicked = log.is_event("impression"), log.is_event("click")
    place = np.minimum(journeys.running_count(shown), _POSITIONS)
    size = _POSITIONS + 1
    impressions = np.bincount(place[shown], minlength=size)
    clicks = np.minimum(np.bincount(place[clicked], minlength=size), impressions)
    length = np.minimum(journeys.touchpoints, _POSITIONS)
    ended = np.bincount(length, minlength=size)
    conversions = np.bincount(length[journeys.converted], minlength=size)
    rows = []
    for p in range(1, size):
        if impressions[p] + ended[p]:
            rows.append(
                {
                    "position": p,
                    **_rate("impressions", impressions[p], "clicks", clicks[p], "ctr"),
                    **_rate("journeys", ended[p], "conversions", conversions[p], "cvr"),
                }
            )
    return rows


def rates(log: EventLog) -> list[dict[str, Any]]:
    """CTR by channel, segment, device and creative, the most frequent first."""
    shown, clicked = log.is_event("impression"), log.is_event("click")
    rows = []
    for kind, names in log.names.items():
        if not shown.any() or len(names) < 2:
            continue
        code = getattr(log, kind)
        impressions = np.bincount(code[shown], minlength=len(names))
        clicks = np.minimum(np.bincount(code[clicked], minlength=len(names)), impressions)
        for i in np.argsort(-impressions, kind="stable")[:_NAMES]:
            counts = _rate("impressions", impressions[i], "clicks", clicks[i], "ctr")
            rows.append({"kind": kind, "name": names[i], **counts})
    return rows


def _rate(of: str, trials: int, what: str, successes: int, name: str) -> dict[str, Any]:
    low, high = wilson(int(successes), int(trials))
    known = trials > 0
    return {
        of: int(trials),
        what: int(successes),
        name: float(successes / trials) if known else None,
        f"{name}_low": low if known else None,
        f"{name}_high": high if known else None,
    }

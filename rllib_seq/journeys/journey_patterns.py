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
from rllib_seq.journeys.statistics import Survival, kaplan_meier, wilson

_POSITIONS = 20  # the last one holds all later ones
_SEGMENTS = 10  # most frequent ones; the others together are "(other)"
_NAMES = 20
_LONGEST = 128  # steps of a journey that are given one by one
_PROBABILITIES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)


@dataclass(frozen=True)
class Delay:
    """Time from the last click (or touchpoint) to the conversion, as of a log that went on.

    Journeys without a conversion may still get one: they count as watched until the user's next
    journey or the log's end (Kaplan and Meier 1958). Nothing is said about delays longer than the
    log shows.
    """

    conversions: int
    """Seen, of journeys with a touchpoint."""
    quantiles: list[dict[str, float]]
    """`{"probability", "hours", "low", "high"}`."""
    within: dict[str, float]
    """Share within "hour", "day" and "week"."""
    to_come: float
    """Expected conversions after the log's end, of the journeys in it."""
    eventual_rate: float
    """Conversion rate of all journeys with these."""
    eventual_low: float
    eventual_high: float


def journey_summary(log: EventLog, journeys: Journeys, unattributed: float) -> dict[str, Any]:
    """Numbers of journeys, their conversion rate and their lengths.

    Args:
        log: sorted events.
        journeys: of the log.
        unattributed: see `attribution.Paths.unattributed`.

    Returns:
        `{"journeys", "per_user", "converted", "conversion_rate", "low", "high", "value",
        "unattributed_value", "step", "steps", "return_probability", "touchpoints",
        "touchpoints_converted", "hours"}`; steps and the last three hold
        `{"mean", "p50", "p75", "p90", "p99"}`. return_probability:
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
        "return_probability": _return_probability(journeys.steps[~journeys.converted]),
        "touchpoints": _summary(journeys.touchpoints),
        "touchpoints_converted": _summary(journeys.touchpoints[journeys.converted]),
        "hours": _summary(journeys.hours) if log.has_clock else None,
    }


def _summary(values: NDArray[Any]) -> dict[str, float] | None:
    if not len(values):
        return None
    at = (0.5, 0.75, 0.9, 0.99)
    points = np.quantile(values, at, method="inverted_cdf")
    names = [f"p{100 * q:.0f}" for q in at]
    return {"mean": float(values.mean()), **dict(zip(names, points.tolist(), strict=True))}


def _return_probability(steps: NDArray[np.int64]) -> list[float]:
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
                    "hours": _summary(journeys.hours[chosen]) if log.has_clock else None,
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
    end = np.full(len(journeys), int(log.time.max()))  # of watching
    same_user = log.user[journeys.first[1:]] == log.user[journeys.first[:-1]]
    end[:-1][same_user] = log.time[journeys.first[1:][same_user]]
    open_end = ~np.append(same_user, False)
    end[journey] = log.time[conversion[index]]
    cause = np.full(len(journeys), -1)
    for kinds in (("impression", "visit"), ("click",)):  # a click overrides
        event = np.flatnonzero(log.is_event(*kinds))
        if len(journey):  # what follows the first conversion did not cause it
            ends = np.full(len(journeys), len(log))
            ends[journey] = conversion[index]
            event = event[event < ends[journeys.of_event[event]]]
        cause[journeys.of_event[event]] = event  # events are in order: the last one stays
    known = cause >= 0
    converted = np.zeros(len(journeys), np.bool_)
    converted[journey] = True
    if not (known & converted).any():
        return None
    hours = (end[known] - log.time[cause[known]]) / 3.6e9
    happened = converted[known]
    seen = kaplan_meier(hours, happened)
    all_of_it = float(seen.happened[-1])
    waiting = ~happened & open_end[known]

    def rate(shift: float) -> tuple[float, float]:
        last = float(np.clip(all_of_it + shift, 0.0, 1.0))
        by_now = np.minimum(seen.by(hours[waiting]), last)
        chance = np.divide(last - by_now, 1 - by_now, where=by_now < 1, out=np.zeros_like(by_now))
        to_come = float(chance.sum())
        return to_come, (int(converted.sum()) + to_come) / len(journeys)

    to_come, eventual = rate(0.0)
    spread = 1.959964 * float(seen.error[-1])
    low, high = wilson(eventual * len(journeys), len(journeys))
    quantiles = [_delay_quantile(seen, hours, happened, p) for p in _PROBABILITIES]
    spans = {"hour": 1.0, "day": 24.0, "week": 168.0}
    within = {name: float(seen.by(span) / all_of_it) for name, span in spans.items()}
    return Delay(
        conversions=int(happened.sum()),
        quantiles=quantiles,
        within=within,
        to_come=to_come,
        eventual_rate=eventual,
        eventual_low=max(eventual - np.hypot(eventual - low, eventual - rate(-spread)[1]), 0.0),
        eventual_high=min(eventual + np.hypot(high - eventual, rate(spread)[1] - eventual), 1.0),
    )


def _delay_quantile(
    seen: Survival, hours: NDArray[np.float64], happened: NDArray[np.bool_], probability: float
) -> dict[str, float]:
    """A quantile of the delays, between order statistics of those that were seen."""
    share = seen.happened / seen.happened[-1]
    spread = 1.959964 * np.sqrt(probability * (1 - probability) / happened.sum())
    ranks = np.clip([probability, probability - spread, probability + spread], 0.0, 1.0)
    at = np.minimum(np.searchsorted(share, ranks - 1e-12), len(share) - 1)
    value, low, high = seen.time[at].tolist()
    return {"probability": probability, "hours": value, "low": low, "high": high}


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
        `{"position", "impressions", "clicks", "ctr", "ctr_low", "ctr_high", "reached",
        "conversions", "hazard", "hazard_low", "hazard_high"}`: CTR of a journey's p-th impression
        (a click belongs to the impression before it); reached: how often a journey had a p-th
        touchpoint, hazard: the share of these that converted next, before another touchpoint.
    """
    shown, clicked = log.is_event("impression"), log.is_event("click")
    place = np.minimum(journeys.running_count(shown), _POSITIONS)
    size = _POSITIONS + 1
    impressions = np.bincount(place[shown], minlength=size)
    clicks = np.minimum(np.bincount(place[clicked], minlength=size), impressions)
    touch = log.is_event(*TOUCHPOINTS)
    place = np.minimum(journeys.running_count(touch), _POSITIONS)
    reached = np.bincount(place[touch], minlength=size)
    conversion = log.is_event("conversion")
    conversion[1:] &= ~conversion[:-1] | (journeys.of_event[1:] != journeys.of_event[:-1])
    conversions = np.bincount(place[conversion], minlength=size)
    rows = []
    for p in range(1, size):
        if impressions[p] + reached[p]:
            rows.append(
                {
                    "position": p,
                    **_rate("impressions", impressions[p], "clicks", clicks[p], "ctr"),
                    **_rate("reached", reached[p], "conversions", conversions[p], "hazard"),
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

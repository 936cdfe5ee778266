"""What a log says about its users: `patterns.json`.

- `Patterns`: the result; writes and reads itself as JSON.
- `discover`: finds them all.
- `choose_window`: how many steps a model should see.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_seq.errors import UserError
from rllib_seq.journeys.attribution import Paths, attribute, named_channels, transition_counts
from rllib_seq.journeys.event_log import EventLog
from rllib_seq.journeys.journey_patterns import (
    Delay,
    conversion_delay,
    journey_groups,
    journey_summary,
    mix,
    positions,
    rates,
    transitions,
)
from rllib_seq.journeys.split import Gap, find_gap, split
from rllib_seq.journeys.time_patterns import Curve, drift, hour_curve, trends, weekday_curve

_VERSION = 3
_QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99)
_COVERAGE = 0.9  # of the steps that must see their whole journey
_LONGEST = 128  # what an encoder with attention over the window still trains at

STAGES = 5
"""How often `discover` calls its progress."""
LOOKBACK = 30 * 86_400.0
"""Seconds: the usual 30 days."""


@dataclass(frozen=True)
class WindowAdvice:
    """How many steps a model should see, and why."""

    length: int
    coverage: float
    """Share of the steps that see all of their journey so far."""
    reason: str
    candidates: list[dict[str, float]]
    """`{"quantile", "length", "coverage", "cost"}`; cost is relative to the chosen length."""


@dataclass(frozen=True)
class Patterns:
    """All that discovery finds; every field is JSON.

    None or an empty list: the log does not tell (no times, no impressions, too few days).
    """

    source: dict[str, Any]
    """File, format, numbers of events, users, bad and repeated rows, first and last time (UTC)."""
    gap: Gap
    journeys: dict[str, Any]
    """See `journey_patterns.journey_summary`."""
    mix: dict[str, dict[str, int]]
    """Counts by channel and segment, see `journey_patterns.mix`."""
    groups: list[dict[str, Any]]
    """Touchpoints and duration by segment and outcome."""
    window: WindowAdvice
    hours: Curve | None
    """When steps come, by hour of the day in the log's time zone; None without a clock."""
    weekdays: Curve | None
    """The same by weekday, Monday first."""
    delay: Delay | None
    """From the last click (or touchpoint) to the conversion."""
    transitions: dict[str, Any]
    """`{"states", "matrix"}`: rows of chances from state to state."""
    positions: list[dict[str, Any]]
    """CTR by impression and hazard by touchpoint of the journey."""
    rates: list[dict[str, Any]]
    """CTR by channel, segment, device and creative."""
    trends: list[dict[str, Any]]
    drift: list[dict[str, Any]]
    attribution: dict[str, dict[str, float]]
    """Model to channel to value; what no channel is credited with is in
    `journeys["unattributed_value"]`."""
    lookback_seconds: float | None = None
    """A touchpoint this long before a conversion, or less, is credited; None: every one."""
    version: int = _VERSION

    def write(self, path: Path) -> None:
        """Writes `patterns.json`.

        Raises:
            UserError: the file cannot be written.
        """
        text = json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False)
        try:
            path.write_text(text + "\n")
        except OSError as error:
            raise UserError(f"cannot write {str(path)!r}: {error.strerror}") from error

    @classmethod
    def read(cls, path: Path) -> Patterns:
        """Reads what `write` wrote.

        Raises:
            UserError: no such file, or it is not a `patterns.json` of this version.
        """
        try:
            content = json.loads(path.read_text())
        except OSError as error:
            raise UserError(f"cannot read patterns {str(path)!r}: {error.strerror}") from error
        except ValueError as error:
            raise UserError(f"patterns {str(path)!r} is not JSON: {error}") from error
        version = content.get("version") if isinstance(content, dict) else None
        fields = {field.name for field in dataclasses.fields(cls)}
        if version != _VERSION or set(content) != fields:
            raise UserError(
                f"{str(path)!r} is not a patterns.json of version {_VERSION} (its version: "
                f"{version}); make it again with rllib-seq discover"
            )
        parts = {
            "gap": Gap,
            "window": WindowAdvice,
            "hours": Curve,
            "weekdays": Curve,
            "delay": Delay,
        }
        for name, part in parts.items():
            if content[name] is not None:
                content[name] = part(**content[name])
        return cls(**content)


def discover(
    log: EventLog,
    progress: Callable[[str], None] = lambda _: None,
    gap_seconds: float | None = None,
    lookback_seconds: float | None = LOOKBACK,
) -> Patterns:
    """Finds the patterns of a log.

    Args:
        log: sorted events, at least one.
        progress: is called with what comes next, `STAGES` times.
        gap_seconds: the silence that ends a journey; None: found from the log. It has no part in
            the credits.
        lookback_seconds: how long before a conversion a touchpoint may be and still be credited;
            None: no limit.
    """
    progress("journeys")
    gap = find_gap(log) if gap_seconds is None else Gap(gap_seconds, "as given")
    journeys = split(log, gap.seconds, gap.by_segment)
    window = choose_window(journeys.steps)
    groups = journey_groups(log, journeys)
    names = mix(log, journeys)
    progress("attribution")
    paths = Paths.from_log(log, lookback_seconds)
    named = named_channels(log)
    channels = [name for name, kept in zip(log.names["channel"], named, strict=True) if kept]
    credits = {model: credit[named] for model, credit in attribute(paths).items()}
    states = np.append(named, [True, True, True])
    counts = transition_counts(paths)[np.ix_(states, states)]
    unattributed = paths.unattributed
    del paths  # large, like the log
    progress("positions and rates")
    by_position = positions(log, journeys)
    by_name = rates(log)
    progress("hours and days")
    steps = log.is_event(*journeys.step_kinds)
    clock = log.has_clock and steps.any()
    hours = hour_curve(log.local_time[steps], log.user[steps]) if clock else None
    weekdays = weekday_curve(log.local_time[steps], log.user[steps]) if clock else None
    delay = conversion_delay(log, journeys) if log.has_clock else None
    progress("trends and drift")
    return Patterns(
        source=_source(log),
        gap=gap,
        journeys=journey_summary(log, journeys, unattributed),
        mix=names,
        groups=groups,
        window=window,
        hours=hours,
        weekdays=weekdays,
        delay=delay,
        transitions=transitions(channels, counts),
        positions=by_position,
        rates=by_name,
        trends=trends(log) if log.timed else [],
        drift=drift(log) if log.timed else [],
        attribution={
            model: dict(zip(channels, credit.tolist(), strict=True))
            for model, credit in credits.items()
        },
        lookback_seconds=lookback_seconds if log.timed else None,
    )


def choose_window(steps: NDArray[np.int64]) -> WindowAdvice:
    """The shortest journey-length quantile at which nine steps of ten see their whole journey.

    A step sees all of its journey if no more steps than the window went before, so coverage is
    `sum(min(steps, L)) / sum(steps)`; cost grows in proportion to L (attention: faster).

    Args:
        steps: `[J]` steps per journey.

    >>> choose_window(np.array([1, 1, 2, 2, 3, 9])).length
    9
    """
    lengths = steps[steps > 0]
    if not len(lengths):
        return WindowAdvice(1, 1.0, "the log has no steps", [])
    sizes = np.quantile(lengths, _QUANTILES, method="inverted_cdf").astype(int)
    sizes = np.minimum(sizes, _LONGEST)
    covered = [float(np.minimum(lengths, size).sum() / lengths.sum()) for size in sizes]
    chosen = next((i for i, share in enumerate(covered) if share >= _COVERAGE), len(sizes) - 1)
    length, share = int(sizes[chosen]), covered[chosen]
    reason = (
        f"P{100 * _QUANTILES[chosen]:.0f} of the journey lengths: {100 * share:.0f} % of the steps "
        "see their whole journey"
    )
    longer = next((i for i in range(chosen, len(sizes)) if sizes[i] > length), None)
    shorter = next((i for i in range(chosen, -1, -1) if sizes[i] < length), None)
    if longer is not None:
        reason += (
            f"; {sizes[longer]} would show {100 * covered[longer]:.0f} % at "
            f"{sizes[longer] / length:.1f} times the cost"
        )
    if shorter is not None:
        reason += f", {sizes[shorter]} only {100 * covered[shorter]:.0f} %"
    if length == 1:
        reason += "; users rarely come twice, so follow the campaign instead (stream='campaign')"
    return WindowAdvice(
        length,
        share,
        reason,
        [
            {"quantile": q, "length": int(size), "coverage": cover, "cost": float(size / length)}
            for q, size, cover in zip(_QUANTILES, sizes, covered, strict=True)
        ],
    )


def _source(log: EventLog) -> dict[str, Any]:
    first, last = (np.datetime64(int(t), "us") for t in (log.time.min(), log.time.max()))
    return {
        "file": str(log.bad.path),
        "format": log.format,
        "events": len(log),
        "users": int(len(np.unique(log.user))),
        "bad_rows": log.bad.count,
        "bad_examples": log.bad.examples,
        "warnings": log.bad.warnings(),
        "notes": log.bad.notes,
        "duplicates": log.duplicates,
        "first": f"{first}Z" if log.timed else None,
        "last": f"{last}Z" if log.timed else None,
        "timezone": log.timezone if log.has_clock else None,
    }

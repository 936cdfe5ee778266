"""What discovery found, as options of a training.

- `with_patterns`: window length and world of a `patterns.json`, as far as the user left them open.
- `observed`: what a log tells about the users, for `AuctionConfig.observed`.
- `credits`: what an impression on each channel is credited, for `AuctionConfig.credits`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from rllib_seq.envs.ad_auction.worlds.observed import Observed
from rllib_seq.errors import UserError
from rllib_seq.journeys.attribution import MODELS, NO_NAME
from rllib_seq.journeys.patterns import Patterns
from rllib_seq.training.config.experiment import Options

_FEWEST_RETURNS = 100  # of users, to tell how long they stay away
_SHORTEST_DELAY = 1e-3  # hours; the scale of delays is logarithmic
_WORDS = {
    "channels": "channels",
    "segments": "segments",
    "hours": "hour curve",
    "return_probability": "journey lengths",
    "gap_hours": "pauses",
    "delay": "conversion delay",
}


def with_patterns(options: Options, path: Path | None) -> tuple[Options, str]:
    """Options with what they leave open taken from `patterns.json`.

    In preset log the world is the log itself, and only users as streams take the window length.

    Args:
        options: what the user gave; wins over the patterns.
        path: of the file; None changes nothing.

    Returns:
        The options, and a line that says what was taken and what the file does not tell.

    Raises:
        UserError: the file cannot be read.
    """
    if path is None:
        return options, ""
    patterns = Patterns.read(path)
    changes: dict[str, Any] = {}
    reported: list[str] = []
    silent: list[str] = []
    if options.window_length is None and (options.preset != "log" or options.stream == "user"):
        changes["window_length"] = patterns.window.length
        reported.append(f"window length {patterns.window.length}")
    if options.preset != "log":
        world = observed(patterns)
        changes["observed"] = dataclasses.asdict(world)
        for name, words in _WORDS.items():
            (silent if getattr(world, name) is None else reported).append(words)
        if patterns.journeys["value"] and world.channels is not None:
            changes["credits"] = credits(patterns)
    line = f"from {path}: {', '.join(reported) or 'nothing'}"
    if silent:
        line += f"; not given, so as in the preset: {', '.join(silent)}"
    return dataclasses.replace(options, **changes), line


def observed(patterns: Patterns) -> Observed:
    """What a log tells about channels, segments, hours, journey lengths, pauses and delays."""
    mix, steps = patterns.mix, patterns.journeys["steps"]
    hours, weekdays = patterns.hours, patterns.weekdays
    return Observed(
        channels=_named(mix["channel"]),
        segments=_named(mix["segment"]),
        hours=None if hours is None else tuple(hours.share),
        weekdays=None if weekdays is None else tuple(weekdays.share),
        return_probability=tuple(patterns.journeys["return_probability"]) or None,
        gap_hours=_gap(patterns.journeys, steps),
        delay=_delay(patterns),
    )


def credits(patterns: Patterns, model: str = "shapley") -> tuple[float, ...]:
    """What a touchpoint on each channel of `observed` was credited, in mean conversion values.

    Args:
        patterns: of a log with conversions.
        model: a key of `attribution.MODELS`.

    Raises:
        UserError: no such model, or the log has no conversions.
    """
    if model not in MODELS:
        raise UserError(f"unknown attribution {model!r}; choose one of: {', '.join(MODELS)}")
    converted, value = patterns.journeys["converted"], patterns.journeys["value"]
    if not converted or not value:
        raise UserError("the log has no conversions of any value, so no channel earned a credit")
    touched = patterns.mix["touchpoints"]
    credit = patterns.attribution[model]
    return tuple(
        credit[name] * converted / (value * touched[name]) if touched.get(name) else 0.0
        for name in patterns.mix["channel"]
    )


def _named(counts: dict[str, int]) -> dict[str, float] | None:
    """Shares by name; None if the log names nothing."""
    return None if set(counts) <= {NO_NAME} else {name: float(n) for name, n in counts.items()}


def _gap(journeys: dict[str, Any], steps: dict[str, float] | None) -> float | None:
    hours = journeys["hours"]
    if hours is None or steps is None:
        return None
    returns = steps["mean"] - 1.0  # per journey
    if journeys["journeys"] * returns < _FEWEST_RETURNS or hours["mean"] <= 0:
        return None
    return float(hours["mean"] / returns)


def _delay(patterns: Patterns) -> tuple[tuple[float, float], ...] | None:
    """Quantiles as a distribution: the ends are guessed at a step beyond the outer ones."""
    if patterns.delay is None:
        return None
    pairs: list[tuple[float, float]] = [(0.0, _SHORTEST_DELAY)]
    for row in patterns.delay.quantiles:
        hours = max(row["hours"], pairs[-1][1] * 1.001)
        pairs.append((row["probability"], hours))
    return (*pairs, (1.0, pairs[-1][1] * 1.5))

"""Patterns as tables of words: what the terminal and the HTML page show alike.

Every function returns the column names and the rows; no rows where the log does not tell.
"""

from __future__ import annotations

from rllib_seq.journeys.patterns import Patterns
from rllib_seq.journeys.time_patterns import Curve

Rows = tuple[list[str], list[list[str]]]

_CHANNELS = 12
_WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


def journey_rows(patterns: Patterns) -> Rows:
    """What the log holds and how its journeys end."""
    source, journeys = patterns.source, patterns.journeys
    low, high = 100 * journeys["low"], 100 * journeys["high"]
    rows = [
        ["events", f"{source['events']:,} ({source['format']})"],
        ["rows left out", f"{source['bad_rows']:,} bad, {source['duplicates']:,} repeated"],
        ["users", f"{source['users']:,}"],
        ["time, UTC", f"{source['first']} to {source['last']}" if source["first"] else "none"],
        ["journeys", f"{journeys['journeys']:,}, {journeys['per_user']:.2f} per user"],
        ["a journey ends after", _gap(patterns)],
        [
            "conversion rate so far",
            f"{100 * journeys['conversion_rate']:.3f} % ({low:.3f} to {high:.3f})",
        ],
        [f"steps ({journeys['step']})", _spread(journeys["steps"])],
        ["touchpoints", _spread(journeys["touchpoints"])],
        ["touchpoints, converted", _spread(journeys["touchpoints_converted"])],
        ["duration, hours", _spread(journeys["hours"])],
    ]
    if patterns.delay is not None:
        delay = patterns.delay
        rows.insert(
            7,
            [
                "conversions to come, modelled",
                f"{delay.to_come:,.1f} more of these journeys, then a rate of "
                f"{100 * delay.eventual_rate:.3f} % ({100 * delay.eventual_low:.3f} to "
                f"{100 * delay.eventual_high:.3f})",
            ],
        )
        within = delay.within
        median = next(row for row in patterns.delay.quantiles if row["probability"] == 0.5)
        rows.append(
            [
                "conversion delay, modelled",
                f"median {median['hours']:.2f} h ({median['low']:.2f} to {median['high']:.2f}); "
                f"{100 * within['hour']:.0f} % within an hour, "
                f"{100 * within['day']:.0f} % within a day",
            ]
        )
    return ["", ""], rows


def _gap(patterns: Patterns) -> str:
    gap = patterns.gap
    text = f"a conversion or {_silence(gap.seconds)}" if gap.seconds else "a conversion"
    text += f" ({gap.reason})"
    for segment, seconds in gap.by_segment.items():
        text += f"; segment {segment}: {_silence(seconds)}"
    return text


def _silence(seconds: float | None) -> str:
    return "no silence" if seconds is None else f"{seconds / 3600:.2f} silent hours"


def _spread(summary: dict[str, float] | None) -> str:
    if summary is None:
        return "-"
    points = ", ".join(f"{name.upper()} {summary[name]:.4g}" for name in ("p50", "p90", "p99"))
    return f"mean {summary['mean']:.4g}, {points}"


def window_rows(patterns: Patterns) -> Rows:
    """The candidates for the window length."""
    rows = [
        [
            f"P{100 * row['quantile']:.0f}",
            f"{row['length']:.0f}",
            f"{100 * row['coverage']:.1f} %",
            f"{row['cost']:.2f}",
        ]
        for row in patterns.window.candidates
    ]
    return ["journey length", "steps", "see their whole journey", "cost"], rows


def peak_rows(patterns: Patterns) -> Rows:
    """Hours and weekdays above the average."""
    rows = []
    for name, curve, words in (
        ("hours", patterns.hours, [f"{hour:02d}" for hour in range(24)]),
        ("weekdays", patterns.weekdays, _WEEKDAYS),
    ):
        if curve is not None:
            zone = patterns.source["timezone"]
            rows.append([f"{name}, {zone}", _peaks(curve, words), f"{curve.days}"])
    return ["peaks", "share of the steps (95 % interval), largest first", "whole days"], rows


def _peaks(curve: Curve, words: list[str]) -> str:
    parts = []
    for k in curve.peaks[:6]:
        text = f"{words[k]} {100 * curve.share[k]:.1f} %"
        if curve.low is not None and curve.high is not None:
            text += f" ({100 * curve.low[k]:.1f} to {100 * curve.high[k]:.1f})"
        parts.append(text)
    return "; ".join(parts) or "none stands out"


def group_rows(patterns: Patterns) -> Rows:
    """Touchpoints and duration by segment and outcome."""
    rows = [
        [
            row["segment"],
            row["outcome"],
            f"{row['journeys']:,}",
            _spread(row["touchpoints"]),
            _spread(row["hours"]),
        ]
        for row in patterns.groups
    ]
    return ["segment", "outcome", "journeys", "touchpoints", "hours"], rows


def credit_rows(patterns: Patterns) -> Rows:
    """Value of every channel by every model, largest first; no rows without any value.

    What no channel is credited with has a row of its own, so that the sum is the log's value.
    """
    models = list(patterns.attribution)
    columns = ["channel", *models]
    credits = patterns.attribution[models[0]]
    unattributed = patterns.journeys["unattributed_value"]
    if not credits or sum(credits.values()) + unattributed == 0:
        return columns, []
    order = sorted(credits, key=lambda channel: -credits[channel])

    def row(name: str, channels: list[str], more: float = 0.0) -> list[str]:
        sums = (more + sum(patterns.attribution[model][c] for c in channels) for model in models)
        return [name, *(f"{value:,.2f}" for value in sums)]

    rows = [row(channel, [channel]) for channel in order[:_CHANNELS]]
    others = order[_CHANNELS:]
    if others:
        rows.append(row(f"{len(others)} others", others))
    if unattributed:
        rows.append(row(_no_touchpoint(patterns), [], unattributed))
    return columns, [*rows, row("sum", order, unattributed)]


def _no_touchpoint(patterns: Patterns) -> str:
    if patterns.lookback_seconds is None:
        return "(no channel before)"
    return f"(no channel in {patterns.lookback_seconds / 86_400:.4g} days before)"


def drift_rows(patterns: Patterns) -> Rows:
    """Stability indices, the largest first, and what chance alone explains."""
    ordered = sorted(patterns.drift, key=lambda row: -row["index"])
    rows = [
        [
            row["name"],
            f"{row['index']:.3f}",
            "-" if row["limit"] is None else f"{row['limit']:.3f}",
            row["verdict"],
        ]
        for row in ordered
    ]
    return ["what", "stability index", "by chance below", "verdict"], rows

"""One self-contained HTML page of what discovery found."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from rllib_seq.errors import UserError
from rllib_seq.html import ORANGE, figure_html, page, table_html
from rllib_seq.journeys.patterns import Patterns
from rllib_seq.journeys.tables import (
    credit_rows,
    drift_rows,
    group_rows,
    journey_rows,
    window_rows,
)
from rllib_seq.journeys.time_patterns import Curve

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def write_report(patterns: Patterns, path: Path) -> None:
    """Writes the page.

    Raises:
        UserError: the file cannot be written.
    """
    title = f"Patterns of {Path(patterns.source['file']).name}"
    parts = [f"<h1>{html.escape(title)}</h1>", *_reading(patterns.source)]
    for name, (columns, rows) in {
        "Journeys": journey_rows(patterns),
        "Window length": window_rows(patterns),
        "Journeys by segment and outcome": group_rows(patterns),
        "Channel credits, modelled": credit_rows(patterns),
        "Drift, second half against first": drift_rows(patterns),
    }.items():
        if rows:
            parts += [f"<h2>{name}</h2>", table_html(columns, rows)]
        if name == "Window length":
            parts.append(f"<p>{html.escape(patterns.window.reason)}.</p>")
    charts = []
    if len(patterns.transitions["states"]) > 3:
        charts.append(_transitions(patterns))
    if any(row["reached"] for row in patterns.positions):
        charts.append(_positions(patterns, "hazard", "reached"))
    if any(row["impressions"] for row in patterns.positions):
        charts.append(_positions(patterns, "ctr", "impressions"))
    zone = patterns.source["timezone"]
    if patterns.hours is not None:
        charts.append(
            _curve(patterns.hours, [str(h) for h in range(24)], f"Hours of the day, {zone}")
        )
    if patterns.weekdays is not None:
        charts.append(_curve(patterns.weekdays, list(_WEEKDAYS), f"Weekdays, {zone}"))
    if patterns.delay is not None:
        charts.append(_delay(patterns.delay.quantiles))
    charts += [_trend(row) for row in patterns.trends]
    parts += [figure_html(chart) for chart in charts]
    try:
        path.write_text(page(title, parts))
    except OSError as error:
        raise UserError(f"cannot write {str(path)!r}: {error.strerror}") from error


def _reading(source: dict[str, Any]) -> list[str]:
    """What has to be known about the reading of the log before all else."""
    words = [f"<b>Warning: {html.escape(text)}.</b>" for text in source["warnings"]]
    if source["warnings"]:
        words += [f"Bad row: {html.escape(text)}" for text in source["bad_examples"]]
    parts = []
    if words:
        frame = f"border: 2px solid {ORANGE}; padding: .5rem 1rem"
        parts.append(f"<div role=alert style='{frame}'><p>{'</p><p>'.join(words)}</p></div>")
    return parts + [
        f"<p>{html.escape(text[0].upper() + text[1:])}.</p>" for text in source["notes"]
    ]


def _interval(middle: list[float], low: list[float], high: list[float]) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [end - value for end, value in zip(high, middle, strict=True)],
        "arrayminus": [value - end for end, value in zip(low, middle, strict=True)],
    }


def _curve(curve: Curve, names: list[str], title: str) -> go.Figure:
    bar = go.Bar(x=names, y=curve.share)
    if curve.low is not None and curve.high is not None:
        bar.error_y = _interval(curve.share, curve.low, curve.high)
    bar.marker.color = ["#d9822b" if k in curve.peaks else "#5b8def" for k in range(len(names))]
    figure = go.Figure(bar)
    figure.update_layout(title=f"{title} ({curve.days} days)", yaxis_title="share of the steps")
    figure.update_yaxes(tickformat=".1%")
    figure.update_xaxes(type="category")
    return figure


def _positions(patterns: Patterns, rate: str, of: str) -> go.Figure:
    rows = [row for row in patterns.positions if row[of]]
    middle, low, high = ([row[rate + end] for row in rows] for end in ("", "_low", "_high"))
    figure = go.Figure(
        go.Scatter(
            x=[row["position"] for row in rows],
            y=middle,
            error_y=_interval(middle, low, high),
            mode="lines+markers",
        )
    )
    if rate == "hazard":
        title = "Conversion next, of the journeys that reached a touchpoint"
        what = "touchpoint of the journey"
    else:
        title, what = "Click rate by impression", "impression of the journey"
    figure.update_layout(title=title, xaxis_title=f"{what} ({rows[-1]['position']}: all later)")
    figure.update_yaxes(tickformat=".2~%")
    return figure


def _transitions(patterns: Patterns) -> go.Figure:
    states = patterns.transitions["states"]
    figure = go.Figure(
        go.Heatmap(
            z=patterns.transitions["matrix"],
            x=states,
            y=states[:-2],
            colorscale="Blues",
            hovertemplate="%{y} to %{x}: %{z:.1%}<extra></extra>",
            colorbar={"tickformat": ".0%"},
        )
    )
    figure.update_layout(title="Where users go next, from row to column")
    return figure


def _delay(quantiles: list[dict[str, float]]) -> go.Figure:
    hours, low, high, share = (
        [row[name] for row in quantiles] for name in ("hours", "low", "high", "probability")
    )
    figure = go.Figure(
        go.Scatter(x=hours, y=share, error_x=_interval(hours, low, high), mode="lines+markers")
    )
    figure.update_layout(
        title="Conversion delay after the last click or touchpoint, modelled (Kaplan-Meier)",
        xaxis_title="hours",
        yaxis_title="share of the conversions within",
    )
    figure.update_yaxes(tickformat=".0%")
    if hours[0] > 0:
        figure.update_xaxes(type="log")
    return figure


def _trend(row: dict[str, Any]) -> go.Figure:
    day, value = zip(*row["daily"], strict=True)
    figure = go.Figure(go.Scatter(x=day, y=value, mode="lines+markers"))
    change = f"{row['per_day']:+.4g} per day ({row['low']:+.4g} to {row['high']:+.4g})"
    figure.update_layout(title=f"{row['name']}: {change}", xaxis_title="day")
    return figure

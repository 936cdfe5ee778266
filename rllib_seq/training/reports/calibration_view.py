"""The calibration of auxiliary heads for people: a table, and a part of the report."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from rllib_seq.html import GREY, figure_html, table_html

_COLUMNS = (
    "head",
    "requests",
    "base rate",
    "Brier (base rate's)",
    "skill",
    "calibration error",
    "RMSE to truth (base rate's)",
)


CALIBRATION = "auxiliary heads: outcomes, then true probabilities"
"""Title of the table."""


def calibration_rows(cards: list[dict[str, Any]]) -> list[dict[str, str]]:
    """`calibration` of `evaluation.json` as rows of a table."""
    return [dict(zip(_COLUMNS, _cells(card), strict=True)) for card in cards]


def calibration_html(cards: list[dict[str, Any]]) -> list[str]:
    """The same for the report, with a reliability curve per head."""
    return [
        "<h2>Auxiliary heads</h2><p>How likely the heads said an event was, against what happened, "
        "and against the simulator's true probability (which knows the hidden stage).</p>",
        table_html(_COLUMNS, map(_cells, cards)),
        *(figure_html(_reliability_chart(card)) for card in cards),
    ]


def _cells(card: dict[str, Any]) -> list[str]:
    truth = card["truth"]
    return [
        _title(card),
        f"{card['requests']:,}",
        f"{card['base_rate']:.4f}",
        f"{card['brier']:.4f} ({card['brier_base_rate']:.4f})",
        "-" if card["skill"] is None else f"{100 * card['skill']:.1f} %",
        f"{card['ece']:.4f}",
        f"{_root(truth['mse']):.4f} ({_root(truth['mse_base_rate']):.4f})" if truth else "-",
    ]


def _title(card: dict[str, Any]) -> str:
    within = "" if card["horizon"] == 1 else f" in {card['horizon']}"
    return f"{card['head']}{within}{' | bid' if card['given_action'] else ''}"


def _root(square: float) -> float:
    """Of an unbiased estimate of a square, which may come out below 0."""
    return max(square, 0.0) ** 0.5


def _reliability_chart(card: dict[str, Any]) -> go.Figure:
    most = max(max(row["forecast"], row["outcome"]) for row in card["bins"])
    figure = go.Figure(
        go.Scatter(
            x=[0, most],
            y=[0, most],
            mode="lines",
            line={"color": GREY, "dash": "dot"},
            name="exact",
        )
    )
    curves = [("outcomes", "#5b8def", card["bins"])]
    if card["truth"]:
        curves.append(("true probability", "#d9822b", card["truth"]["bins"]))
    for name, color, bins in curves:
        figure.add_scatter(
            x=[row["forecast"] for row in bins],
            y=[row["outcome"] for row in bins],
            text=[f"{row['count']:,} requests" for row in bins],
            mode="lines+markers",
            line={"color": color},
            name=name,
        )
    figure.update_layout(
        title=f"Reliability: {_title(card)}",
        xaxis_title="forecast (mean of a tenth of the requests)",
        yaxis_title="how often it happened",
    )
    return figure

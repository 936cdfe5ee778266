"""One recorded campaign as a part of the report; see `showcase`.

- `campaign_html`: money over time, bids against prices and against Bayes, journeys of users.
"""

from __future__ import annotations

import html
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from rllib_seq.html import BLUE, GREEN, GREY, ORANGE, figure_html

_STAGES = ("rgba(125,133,144,.30)", "rgba(91,141,239,.35)", "rgba(217,130,43,.40)", GREEN)
_MARKS = {
    "clicked": ("click", "triangle-up"),
    "visited": ("visit", "circle-open"),
    "converted": ("conversion", "star"),
}


def campaign_html(campaign: dict[str, Any]) -> list[str]:
    """Headings, explanations and charts.

    Args:
        campaign: of `evaluation.json`, see `showcase.record`.
    """
    return [
        f"<h2>One campaign</h2><p>{campaign['num_users']:,} users and {campaign['requests']:,} "
        "requests that no training and no evaluation played.</p>",
        figure_html(_money(campaign)),
        figure_html(_auctions(campaign["auctions"])),
        figure_html(_by_belief(campaign["bids_by_belief"])),
        "<h2>Journeys</h2><p>Some of the longest journeys of each way to end. Above, what Bayes' "
        "rule makes of all that a bidder could have seen of the user (areas); the line runs "
        "through the area of the true stage, which no bidder sees. Below, our bid, what Bayes "
        "would have bid there, and the price that was to be beaten.</p>"
        + _legend(campaign["stages"]),
        *(
            figure_html(_journey(journey, campaign["stages"]), height=520)
            for journey in campaign["journeys"]
        ),
    ]


def _legend(stages: list[str]) -> str:
    """Of all journeys at once."""
    areas = [
        (_STAGES[s % len(_STAGES)], "\u25a0", f"believed {stage}") for s, stage in enumerate(stages)
    ]
    lines = [
        (GREY, "\u25cf", "hidden stage"),
        (ORANGE, "\u25ae", "our bid, won"),
        (GREY, "\u25ae", "our bid, lost"),
        (BLUE, "\u2501", "bid of Bayes"),
        (BLUE, "\u2508", "price"),
        *((BLUE, sign, name) for sign, name in (("\u25b2", "click"), ("\u25cb", "visit"))),
        (BLUE, "\u2605", "conversion"),
    ]
    items = "".join(
        f"<li><i style='color:{color}'>{sign}</i>{html.escape(name)}</li>"
        for color, sign, name in [*areas, *lines]
    )
    return f"<ul class=legend>{items}</ul>"


def _money(campaign: dict[str, Any]) -> go.Figure:
    money = campaign["money"]
    figure = go.Figure()
    figure.add_scatter(
        x=money["hour"], y=money["spend"], mode="lines", name="spend", line={"color": ORANGE}
    )
    budget, flight = campaign["budget"], campaign["flight_hours"]
    if budget is not None and flight is not None:
        figure.add_scatter(
            x=[0, flight],
            y=[0, budget],
            mode="lines",
            name="plan: the budget, evenly",
            line={"color": GREY, "dash": "dot"},
        )
    figure.add_scatter(
        x=money["hour"],
        y=money["value"],
        mode="lines",
        name="value of conversions",
        line={"color": BLUE},
    )
    figure.update_layout(
        title="Pacing: money spent and earned", xaxis_title="hour", yaxis_title="currency units"
    )
    return figure


def _auctions(auctions: dict[str, list[Any]]) -> go.Figure:
    figure = go.Figure()
    for won, name, color in ((False, "lost", GREY), (True, "won", ORANGE)):
        some = [i for i, this in enumerate(auctions["won"]) if this == won]
        figure.add_scatter(
            x=[auctions["market_price"][i] for i in some],
            y=[auctions["bid"][i] for i in some],
            mode="markers",
            marker={"color": color, "size": 5, "opacity": 0.7},
            name=name,
        )
    prices = [price for price in auctions["market_price"] if price > 0]
    if prices:
        ends = [min(prices), max(prices)]
        figure.add_scatter(
            x=ends, y=ends, mode="lines", name="bid = price", line={"color": GREY, "dash": "dot"}
        )
    figure.update_layout(
        title="Bids against market prices",
        xaxis={"title": "market price", "type": "log"},
        yaxis={"title": "our bid", "type": "log"},
    )
    return figure


def _by_belief(rows: list[dict[str, float]]) -> go.Figure:
    bayes = [row["bayes"] for row in rows]
    most = max(bayes, default=0.0)
    figure = go.Figure()
    figure.add_scatter(
        x=bayes + bayes[::-1],
        y=[row["high"] for row in rows] + [row["low"] for row in reversed(rows)],
        fill="toself",
        mode="none",
        fillcolor="rgba(217,130,43,.18)",
        name="10 to 90 % of our bids",
    )
    figure.add_scatter(
        x=bayes,
        y=[row["bid"] for row in rows],
        mode="lines+markers",
        name="our mean bid",
        line={"color": ORANGE},
    )
    figure.add_scatter(
        x=[0, most],
        y=[0, most],
        mode="lines",
        name="as Bayes",
        line={"color": GREY, "dash": "dot"},
    )
    figure.update_layout(
        title="What the bidder makes of what it saw",
        xaxis_title="bid of the Bayes policy at the same requests",
        yaxis_title="our bid",
    )
    return figure


def _journey(journey: dict[str, Any], stages: list[str]) -> go.Figure:
    requests = journey["requests"]
    figure = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=0.08)
    x = list(range(1, len(requests) + 1))
    for s, stage in enumerate(stages):
        figure.add_scatter(
            x=x,
            y=[request["belief"][s] for request in requests],
            stackgroup="belief",
            mode="lines",
            line={"width": 0},
            fillcolor=_STAGES[s % len(_STAGES)],
            name=f"believed {stage}",
            row=1,
            col=1,
        )
    middle = [_middle(request) for request in requests]
    figure.add_scatter(
        x=x,
        y=middle,
        mode="lines+markers",
        line={"color": GREY, "shape": "hv"},
        marker={"size": 5},
        text=[stages[request["stage"]] for request in requests],
        name="hidden stage",
        row=1,
        col=1,
    )
    for won, name, color in ((False, "our bid, lost", GREY), (True, "our bid, won", ORANGE)):
        figure.add_bar(
            x=[at for at, request in zip(x, requests, strict=True) if request["won"] == won],
            y=[request["bid"] for request in requests if request["won"] == won],
            marker_color=color,
            name=name,
            row=2,
            col=1,
        )
    for key, name, dash in (("bayes_bid", "Bayes", "solid"), ("market_price", "price", "dot")):
        figure.add_scatter(
            x=x,
            y=[request[key] for request in requests],
            mode="lines+markers",
            line={"color": BLUE, "dash": dash, "width": 1},
            marker={"size": 4},
            text=[request["channel"] for request in requests],
            name=name,
            row=2,
            col=1,
        )
    for key, (name, symbol) in _MARKS.items():
        at = [number for number, request in zip(x, requests, strict=True) if request[key]]
        if at:
            figure.add_scatter(
                x=at,
                y=[1.06] * len(at),
                mode="markers",
                marker={"symbol": symbol, "size": 11, "color": BLUE},
                name=name,
                row=1,
                col=1,
            )
    figure.update_layout(
        title=f"User {journey['user']}: {journey['outcome']}, {len(requests)} requests",
        barmode="overlay",
        showlegend=False,
    )
    figure.update_yaxes(title="belief", range=[0, 1.12], row=1, col=1)
    figure.update_yaxes(title="currency units", row=2, col=1)
    figure.update_xaxes(title="request", row=2, col=1)
    return figure


def _middle(request: dict[str, Any]) -> float:
    """Where the area of the true stage is: what was believed of it would be all around the line."""
    below = sum(request["belief"][: request["stage"]])
    return below + request["belief"][request["stage"]] / 2

"""From the cells of `rllib-seq bench learning` to what people read.

- `summarize`: rows per contender and reference, and who beats whom
- `show_summary`: the tables
- `write_page`: bars with intervals and learning curves, one HTML page
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import ray
import torch
from rich.table import Table

from rllib_seq.benchmarks.learning.statistics import (
    improvement_interval,
    interval,
    iqm,
    probability_of_improvement,
)
from rllib_seq.html import BLUE, GREY, ORANGE, figure_html, page, table_html
from rllib_seq.training.run.console import make_console

GOAL = 80.0  # % of Bayes
OURS = ("window", "causal")

_COLUMNS = (
    ("policy", "policy"),
    ("signal", "signal"),
    ("seeds", "seeds"),
    ("score", "score"),
    ("pct_of_bayes", "% Bayes"),
    ("pct_of_full_information", "% full inf."),
    ("spent", "spent"),
    ("conversions", "conv."),
    ("cpa", "CPA"),
    ("roas", "ROAS"),
    ("steps_to_goal", "steps to 80 %"),
    ("seconds_to_goal", "s to 80 %"),
    ("seconds", "s"),
    ("cpu_seconds", "CPU s"),
)


def summarize(
    cells: Sequence[dict[str, Any]], references: Mapping[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    """What the cells say.

    The score of a run is its expected profit in % of that of Bayes (of a log: its expected clicks
    in % of those of hindsight) on campaigns that it never played.

    Args:
        cells: as `learning_cells` writes them.
        references: by preset, rows of bidders that learn nothing.
    """
    presets = {}
    for preset in dict.fromkeys(cell["preset"] for cell in cells):
        own = [cell for cell in cells if cell["preset"] == preset]
        groups = {
            name: [cell for cell in own if cell["contender"] == name]
            for name in dict.fromkeys(cell["contender"] for cell in own)
        }
        scores = {
            name: [_score(cell, references[preset]) for cell in group]
            for name, group in groups.items()
        }
        rows = [_row(name, group, scores[name]) for name, group in groups.items()]
        rows += _reference_rows(references[preset])
        presets[preset] = {
            "steps": sorted({cell["asked_steps"] for cell in own}),
            "rows": sorted(rows, key=lambda row: row["score"]),
            "improvement": [
                _improvement(name, other, scores)
                for name in scores
                for other in scores
                if name != other
            ],
        }
    return {
        "score": "expected profit in % of Bayes; of a log, expected clicks in % of hindsight",
        "presets": presets,
        "runs": [_run(cell, references[cell["preset"]]) for cell in cells],
        "versions": {
            "python": platform.python_version(),
            "ray": ray.__version__,
            "torch": torch.__version__,
        },
    }


def _score(cell: dict[str, Any], references: list[dict[str, Any]]) -> float:
    if cell["preset"] != "log":
        return float(cell["expected_pct_of_bayes"])
    best = next(row for row in references if row["policy"] == "hindsight")
    (row,) = cell["policies"]
    return float(100 * row["expected_clicks"] / best["expected_clicks"])


def _row(name: str, group: list[dict[str, Any]], scores: list[float]) -> dict[str, Any]:
    reached = [_to_goal(cell) for cell in group]
    found = [point for point in reached if point is not None]
    return {
        "policy": name,
        "signal": group[0].get("signal"),
        "about": group[0]["about"],
        "seeds": len(group),
        "score": iqm([scores]),
        "score_interval": interval([scores]),
        "scores": [round(score, 2) for score in scores],
        **_money([row for cell in group for row in cell["policies"]], scores),
        # The slowest of all runs, or nothing unless all got there.
        "reached_goal": len(found),
        "steps_to_goal": _slowest(found, "steps", len(group)),
        "seconds_to_goal": _slowest(found, "seconds", len(group)),
        "seconds": float(np.mean([cell["seconds"] for cell in group])),
        "cpu_seconds": float(np.mean([cell["cpu_seconds"] for cell in group])),
    }


def _to_goal(cell: dict[str, Any]) -> dict[str, Any] | None:
    return next((at for at in cell["curve"] if (at["pct_of_bayes"] or 0.0) >= GOAL), None)


def _slowest(found: list[dict[str, Any]], name: str, wanted: int) -> float | None:
    return max(point[name] for point in found) if len(found) == wanted else None


def _reference_rows(references: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = dict.fromkeys(row["policy"] for row in references)
    groups = {name: [row for row in references if row["policy"] == name] for name in names}
    if "hindsight" in groups:
        best = groups["hindsight"][0]["expected_clicks"]
        shares = {name: 100 * rows[0]["expected_clicks"] / best for name, rows in groups.items()}
    else:
        bayes = sum(row["profit"] for row in groups["bayes"])
        shares = {
            name: 100 * sum(row["profit"] for row in rows) / bayes for name, rows in groups.items()
        }
    return [
        {
            "policy": name,
            "signal": rows[0].get("signal"),
            "seeds": None,
            "score": shares[name],
            **_money(rows, [shares[name]]),
        }
        for name, rows in groups.items()
    ]


def _money(rows: list[dict[str, Any]], scores: list[float]) -> dict[str, Any]:
    """Money as it came, over all evaluation campaigns of all runs."""
    spend, budget = (sum(row[name] or 0.0 for row in rows) for name in ("spend", "budget"))
    if "conversions" not in rows[0]:
        clicks = sum(row["expected_clicks"] for row in rows)
        return {"spent": spend / budget, "expected_clicks": clicks / len(rows)}
    conversions = sum(row["conversions"] for row in rows)
    value = sum((row["roas"] or 0.0) * row["spend"] for row in rows)
    return {
        "pct_of_bayes": float(np.mean([row["pct_of_bayes"] for row in rows])),
        "pct_of_full_information": float(np.mean([row["pct_of_full_information"] for row in rows])),
        "spent": spend / budget if budget else None,
        "spend": spend / len(rows),
        "conversions": conversions / len(rows),
        "cpa": spend / conversions if conversions else None,
        "roas": value / spend if spend else None,
    }


def _improvement(name: str, other: str, scores: Mapping[str, list[float]]) -> dict[str, Any]:
    both = [scores[name]], [scores[other]]
    return {
        "of": name,
        "over": other,
        "probability": probability_of_improvement(*both),
        "interval": improvement_interval(*both),
    }


def _run(cell: dict[str, Any], references: list[dict[str, Any]]) -> dict[str, Any]:
    point = _to_goal(cell)
    return {
        "run": f"{cell['preset']}/{cell['contender']}/{cell['seed']}",
        "steps": cell["steps"],
        "score": round(_score(cell, references), 2),
        "steps_to_goal": None if point is None else point["steps"],
        "seconds": cell["seconds"],
        "cpu_seconds": cell["cpu_seconds"],
    }


def show_summary(result: dict[str, Any]) -> None:
    """Prints a table per preset, and how likely the best of ours beats the others."""
    console = make_console()
    for preset, found in result["presets"].items():
        table = Table(title=_title(preset, found), title_justify="left")
        for key, name in _columns(found["rows"]):
            table.add_column(name, justify="left" if key in ("policy", "signal") else "right")
        for row in found["rows"]:
            table.add_row(*_cells(row, found["rows"]))
        console.print(table)
        for row in _best_of_ours(found):
            low, high = row["interval"]
            console.print(
                f"P({row['of']} > {row['over']}) = {row['probability']:.2f} "
                f"[{low:.2f}, {high:.2f}]",
                highlight=False,
                markup=False,
            )


def _title(preset: str, found: dict[str, Any]) -> str:
    steps = ", ".join(f"{steps:,}" for steps in found["steps"])
    unit = "% of hindsight" if preset == "log" else "% of Bayes, expected"
    return f"{preset}, {steps} requests; score: {unit}, IQM and 95 % interval over seeds"


def _columns(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The columns that say something."""
    return [(key, name) for key, name in _COLUMNS if any(row.get(key) is not None for row in rows)]


def _cells(row: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    return [_cell(row, key) for key, _ in _columns(rows)]


def _cell(row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    if key == "steps_to_goal" and value is None and row.get("seeds"):
        return f"{row['reached_goal']} of {row['seeds']}"
    if value is None:
        return "-"
    if key == "score" and row.get("seeds"):
        low, high = row["score_interval"]
        return f"{value:.1f} [{low:.1f}, {high:.1f}]"
    formats = {"spent": "{:.0%}", "cpa": "{:.3f}", "roas": "{:.2f}", "conversions": "{:.0f}"}
    formats |= dict.fromkeys(("score", "pct_of_bayes", "pct_of_full_information"), "{:.1f}")
    formats |= dict.fromkeys(
        ("steps_to_goal", "seconds_to_goal", "seconds", "cpu_seconds"), "{:,.0f}"
    )
    return formats.get(key, "{}").format(value)


def _best_of_ours(found: dict[str, Any]) -> list[dict[str, Any]]:
    learned = [row for row in found["rows"] if row["seeds"] and row["policy"] in OURS]
    if not learned:
        return []
    best = learned[-1]["policy"]
    return [row for row in found["improvement"] if row["of"] == best]


def write_page(result: dict[str, Any], cells: Sequence[dict[str, Any]], path: Path) -> None:
    """Writes tables and charts as one page that needs no network."""
    parts = ["<h1>What memory is worth</h1>"]
    for preset, found in result["presets"].items():
        own = [cell for cell in cells if cell["preset"] == preset]
        parts += [
            f"<h2>{preset}</h2><p>{_title(preset, found)}.</p>",
            table_html(
                [name for _, name in _columns(found["rows"])],
                [_cells(row, found["rows"]) for row in found["rows"]],
            ),
            figure_html(_bars(found["rows"]), height=60 + 34 * len(found["rows"])),
        ]
        if preset != "log":
            parts += [figure_html(_curves(own, unit)) for unit in ("steps", "cpu_seconds")]
    path.write_text(page("What memory is worth", parts))


def _bars(rows: list[dict[str, Any]]) -> go.Figure:
    """Scores, weakest first from below; far below nothing the axis ends."""
    intervals = [row.get("score_interval", (row["score"], row["score"])) for row in rows]
    figure = go.Figure(
        go.Bar(
            y=[row["policy"] for row in rows],
            x=[row["score"] for row in rows],
            orientation="h",
            marker_color=[
                GREY if not row["seeds"] else ORANGE if row["policy"] in OURS else BLUE
                for row in rows
            ],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [
                    high - row["score"] for row, (_, high) in zip(rows, intervals, strict=True)
                ],
                "arrayminus": [
                    row["score"] - low for row, (low, _) in zip(rows, intervals, strict=True)
                ],
                "color": GREY,
            },
        )
    )
    figure.update_layout(title="Score, interquartile mean and 95 % interval")
    figure.update_xaxes(range=[0, 1.05 * max(row["score"] for row in rows)])
    figure.update_yaxes(automargin=True)
    return figure


def _curves(cells: list[dict[str, Any]], unit: str) -> go.Figure:
    """Median of the seeds that each contender has."""
    figure = go.Figure()
    for name in dict.fromkeys(cell["contender"] for cell in cells):
        curves = [cell["curve"] for cell in cells if cell["contender"] == name and cell["curve"]]
        length = min((len(curve) for curve in curves), default=0)
        if not length:
            continue
        shares = np.array([[at["pct_of_bayes"] for at in curve[:length]] for curve in curves])
        along = np.array([[at[unit] for at in curve[:length]] for curve in curves])
        figure.add_scatter(
            x=np.median(along, axis=0).tolist(),
            y=np.median(shares, axis=0).tolist(),
            mode="lines",
            name=name,
        )
    words = {"steps": "bid requests", "cpu_seconds": "processor seconds of training"}
    figure.update_layout(
        title=f"Greedy bids, median of seeds, by {words[unit]}",
        xaxis_title=words[unit],
        yaxis_title="% of Bayes, expected",
    )
    figure.update_yaxes(rangemode="tozero")
    return figure

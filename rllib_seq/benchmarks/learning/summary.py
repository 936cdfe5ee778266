"""From the cells of `rllib-seq bench learning` to what people read.

- `summarize`: rows per contender and reference, and who beats whom
- `tables`: what a terminal shows
- `write_page`: bars with intervals and learning curves, one HTML page
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from rllib_seq.benchmarks.learning.statistics import (
    improvement_interval,
    interval,
    iqm,
    median_to_goal,
    probability_of_improvement,
)
from rllib_seq.benchmarks.result import Row
from rllib_seq.benchmarks.speed import versions
from rllib_seq.html import BLUE, GREY, ORANGE, figure_html, page, table_html
from rllib_seq.training.run.console import as_text

GOALS = (80.0, 90.0, 95.0)  # % of Bayes
OURS = ("window", "causal")


def _of(key: str, form: str) -> Callable[[Row], str | None]:
    """A column with a figure, where there is one."""
    return lambda row: None if row.get(key) is None else format(row[key], form)


def _score(row: Row) -> str:
    if not row["seeds"]:
        return f"{row['score']:.1f}"
    low, high = row["score_interval"]
    return f"{row['score']:.1f} [{low:.1f}, {high:.1f}]"


def _to(goal: str) -> Callable[[Row], str | None]:
    return lambda row: median_to_goal(row["reached"][goal]) if row["seeds"] else None


TO_GOALS: dict[str, Callable[[Row], str | None]] = {f"to {g:g} %": _to(f"{g:g}") for g in GOALS}
"""Requests and processor seconds to so much of Bayes."""
COLUMNS: dict[str, Callable[[Row], str | None]] = {
    "policy": _of("policy", ""),
    "signal": _of("signal", ""),
    "seeds": _of("seeds", ""),
    "score": _score,
    "% Bayes": _of("pct_of_bayes", ".1f"),
    "% full inf.": _of("pct_of_full_information", ".1f"),
    "spent": _of("spent", ".0%"),
    "conv.": _of("conversions", ".0f"),
    "CPA": _of("cpa", ".3f"),
    "ROAS": _of("roas", ".2f"),
    **TO_GOALS,
    "s": _of("seconds", ",.0f"),
    "CPU s": _of("cpu_seconds", ",.0f"),
}
SHOWN = [name for name in COLUMNS if name not in list(TO_GOALS)[1:]]
"""What a terminal has room for."""


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
            name: [_score_of(cell, references[preset]) for cell in group]
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
        "versions": versions(),
    }


def _score_of(cell: dict[str, Any], references: list[dict[str, Any]]) -> float:
    if cell["preset"] != "log":
        return float(cell["expected_pct_of_bayes"])
    best = next(row for row in references if row["policy"] == "hindsight")
    (row,) = cell["policies"]
    return float(100 * row["expected_clicks"] / best["expected_clicks"])


def _row(name: str, group: list[dict[str, Any]], scores: list[float]) -> dict[str, Any]:
    goals = reached(group)
    found = [point for point in goals["80"] if point is not None]
    return {
        "policy": name,
        "signal": group[0].get("signal"),
        "about": group[0]["about"],
        "seeds": len(group),
        "score": iqm([scores]),
        "score_interval": interval([scores]),
        "scores": [round(score, 2) for score in scores],
        **_money([row for cell in group for row in cell["policies"]], scores),
        "reached": goals,
        # The slowest of all runs, or nothing unless all got there.
        "reached_goal": len(found),
        "steps_to_goal": _slowest(found, "steps", len(group)),
        "seconds_to_goal": _slowest(found, "seconds", len(group)),
        "seconds": float(np.mean([cell["seconds"] for cell in group])),
        "cpu_seconds": float(np.mean([cell["cpu_seconds"] for cell in group])),
    }


def reached(cells: Sequence[Row]) -> dict[str, list[Row | None]]:
    """Requests and seconds of each run to each goal; None where it was not reached."""
    return {
        f"{goal:g}": [
            next(
                (
                    {name: at[name] for name in ("steps", "seconds", "cpu_seconds")}
                    for at in cell["curve"]
                    if (at["pct_of_bayes"] or 0.0) >= goal
                ),
                None,
            )
            for cell in cells
        ]
        for goal in GOALS
    }


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
    (point,) = reached([cell])["80"]
    return {
        "run": f"{cell['preset']}/{cell['contender']}/{cell['seed']}",
        "steps": cell["steps"],
        "score": round(_score_of(cell, references), 2),
        "steps_to_goal": None if point is None else point["steps"],
        "seconds": cell["seconds"],
        "cpu_seconds": cell["cpu_seconds"],
    }


def tables(figures: Mapping[str, Any], columns: Sequence[str] = SHOWN) -> dict[str, list[Row]]:
    """A table per preset, and how likely the best of ours beats the others."""
    found: dict[str, list[Row]] = {}
    for preset, part in figures["presets"].items():
        found[_title(preset, part)] = _cells(part["rows"], columns)
        pairs = [
            {"over": row["over"], "probability": row["probability"], "interval": row["interval"]}
            for row in _best_of_ours(part)
        ]
        if pairs:
            best = _best_of_ours(part)[0]["of"]
            found[f"{preset}, probability that {best} improves"] = pairs
    return found


def _title(preset: str, found: dict[str, Any]) -> str:
    steps = ", ".join(f"{steps:,}" for steps in found["steps"])
    unit = "% of hindsight" if preset == "log" else "% of Bayes, expected"
    return f"{preset}, {steps} requests; score: {unit}, IQM and 95 % interval over seeds"


def _cells(rows: Sequence[Row], columns: Iterable[str]) -> list[Row]:
    """The columns that say something."""
    cells = [{name: COLUMNS[name](row) for name in columns} for row in rows]
    said = [name for name in columns if any(row[name] is not None for row in cells)]
    return [{name: row[name] for name in said} for row in cells]


def _best_of_ours(found: dict[str, Any]) -> list[dict[str, Any]]:
    learned = [row for row in found["rows"] if row["seeds"] and row["policy"] in OURS]
    if not learned:
        return []
    best = learned[-1]["policy"]
    return [row for row in found["improvement"] if row["of"] == best]


def write_page(figures: Mapping[str, Any], runs: Sequence[Row], path: Path) -> None:
    """Writes tables and charts as one page that needs no network."""
    parts = ["<h1>What memory is worth</h1>"]
    for preset, found in figures["presets"].items():
        own = [run for run in runs if run["preset"] == preset]
        cells = _cells(found["rows"], COLUMNS)
        parts += [
            f"<h2>{preset}</h2><p>{_title(preset, found)}.</p>",
            table_html(list(cells[0]), [list(map(as_text, row.values())) for row in cells]),
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

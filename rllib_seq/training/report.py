"""One self-contained HTML page of a run: comparison, profit chart, learning curve.

The page needs no network; plotly's script is inside. It follows the reader's light or dark mode.
"""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from rllib_seq.errors import UserError
from rllib_seq.training.run_folder import Row, RunFolder, read_json

__all__ = ["write_report"]

# Mid-grey text and lines on no background read well in light and in dark mode.
_GREY = "#7d8590"
_STYLE = """
:root { color-scheme: light dark; --ink: #1a1d21; --paper: #ffffff; --line: #d9dde3; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ee; --paper: #14171b; --line: #3a414b; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 60rem; margin: 0 auto; padding: 1rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap;
         border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
tr.trained { font-weight: 600; }
.scroll, pre { overflow-x: auto; }
"""


def write_report(run: RunFolder) -> Path:
    """Writes `report.html` of a run from what is in its folder.

    Returns:
        The path of the page.

    Raises:
        UserError: the run has neither progress nor an evaluation.
    """
    progress = run.read_progress()
    path = run.path / "evaluation.json"
    evaluation = read_json(path) if path.is_file() else None
    if not progress and evaluation is None:
        raise UserError(f"run {str(run.path)!r} has nothing to report yet; train it first")
    parts = [f"<h1>{html.escape(run.path.name)}</h1>"]
    if evaluation is not None:
        parts += [_comparison(evaluation), _figure(_profit_chart(evaluation))]
    if progress:
        parts.append(_figure(_learning_curve(progress)))
    parts.append(f"<h2>Config</h2><pre>{html.escape(json.dumps(run.config, indent=2))}</pre>")
    page = (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(run.path.name)}</title><style>{_STYLE}</style>"
        f"<script>{get_plotlyjs()}</script></head><body>{''.join(parts)}</body></html>"
    )
    report = run.path / "report.html"
    report.write_text(page)
    return report


def _comparison(evaluation: dict[str, Any]) -> str:
    seeds = ", ".join(str(seed) for seed in evaluation["seeds"])
    rows = "".join(_comparison_row(row) for row in evaluation["summary"])
    return (
        f"<h2>Comparison</h2><p>Preset {html.escape(evaluation['preset'])}, seeds {seeds}, "
        f"{evaluation['episodes']} campaigns of {evaluation['num_users']} users per seed; mean and "
        "95 % interval.</p><div class=scroll><table><tr><th>policy</th><th>profit per user</th>"
        f"<th>% of Bayes</th><th>over best memoryless</th></tr>{rows}</table></div>"
    )


def _comparison_row(row: dict[str, Any]) -> str:
    name = html.escape(row["policy"])
    profit, over = row["profit_per_user"], row["over_memoryless"]
    share = "-" if row["pct_of_bayes"] is None else f"{row['pct_of_bayes']:.1f}"
    return (
        f"<tr class='{name}'><td>{name}</td>"
        f"<td>{profit['mean']:.4f} ± {profit['half_width']:.4f}</td>"
        f"<td>{share}</td>"
        f"<td>{over['mean']:+.4f} ± {over['half_width']:.4f}</td></tr>"
    )


def _profit_chart(evaluation: dict[str, Any]) -> go.Figure:
    summary = evaluation["summary"]
    figure = go.Figure(
        go.Bar(
            x=[row["policy"] for row in summary],
            y=[row["profit_per_user"]["mean"] for row in summary],
            error_y={
                "array": [row["profit_per_user"]["half_width"] for row in summary],
                "color": _GREY,
            },
            marker_color=[
                "#d9822b" if row["policy"] == "trained" else "#5b8def" for row in summary
            ],
        )
    )
    figure.update_layout(title="Profit per user", yaxis_title="currency units")
    return figure


def _learning_curve(progress: list[Row]) -> go.Figure:
    steps = [row["steps"] for row in progress]
    in_auction = any(row["pct_of_bayes"] is not None for row in progress)
    column = "pct_of_bayes" if in_auction else "episode_return"
    figure = go.Figure(go.Scatter(x=steps, y=[row[column] for row in progress], mode="lines"))
    figure.update_layout(
        title="Learning curve (while exploring)",
        xaxis_title="agent steps",
        yaxis_title="% of the Bayes policy" if in_auction else "episode return",
    )
    return figure


def _figure(figure: go.Figure) -> str:
    figure.update_layout(
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font_color=_GREY,
        height=420,
    )
    figure.update_xaxes(gridcolor="rgba(125,133,144,.25)", linecolor=_GREY)
    figure.update_yaxes(gridcolor="rgba(125,133,144,.25)", linecolor=_GREY)
    return figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        config={"responsive": True, "displayModeBar": False},
    )

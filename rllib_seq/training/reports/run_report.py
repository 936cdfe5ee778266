"""One self-contained HTML page of a run: comparison, learning, calibration, one campaign."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from rllib_seq.errors import UserError
from rllib_seq.html import GREY, figure_html, page
from rllib_seq.training.reports.calibration_view import calibration_html
from rllib_seq.training.reports.campaign_view import campaign_html
from rllib_seq.training.reports.replay_view import replay_html
from rllib_seq.training.run.console import PRIVILEGED, world_title
from rllib_seq.training.storage.files import read_json
from rllib_seq.training.storage.run_folder import Row, RunFolder

__all__ = ["write_report"]


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
    learning = [figure_html(_learning_curve(progress))] if progress else []
    if evaluation is not None:
        if evaluation["preset"] == "log":
            parts += replay_html(evaluation)
        elif "return" in evaluation:
            parts.append(_episodes(evaluation))
        else:
            parts += [_comparison(evaluation), figure_html(_profit_chart(evaluation))]
        parts += learning
        if "calibration" in evaluation:
            parts += calibration_html(evaluation["calibration"])
        if "campaign" in evaluation:
            parts += campaign_html(evaluation["campaign"])
    else:
        parts += learning
    parts.append(
        f"<h2>Config</h2><pre tabindex=0>{html.escape(json.dumps(run.config, indent=2))}</pre>"
    )
    report = run.path / "report.html"
    report.write_text(page(run.path.name, parts))
    return report


def _episodes(evaluation: dict[str, Any]) -> str:
    found = evaluation["return"]
    width = "" if found["half_width"] is None else f" ± {found['half_width']:.2g} (95 %)"
    return (
        f"<h2>Evaluation</h2><p>Mean return of {evaluation['episodes']} episodes in "
        f"{html.escape(evaluation['env'])}: <b>{found['mean']:.4g}{width}</b>, mean length "
        f"{found['mean_length']:.4g} steps.</p>"
    )


def _comparison(evaluation: dict[str, Any]) -> str:
    seeds = ", ".join(str(seed) for seed in evaluation["seeds"])
    rows = "".join(_comparison_row(row) for row in evaluation["summary"])
    return (
        f"<h2>Comparison</h2><p>Preset {html.escape(world_title(evaluation))}, seeds {seeds}, "
        f"{evaluation['episodes']} campaigns of {evaluation['num_users']} users per seed; mean and "
        "95 % interval.</p><div class=scroll tabindex=0><table><tr><th>policy</th>"
        "<th>signal</th><th>profit per user</th><th>% of optimum</th><th>% of Bayes</th>"
        f"<th>over best memoryless</th></tr>{rows}</table></div><p>{PRIVILEGED}</p>"
    )


def _comparison_row(row: dict[str, Any]) -> str:
    name = html.escape(row["policy"])
    profit, over = row["profit_per_user"], row["over_memoryless"]
    shares = [row.get("pct_of_optimum"), row["pct_of_bayes"]]  # the first is not in older runs
    optimum, bayes = ("-" if share is None else f"{share:.1f}" for share in shares)
    return (
        f"<tr class='{name}'><td>{name}</td><td>{row.get('signal') or '-'}</td>"
        f"<td>{profit['mean']:.4f} ± {profit['half_width']:.4f}</td>"
        f"<td>{optimum}</td><td>{bayes}</td>"
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
                "color": GREY,
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

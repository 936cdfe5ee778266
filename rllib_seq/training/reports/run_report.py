"""One self-contained HTML page of a run: comparison, learning, calibration, one campaign."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from rllib_seq.errors import UserError
from rllib_seq.html import BLUE, GREEN, GREY, ORANGE, figure_html, page
from rllib_seq.training.reports.calibration_view import calibration_html
from rllib_seq.training.reports.campaign_view import campaign_html
from rllib_seq.training.reports.comparison_view import comparison_html
from rllib_seq.training.reports.replay_view import replay_html
from rllib_seq.training.reports.settings_view import settings_html
from rllib_seq.training.reports.verdict import verdict_html
from rllib_seq.training.storage.files import read_json
from rllib_seq.training.storage.run_folder import Row, RunFolder


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
    title = f"<h1>{html.escape(run.path.name)}</h1>"
    parts = [title, verdict_html(run.config, progress, evaluation)]
    learning = [figure_html(_learning_curve(progress, evaluation))] if progress else []
    if evaluation is not None:
        if evaluation["preset"] == "log":
            parts += replay_html(evaluation)
        elif "return" in evaluation:
            parts.append(_episodes(evaluation))
        else:
            parts += comparison_html(evaluation)
        parts += learning
        if "calibration" in evaluation:
            parts += calibration_html(evaluation["calibration"])
        if "campaign" in evaluation:
            parts += campaign_html(evaluation["campaign"])
    else:
        parts += learning
    parts += settings_html(run.config)
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


def _learning_curve(progress: list[Row], evaluation: dict[str, Any] | None) -> go.Figure:
    """In the auction on the scale of the table: profit per user, beside the references."""
    steps = [row["steps"] for row in progress]
    in_auction = any(row["pct_of_bayes"] is not None for row in progress)
    column = "profit_per_user" if in_auction else "episode_return"
    figure = go.Figure()
    figure.add_scatter(
        x=steps,
        y=[row[column] for row in progress],
        mode="lines",
        name="trained, while it explores",
        line={"color": ORANGE},
    )
    if in_auction and evaluation is not None and "summary" in evaluation:
        for row in evaluation["summary"]:
            if row["policy"] in _LINES:
                figure.add_scatter(
                    x=[steps[0], steps[-1]],
                    y=[row["profit_per_user"]["mean"]] * 2,
                    mode="lines",
                    name=f"{row['policy']}, in new campaigns",
                    line={**_LINES[row["policy"]], "width": 1},
                    hoverinfo="name+y",
                )
    figure.update_layout(
        title="Learning curve",
        xaxis_title="steps",
        yaxis_title="profit per user" if in_auction else "episode return",
    )
    return figure


_LINES = {
    "trained": {"color": ORANGE, "dash": "dash"},
    "memoryless": {"color": GREY, "dash": "dot"},
    "bayes": {"color": BLUE, "dash": "dash"},
    "optimal": {"color": GREEN, "dash": "dash"},
}
"""References that the learning curve is read by."""

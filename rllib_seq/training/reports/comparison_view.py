"""The comparison with the references as people see it: a table in the terminal, and in the report.

- `comparison_table`, `comparison_html`
"""

from __future__ import annotations

import html
from typing import Any

import plotly.graph_objects as go
from rich.table import Table

from rllib_seq.html import GREY, figure_html

__all__ = ["comparison_html", "comparison_table"]

_PRIVILEGED = "privileged: goes by what no bidder sees, the hidden stage or the world's own numbers"


def comparison_table(evaluation: dict[str, Any]) -> Table:
    """The summary in `evaluation.json` as a table."""
    seeds = evaluation["seeds"]
    table = Table(
        title=f"{_world(evaluation)}, seeds {', '.join(map(str, seeds))}, "
        f"{evaluation['episodes']} x {evaluation['num_users']} users each; mean ± 95 % interval",
        title_justify="left",
        caption=_PRIVILEGED,
        caption_justify="left",
    )
    table.add_column("policy")
    table.add_column("signal")
    for name in ("profit / user", "% optimum", "% Bayes", "over memoryless", "beats it on"):
        table.add_column(name, justify="right")
    for row in evaluation["summary"]:
        profit, over = row["profit_per_user"], row["over_memoryless"]
        table.add_row(
            row["policy"],
            row["signal"] or "-",
            f"{profit['mean']:.4f} ± {profit['half_width']:.4f}",
            _percent(row["pct_of_optimum"]),
            _percent(row["pct_of_bayes"]),
            f"{over['mean']:+.4f} ± {over['half_width']:.4f}",
            f"{row['beats_memoryless_on_seeds']} of {len(seeds)}",
            style="bold" if row["policy"] == "trained" else None,
        )
    return table


def comparison_html(evaluation: dict[str, Any]) -> list[str]:
    """The same as parts of a page, with a chart."""
    return [_summary(evaluation), figure_html(_profit_chart(evaluation))]


def _summary(evaluation: dict[str, Any]) -> str:
    seeds = ", ".join(str(seed) for seed in evaluation["seeds"])
    rows = "".join(_row(row) for row in evaluation["summary"])
    return (
        f"<h2>Comparison</h2><p>Preset {html.escape(_world(evaluation))}, seeds {seeds}, "
        f"{evaluation['episodes']} campaigns of {evaluation['num_users']} users per seed; mean and "
        "95 % interval.</p><div class=scroll tabindex=0><table><tr><th>policy</th>"
        "<th>signal</th><th>profit per user</th><th>% of optimum</th><th>% of Bayes</th>"
        f"<th>over best memoryless</th></tr>{rows}</table></div><p>{_PRIVILEGED}</p>"
    )


def _row(row: dict[str, Any]) -> str:
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


def _world(evaluation: dict[str, Any]) -> str:
    seed = evaluation.get("world_seed")
    return evaluation["preset"] if seed is None else f"{evaluation['preset']}, world seed {seed}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1f}"

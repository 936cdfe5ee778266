"""The comparison with the references as people see it: a table in the terminal, and in the report.

- `comparison_table`, `comparison_html`
"""

from __future__ import annotations

import html
from typing import Any

import plotly.graph_objects as go
from rich.table import Table

from rllib_seq.html import GREY, figure_html, table_html

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
    """The same as parts of a page, with a chart and a legend of all policies."""
    return [_summary(evaluation), figure_html(_profit_chart(evaluation)), _legend(evaluation)]


_POLICIES = {
    "trained": "what this run learned; bids greedily",
    "random": "a bid level drawn for every request",
    "fixed": "the best single bid for all requests",
    "memoryless": "the best bid for every request that can be chosen without a past",
    "one_step": "the same, with what the user did after their last request",
    "bayes": "knows the numbers of the world, and keeps the exact belief about every user's hidden "
    "stage by Bayes' rule; bids what a win is worth by that belief",
    "optimal": "Bayes' belief, and pays for what a win will teach: the most that a bidder can "
    "earn who does not see the stage",
    "full_information": "sees the hidden stage, which no bidder can",
}
_MORE_THAN_ALL = (
    "<p><b>More than 100 % is possible.</b> Shares compare mean profits in the same campaigns. "
    "Bayes' rule bids what a win is worth now, and does not pay for what a win teaches: a policy "
    "that does can earn more. The optimum cannot be beaten in the mean; in a few campaigns chance "
    "can do it, within the interval. Where there is a budget, Bayes' rule is no bound, for it does "
    "not plan spend.</p>"
)


def _summary(evaluation: dict[str, Any]) -> str:
    seeds = ", ".join(str(seed) for seed in evaluation["seeds"])
    rows = [_cells(row) for row in evaluation["summary"]]
    table = table_html(_COLUMNS, rows, _POLICIES)
    return (
        f"<h2>Comparison</h2><p>Preset {html.escape(_world(evaluation))}, seeds {seeds}, "
        f"{evaluation['episodes']} campaigns of {evaluation['num_users']} users per seed; mean and "
        f"95 % interval.</p>{table}<p>{_PRIVILEGED}</p>"
    )


_COLUMNS = (
    *("policy", "signal", "profit per user", "% of optimum", "% of Bayes"),
    "over best memoryless",
)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    profit, over = row["profit_per_user"], row["over_memoryless"]
    shares = [row.get("pct_of_optimum"), row["pct_of_bayes"]]  # the first is not in older runs
    return (
        row["policy"],
        row.get("signal") or "-",
        f"{profit['mean']:.4f} ± {profit['half_width']:.4f}",
        *map(_percent, shares),
        f"{over['mean']:+.4f} ± {over['half_width']:.4f}",
    )


def _legend(evaluation: dict[str, Any]) -> str:
    """What every policy of the table is."""
    names = [row["policy"] for row in evaluation["summary"]]
    known = "".join(
        f"<dt>{name}</dt><dd>{_POLICIES[name]}</dd>" for name in names if name in _POLICIES
    )
    return f"<dl>{known}</dl>{_MORE_THAN_ALL}"


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
            hovertext=[_POLICIES.get(row["policy"], "") for row in summary],
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

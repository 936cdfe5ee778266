"""The evaluation on a log as people see it: a table in the terminal, the same in the report."""

from __future__ import annotations

import html
from typing import Any

from rich.table import Table

from rllib_seq.html import table_html

_COLUMNS = (
    *(
        "policy",
        "signal",
        "gains",
        "expected, modelled",
        "over linear",
        "spend",
        "of budget",
        "win rate",
    ),
    "% of hindsight",
)


def replay_table(evaluation: dict[str, Any]) -> Table:
    """The policies in `evaluation.json` of a log."""
    table = Table(title=_title(evaluation), title_justify="left")
    for i, name in enumerate(_COLUMNS):
        table.add_column(name, justify="right" if i > 1 else "left")
    for cells in _rows(evaluation):
        table.add_row(*cells, style="bold" if cells[0] == "trained" else None)
    return table


def replay_html(evaluation: dict[str, Any]) -> list[str]:
    """The same, and the notes, as parts of a page."""
    table = table_html(_COLUMNS, _rows(evaluation))
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in evaluation["notes"])
    return [f"<h2>Comparison</h2><p>{html.escape(_title(evaluation))}</p>{table}{notes}"]


def _title(evaluation: dict[str, Any]) -> str:
    facts = evaluation["log"]
    days = facts["held_out"]["days"]
    span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return (
        f"log, held out: {span}, gain: {facts.get('gain', 'click')}, "
        f"{evaluation['episodes']} episodes of about "
        f"{facts['episode_requests']} requests, budget ratio {facts['budget_ratio']:.4g}, "
        f"{facts['auction'].replace('_', ' ')}"
    )


def _rows(evaluation: dict[str, Any]) -> list[list[str]]:
    rows = evaluation["policies"]
    measure = evaluation.get("ranked_by", "expected_clicks")
    linear = next(row[measure] for row in rows if row["policy"] == "linear")
    cells = []
    for row in rows:
        expected, share = row["expected_clicks"], row["pct_of_full_information"]
        cells.append(
            [
                row["policy"],
                row.get("signal", "-"),
                f"{row.get('gains', row['clicks']):.6g}",
                f"{expected:.4f}",
                f"{100 * (row[measure] / linear - 1):+.1f} %" if linear else "-",
                f"{row['spend']:,.0f}",
                f"{100 * row['spend'] / row['budget']:.1f} %",
                f"{100 * row['win_rate']:.1f} %",
                "-" if share is None else f"{share:.1f}",
            ]
        )
    return cells

"""Self-contained HTML pages with tables and plotly charts.

- `page`: a whole page. It needs no network, plotly's script is inside, and it follows the reader's
  light or dark mode.
- `figure_html`: one chart of it.
- `table_html`: one table of it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

__all__ = ["BLUE", "GREEN", "GREY", "ORANGE", "figure_html", "page", "table_html"]

# Colours of middle lightness on no background read well in light and in dark mode.
GREY = "#7d8590"
ORANGE = "#d9822b"  # ours
BLUE = "#5b8def"  # what it is compared with
GREEN = "#3fa66b"
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
:focus-visible { outline: 3px solid #5b8def; outline-offset: 2px; }
h1, h2, p, figcaption { overflow-wrap: anywhere; }
figure { margin: 1.5rem 0; }
figcaption { font-weight: 600; }
nav { display: flex; flex-wrap: wrap; gap: 0 1rem; }
nav a { white-space: nowrap; color: inherit; }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A page; its second-level headings become a list of links at its top.

    Args:
        title: plain text.
        parts: HTML of the body, in order.
    """
    body, links = "".join(parts), []
    for number, heading in enumerate(re.findall(r"<h2>(.*?)</h2>", body)):
        body = body.replace(f"<h2>{heading}</h2>", f"<h2 id=part{number}>{heading}</h2>", 1)
        links.append(f"<a href=#part{number}>{heading}</a>")
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>"
        f"<script>{get_plotlyjs()}</script></head><body>"
        f"<nav aria-label='parts of the page'>{''.join(links)}</nav><main>{body}</main>"
        "</body></html>"
    )


def table_html(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of plain text; the first column is left-aligned."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<div class=scroll tabindex=0><table><tr>{head}</tr>{body}</table></div>"


def figure_html(figure: go.Figure, height: int = 420) -> str:
    """A chart, styled for `page`; changes the figure's layout.

    Args:
        figure: its title becomes the caption, which wraps on a phone as a chart's title does not.
        height: pixels.
    """
    caption = figure.layout.title.text or ""
    figure.update_layout(
        title=None,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font_color=GREY,
        height=height,
        margin={"l": 60, "r": 16, "t": 16, "b": 50},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    )
    figure.update_xaxes(gridcolor="rgba(125,133,144,.25)", linecolor=GREY)
    figure.update_yaxes(gridcolor="rgba(125,133,144,.25)", linecolor=GREY)
    chart = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        config={"responsive": True, "displayModeBar": False},
    )
    return f"<figure><figcaption>{html.escape(caption)}</figcaption>{chart}</figure>"

"""Self-contained HTML pages with tables and plotly charts.

- `page`: a whole page. It needs no network, plotly's script is inside, and it follows the reader's
  light or dark mode.
- `figure_html`: one chart of it.
- `table_html`: one table of it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

# Colours of middle lightness on no background read well in light and in dark mode.
GREY = "#7d8590"
ORANGE = "#d9822b"  # ours
BLUE = "#5b8def"  # what it is compared with
GREEN = "#3fa66b"
_NARROW = 3  # columns that fit a phone side by side
_SHORT = 24  # letters that need no second line
_STYLE = """
:root { color-scheme: light dark; --ink: #1a1d21; --paper: #ffffff; --line: #d9dde3; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ee; --paper: #14171b; --line: #3a414b; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 60rem; margin: 0 auto; padding: 1rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; vertical-align: top; overflow-wrap: anywhere;
         border-bottom: 1px solid var(--line); }
td.number { white-space: nowrap; }
th:first-child, td:first-child, td.text { text-align: left; }
@media (max-width: 40rem) {  /* a phone: every row becomes a list of names and values */
  .wide table, .wide tbody, .wide tr, .wide td { display: block; }
  .wide tr:first-child { display: none; }
  .wide tr { border-bottom: 2px solid var(--line); padding: .3rem 0; }
  .wide td { border: 0; padding: .1rem .3rem; display: flex; justify-content: space-between;
             gap: 1rem; text-align: right; }
  .wide td::before { content: attr(data-name); text-align: left; opacity: .75; }
  .wide td:first-child { font-weight: 600; }
}
tr.trained { font-weight: 600; }
.verdict { font-size: 1.15rem; }
tr[title] td:first-child { text-decoration: underline dotted; text-underline-offset: .2em; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
dt { font-weight: 600; } dd { margin: 0; }
ul.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; padding: 0; list-style: none; }
ul.legend i { display: inline-block; min-width: 1em; margin-right: .3em; font-style: normal; }
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
    # What comes before the first heading is what a reader is to see first, on a phone, too.
    start = body.find("<h2")
    first, rest = (body, "") if start < 0 else (body[:start], body[start:])
    nav = f"<nav aria-label='parts of the page'>{''.join(links)}</nav>"
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>"
        f"<script>{get_plotlyjs()}</script></head><body>"
        f"<main>{first}{nav}{rest}</main></body></html>"
    )


def table_html(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    hints: Mapping[str, str] | None = None,
) -> str:
    """A table of plain text that fits a phone: long texts wrap, and wide tables become lists.

    The first column and long texts are left-aligned; numbers stay on one line.

    Args:
        columns: their names.
        rows: of texts; the first text is the row's class.
        hints: what shows over the first text of a row, by that text.
    """
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join(
        f"<tr{_row_of(str(row[0]), hints)}>"
        + "".join(
            f'<td class={_kind(str(cell))} data-name="{html.escape(name)}">'
            f"{html.escape(str(cell))}</td>"
            for name, cell in zip(columns, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    wide = " wide" if len(columns) > _NARROW else ""
    return f"<div class='scroll{wide}' tabindex=0><table><tr>{head}</tr>{body}</table></div>"


def _row_of(name: str, hints: Mapping[str, str] | None) -> str:
    """Attributes of a row."""
    if hints is None:
        return ""
    hint = f' title="{html.escape(hints[name])}"' if name in hints else ""
    return f" class='{html.escape(name)}'{hint}"


def _kind(cell: str) -> str:
    if re.fullmatch(r"[-+\d.,%\s()]*", cell) and len(cell) < _SHORT:
        return "number"
    return "text" if len(cell) >= _SHORT else "word"


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
    axis = {"gridcolor": "rgba(125,133,144,.25)", "linecolor": GREY, "automargin": True}
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    chart = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        config={"responsive": True, "displayModeBar": False},
    )
    return f"<figure><figcaption>{html.escape(caption)}</figcaption>{chart}</figure>"

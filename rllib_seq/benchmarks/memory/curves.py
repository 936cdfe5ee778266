"""Learning curves of `rllib-seq bench memory` as a picture; see `memory_report`.

A panel per task; a line per contender: the mean over seeds without exploration, and a band from the
lowest to the highest seed. Mid-grey on no background reads well in light and in dark mode.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

GREY = "#7d8590"
COLOURS = {
    "sequence": "#d9822b",
    "lstm": "#5b8def",
    "mlp": "#3fa66b",
    "causal": "#c94f7c",
    "our-lstm": "#2a9d8f",
}
OTHER_COLOUR = "#b05bd6"  # at most one more in a task
WIDTH, HEIGHT = 430, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 34, 62


def draw(result: Mapping[str, Any]) -> str:
    """Returns an SVG with the curves of all tasks, two panels in a row."""
    tasks = result["tasks"]
    panels = []
    for place, (name, task) in enumerate(tasks.items()):
        row, column = divmod(place, 2)
        mine = [run for run in result["runs"] if run["task"] == name]
        body = "".join(_panel(name, task, mine))
        panels.append(f'<g transform="translate({column * WIDTH},{row * HEIGHT})">{body}</g>')
    columns, rows = min(2, len(tasks)), -(-len(tasks) // 2)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {columns * WIDTH} {rows * HEIGHT}" '
        f'font-family="system-ui,sans-serif" font-size="12" fill="{GREY}">{"".join(panels)}</svg>\n'
    )


def _panel(name: str, task: dict[str, Any], runs: list[dict[str, Any]]) -> Iterator[str]:
    values = [at["greedy"] for run in runs for at in run["curve"]] + [task["goal"]]
    low, high = min(values), max(values)
    low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)
    steps = max(at["steps"] for run in runs for at in run["curve"])

    def x(at: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * at / steps

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    yield f'<text x="{LEFT}" y="{TOP - 14}" font-weight="600">{html.escape(name)}</text>'
    yield (
        f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" fill="none" stroke="{GREY}"/>'
        f'<path d="M{LEFT} {y(task["goal"]):.1f}H{WIDTH - RIGHT}" stroke="{GREY}" '
        'stroke-dasharray="4 4"/>'
    )
    for value in _ticks(low, high):
        yield f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
    for at in _ticks(0, steps):
        label = f"{at / 1000:g}k" if at else "0"
        place = f'x="{x(at):.1f}" y="{HEIGHT - BOTTOM + 16}"'
        yield f'<text {place} text-anchor="middle">{label}</text>'
    for index, contender in enumerate(dict.fromkeys(run["contender"] for run in runs)):
        colour = COLOURS.get(contender, OTHER_COLOUR)
        curves = [run["curve"] for run in runs if run["contender"] == contender]
        # Seeds are looked at a few steps apart.
        steps_at = np.linspace(curves[0][0]["steps"], curves[0][-1]["steps"], len(curves[0]))
        greedy = np.array([np.interp(steps_at, *_columns(curve)) for curve in curves])
        mean, bottom, top = (
            [f"{x(step):.1f} {y(value):.1f}" for step, value in zip(steps_at, line, strict=True)]
            for line in (greedy.mean(0), greedy.min(0), greedy.max(0))
        )
        yield f'<path d="M{"L".join(bottom + top[::-1])}Z" fill="{colour}" opacity=".18"/>'
        yield f'<path d="M{"L".join(mean)}" fill="none" stroke="{colour}" stroke-width="2"/>'
        row, column = divmod(index, 3)
        left, line = LEFT + 125 * column, HEIGHT - 26 + 16 * row
        yield f'<rect x="{left}" y="{line - 9}" width="10" height="10" fill="{colour}"/>'
        yield f'<text x="{left + 15}" y="{line}">{html.escape(contender)}</text>'


def _columns(curve: list[dict[str, float]]) -> tuple[list[float], list[float]]:
    return [point["steps"] for point in curve], [point["greedy"] for point in curve]


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`, four to eight of them."""
    step = 10.0 ** np.floor(np.log10((high - low) / 4))
    step *= max(factor for factor in (1, 2, 5) if factor * step <= (high - low) / 4)
    first = np.ceil(low / step)
    return [float(round(step * i, 10)) + 0.0 for i in np.arange(first, np.floor(high / step) + 1)]

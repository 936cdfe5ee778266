"""One HTML page of a sweep: parallel coordinates, learning curves, all trials.

- `write_sweep_report`, `is_sweep`
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from rllib_seq.errors import UserError
from rllib_seq.html import GREY, figure_html, page, table_html
from rllib_seq.training.storage.files import read_json
from rllib_seq.training.sweeps.folder import SETTINGS
from rllib_seq.training.sweeps.search_space import paths

TRIALS = "trials.json"
"""How each trial ended."""

_SCALE = "Viridis"


def is_sweep(folder: Path) -> bool:
    """Whether a folder is that of a sweep."""
    return (folder / SETTINGS).is_file()


def write_sweep_report(folder: Path) -> Path:
    """Writes `report.html` of a sweep from what is in its folder.

    Returns:
        The path of the page.

    Raises:
        UserError: the sweep has not come to its end.
    """
    if not (folder / TRIALS).is_file():
        raise UserError(
            f"sweep {str(folder)!r} has nothing to report yet; go on with rllib-seq tune --resume"
        )
    ended, settings = read_json(folder / TRIALS), read_json(folder / SETTINGS)
    metric, trials = ended["metric"], ended["trials"]
    scored = [trial for trial in trials if trial["value"] is not None]
    parts = [f"<h1>{html.escape(folder.resolve().name)}</h1>"]
    if (folder / "result.json").is_file():
        parts.append(f"<p>{html.escape(read_json(folder / 'result.json')['verdict'])}.</p>")
    if scored:
        parts += [figure_html(_coordinates(scored, metric)), figure_html(_curves(scored, metric))]
    sign = -1 if ended["mode"] == "max" else 1
    ranked = sorted(scored, key=lambda trial: sign * trial["value"])
    failed = [trial for trial in trials if trial["value"] is None]
    names = _names(trials)
    parts.append("<h2>Trials</h2>")
    parts.append(
        table_html(
            ["trial", *(name.rsplit("/", 1)[-1] for name in names), "steps", "seconds", metric],
            [_cells(trial, names) for trial in ranked + failed],
        )
    )
    parts.append(f"<h2>Sweep</h2><pre>{html.escape(_listing(settings))}</pre>")
    path = folder / "report.html"
    path.write_text(page(folder.resolve().name, parts))
    return path


def _names(trials: list[dict[str, Any]]) -> list[str]:
    return sorted({"/".join(path) for trial in trials for path, _ in paths(trial["settings"])})


def _setting(trial: dict[str, Any], name: str) -> Any:
    return {"/".join(path): value for path, value in paths(trial["settings"])}.get(name)


def _cells(trial: dict[str, Any], names: list[str]) -> list[str]:
    settings = [_short(_setting(trial, name)) for name in names]
    spent = [f"{trial['steps']:,}", f"{trial['seconds']:.0f}"]
    return [trial["trial"], *settings, *spent, outcome(trial["value"], trial["error"])]


def outcome(value: float | None, error: str | None) -> str:
    """What came of a trial, in a word."""
    if value is not None:
        return f"{value:.4f}"
    return "failed" if error else "not begun"


def _coordinates(trials: list[dict[str, Any]], metric: str) -> go.Figure:
    """A line per trial through its settings to what came of it."""
    dimensions = [_dimension(name, [_setting(t, name) for t in trials]) for name in _names(trials)]
    dimensions.append({"label": "steps", "values": [trial["steps"] for trial in trials]})
    values = [trial["value"] for trial in trials]
    dimensions.append({"label": metric, "values": values})
    figure = go.Figure(
        go.Parcoords(
            dimensions=dimensions,
            line={"color": values, "colorscale": _SCALE, "showscale": True},
            labelfont={"color": GREY},
            tickfont={"color": GREY},
        )
    )
    figure.update_layout(title="Settings and what came of them")
    return figure


def _dimension(name: str, values: list[Any]) -> dict[str, Any]:
    """An axis: numbers as they are, anything else by its place in a list."""
    label = name.rsplit("/", 1)[-1]
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return {"label": label, "values": values}
    texts = sorted({_short(value) for value in values})
    return {
        "label": label,
        "values": [texts.index(_short(value)) for value in values],
        "tickvals": list(range(len(texts))),
        "ticktext": texts,
    }


def _curves(trials: list[dict[str, Any]], metric: str) -> go.Figure:
    figure = go.Figure()
    for trial in trials:
        steps, values = zip(*trial["curve"], strict=True)
        figure.add_scatter(x=steps, y=values, mode="lines+markers", name=trial["trial"])
    figure.update_layout(title="Learning curves", xaxis_title="agent steps", yaxis_title=metric)
    return figure


def _listing(settings: dict[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in settings.items())


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

"""What the tables of the results share: reading JSON, writing Markdown.

- `read`: a JSON file of docs/results
- `table`, `spread`, `share`, `cpu`, `number`, `mean`
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"

Row = dict[str, Any]


def read(name: str) -> Any:
    """The content of a JSON file under docs/results, by its name without the ending."""
    (path,) = RESULTS.rglob(f"{name}.json")
    return json.loads(path.read_text(encoding="utf-8"))


def table(heads: list[str], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown; None is an empty cell."""
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for row in rows:
        lines.append("| " + " | ".join("" if cell is None else str(cell) for cell in row) + " |")
    return "\n".join(lines)


def spread(row: Row) -> str:
    """A score with its 95 % interval, where several seeds give one."""
    if (row["seeds"] or 0) < 2:
        return f"{row['score']:.1f}"
    low, high = row["score_interval"]
    return f"{row['score']:.1f} [{low:.1f}, {high:.1f}]"


def share(value: float | None) -> str | None:
    """A share in percent."""
    return None if value is None else f"{value:.0%}".replace("%", " %")


def cpu(row: Row) -> str | None:
    """Processor seconds of the training of one seed."""
    return f"{row['cpu_seconds']:.0f}" if row["seeds"] else None


def mean(values: list[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)


def number(value: float) -> str:
    """Whole if it is large."""
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2f}"

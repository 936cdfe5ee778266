"""The bid server beside an echo app on the same server, and what it takes in memory.

Parts: `local` (uvicorn), `ray` (Ray Serve and a Redis), `users` (a million of them), `day` (24
simulated hours), `abuse` (10,000 malformed requests), `chaos` (kills, a full disk, clocks that
jump, damaged exports). See docs/guides/serving.md.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from rllib_seq.benchmarks.serve.abuse import abuse
from rllib_seq.benchmarks.serve.chaos import run_chaos
from rllib_seq.benchmarks.serve.memory import day, users
from rllib_seq.benchmarks.serve.servers import export_policy, free_port
from rllib_seq.benchmarks.serve.speed import local, on_ray
from rllib_seq.errors import UserError

PARTS: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "local": local,
    "ray": on_ray,
    "users": users,
    "day": day,
    "abuse": abuse,
    "chaos": lambda export, folder: run_chaos(export, folder, free_port()),
}


def run(only: Sequence[str] = ("local", "users", "day", "abuse")) -> dict[str, Any]:
    """Measures the parts that are asked for; `ray` needs a redis-server, too."""
    for part in only:
        if part not in PARTS:
            raise UserError(f"bench serve has no part {part!r}; choose from {', '.join(PARTS)}")
    parts: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_policy(folder / "export")
        for part in only:
            print(f"measuring: {part}", file=sys.stderr)
            parts[part] = PARTS[part](folder / "export", folder)
    return {"parts": parts, "passed": all(part["passed"] for part in parts.values())}


def show(result: dict[str, Any]) -> None:
    """Prints tables."""
    console = Console()
    for part, content in result["parts"].items():
        rows = content.get("rows")
        if rows:
            table = Table(title=part)
            columns = ["server", "requests/s", "p50 ms", "p95", "p99", "p99.9", "late", "errors"]
            for column in ["concurrency", *columns]:
                table.add_column(column, justify="right")
            for kind, servers in rows.items():
                for name, row in servers.items():
                    cells = [row[key] for key in ("per_second", "p50", "p95", "p99", "p99.9")]
                    table.add_row(kind, name, *map(str, [*cells, row["late"], row["errors"]]))
            console.print(table)
        console.print(part, {k: v for k, v in content.items() if k != "rows"})

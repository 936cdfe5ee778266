"""The bid server beside an echo app on the same server, and what it takes in memory.

Parts: `local` (uvicorn), `ray` (Ray Serve and a Redis), `users` (a million of them), `day` (24
simulated hours), `abuse` (10,000 malformed requests), `chaos` (kills, a full disk, clocks that
jump, damaged exports). See docs/guides/serving.md.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rllib_seq.benchmarks.result import Result, chosen
from rllib_seq.benchmarks.serve.abuse import abuse
from rllib_seq.benchmarks.serve.chaos import run_chaos
from rllib_seq.benchmarks.serve.memory import day, users
from rllib_seq.benchmarks.serve.servers import export_policy, free_port
from rllib_seq.benchmarks.serve.speed import local, on_ray

PARTS: dict[str, Callable[[Path, Path], Result]] = {
    "local": local,
    "ray": on_ray,
    "users": users,
    "day": day,
    "abuse": abuse,
    "chaos": lambda export, folder: run_chaos(export, folder, free_port()),
}


def run(only: Sequence[str] = ("local", "users", "day", "abuse")) -> Result:
    """Measures the parts that are asked for; `ray` needs a redis-server, too."""
    names, parts = chosen(PARTS, only), {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_policy(folder / "export")
        for part in names:
            print(f"measuring: {part}", file=sys.stderr)
            parts[part] = PARTS[part](folder / "export", folder)
    found = Result.of_parts(parts)
    return replace(found, figures={"parts": found.figures})

"""From the runs of `rllib-seq bench memory` to what docs/results/memory.md shows.

    python -m rllib_seq.benchmarks.memory.report docs/pictures/memory.svg \
        docs/results/memory.json runs/*.json

Joins the files of single runs, writes their curves as a picture and their numbers as a small JSON
with a line per run, and prints the table. Without new runs it does the same with what it wrote:

    python -m rllib_seq.benchmarks.memory.report docs/pictures/memory.svg docs/results/memory.json \
        docs/results/memory.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rllib_seq.benchmarks.memory.bench import judged
from rllib_seq.benchmarks.memory.curves import draw
from rllib_seq.benchmarks.memory.tasks import TASKS
from rllib_seq.benchmarks.result import Result
from rllib_seq.errors import UserError


def join(results: list[dict[str, Any]]) -> Result:
    """Returns one result of the JSON of many, in the order of the tasks, with rounded numbers.

    Raises:
        UserError: a run is there twice, or runs of a task had other settings or versions.
    """
    runs: dict[tuple[int, int, int], dict[str, Any]] = {}
    tasks: dict[str, Any] = {}
    for result in results:
        if result["versions"] != results[0]["versions"]:
            raise UserError(f"runs with {result['versions']} and with {results[0]['versions']}")
        for name, protocol in result["tasks"].items():
            if tasks.setdefault(name, protocol) != protocol:
                raise UserError(f"runs of {name!r} with different settings; repeat the older ones")
        for run in result["runs"]:
            task = run["task"]
            contender = list(TASKS[task].contenders).index(run["contender"])
            place = list(TASKS).index(task), contender, run["seed"]
            if place in runs:
                raise UserError(f"two runs of: {run['command']}")
            runs[place] = _rounded(run)
    ordered = [runs[place] for place in sorted(runs)]
    known = {name: tasks[name] for name in TASKS if name in tasks}
    return judged({"versions": results[0]["versions"], "tasks": known, "runs": ordered})


def write(found: Result, path: Path) -> None:
    """Writes a result with a line per run."""
    result = found.to_json()
    head = json.dumps({key: value for key, value in result.items() if key != "runs"}, indent=1)
    runs = ",\n".join(json.dumps(run, separators=(",", ":")) for run in result["runs"])
    path.write_text(f'{head[:-2]},\n "runs": [\n{runs}\n]}}\n')


def _rounded(value: Any) -> Any:
    """The same with three decimals."""
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    picture, merged, *files = map(Path, sys.argv[1:])
    joined = join([json.loads(path.read_text()) for path in files])
    write(joined, merged)
    picture.write_text(draw(joined.figures))
    joined.show()

"""Trains, exports and judges the policy that comes with the package: `make shipped`.

It learns from outcomes alone (`tune_configs.lift`), three million requests of preset journey (some
minutes on two cores), and is judged as a server runs it. What is written goes into
rllib_seq/serving/exported/shipped.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SHIPPED = Path(__file__).parents[2] / "rllib_seq" / "serving" / "exported" / "shipped"
FIGURES = SHIPPED / "figures.json"


def main(requests: str = "3000000", episodes: str = "4") -> None:
    """Does it, training on so many requests and judging by so many campaigns per seed."""
    with tempfile.TemporaryDirectory() as folder:
        train = ("train", "lift", "--stop-steps", requests, "--evaluate", "none", "--seed", "7")
        run("--storage", folder, command=train)
        (trained,) = Path(folder).glob("lift-*")
        shutil.rmtree(SHIPPED, ignore_errors=True)
        run(command=("export", str(trained), str(SHIPPED)))
        result = Path(folder) / "evaluation.json"
        run("--json", str(result), command=("evaluate", "--episodes", episodes), cwd=folder)
        write_figures(json.loads(result.read_text()))


def run(*more: str, command: tuple[str, ...], cwd: str | None = None) -> None:
    """Runs a command of `rllib-seq`."""
    subprocess.run([sys.executable, "-m", "rllib_seq", *command, *more], check=True, cwd=cwd)


def write_figures(evaluation: dict) -> None:
    """Keeps what the policy is worth beside it."""
    spec = json.loads((SHIPPED / "spec.json").read_text())
    kept = ("preset", "seeds", "episodes", "num_users", "summary")
    figures = {
        "model": spec["model"]["sha256"],
        "signal": spec["source"]["signal"],
        "command": "rllib-seq evaluate",
        **{name: evaluation[name] for name in kept},
    }
    FIGURES.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What is measured: `rllib-seq bench NAME` runs the `run` of one of these modules.

Every benchmark says in its docstring what it measures, how, and which limits it has.
"""

__all__ = ["BENCHMARKS"]

_FILES = (
    "ablations",
    "discover",
    "encoders",
    "exploration",
    "learner",
    "lift",
    "model",
    "pacing",
    "peers",
    "prices",
    "response",
    "rollout",
    "self_play",
    "stale",
)
_FOLDERS = ("env", "learning", "memory", "probes", "serve")

BENCHMARKS = {name: f"{__name__}.{name}" for name in _FILES} | {
    name: f"{__name__}.{name}.bench" for name in _FOLDERS
}
"""Module of every benchmark by its name."""

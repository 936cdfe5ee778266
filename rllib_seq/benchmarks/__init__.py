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
    "model",
    "pacing",
    "response",
    "rollout",
    "self_play",
    "stale",
)
_OUTCOMES = ("lift", "peers", "prices")
_FOLDERS = ("env", "learning", "memory", "probes", "serve")

BENCHMARKS = {
    **{name: f"{__name__}.{name}" for name in _FILES},
    **{name: f"{__name__}.outcomes.{name}" for name in _OUTCOMES},
    **{name: f"{__name__}.{name}.bench" for name in _FOLDERS},
}
"""Module of every benchmark by its name."""

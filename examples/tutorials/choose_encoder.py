"""Choose an encoder: the same task with a longer delay, read by all three.

    python examples/tutorials/choose_encoder.py

The delay is 12 steps. A window of 8 steps cannot hold the symbol; an encoder that carries a state
can. `window` with 16 steps can, too, and reads every step 16 times.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from own_environment import Recall, config, train
from rich.console import Console
from rich.table import Table

from rllib_seq.models import use_sequence_module

SETTINGS = {
    "window, 8 steps": {"encoder": "window", "window_length": 8},
    "window, 16 steps": {"encoder": "window", "window_length": 16},
    "causal": {"encoder": "causal", "window_length": 16},
    "lstm": {"encoder": "lstm"},
}
SIZE = {"d_model": 32, "lstm_layers": 1, "transformer_layers": 1, "feedforward_dim": 64}


def compare(steps: int, names: list[str] | None = None) -> dict[str, float]:
    """Train each encoder for the same number of steps; return the mean returns."""
    returns = {}
    table = Table("encoder", "mean return", "seconds")
    for name in names or SETTINGS:
        # The previous action would be a memory outside the encoder: the agent could write its
        # answer down and read it again at every step.
        settings = {
            **SIZE,
            **SETTINGS[name],
            "prev_action": False,
            "prev_reward": False,
        }
        each = config.copy(copy_frozen=False).environment(Recall, env_config={"delay": 12})
        use_sequence_module(each, **settings)
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            returns[name] = train(each, steps, Path(folder))
        table.add_row(name, f"{returns[name]:.2f}", f"{time.monotonic() - began:.0f}")
    Console().print(table)
    return returns


if __name__ == "__main__":
    compare(int(sys.argv[1]) if len(sys.argv) > 1 else 15_000)

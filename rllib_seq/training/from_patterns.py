"""What discovery found, as options of a training.

- `with_patterns`: the window length of a `patterns.json`, unless the user gave one.

The hour curve and the number of requests per user wait for the simulated worlds to take them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rllib_seq.journeys.patterns import Patterns
from rllib_seq.training.experiment import Options

__all__ = ["with_patterns"]


def with_patterns(options: Options, path: Path | None) -> Options:
    """Options with what they leave open taken from `patterns.json`.

    Args:
        options: what the user gave; wins over the patterns.
        path: of the file; None changes nothing.

    Raises:
        UserError: the file cannot be read.
    """
    if path is None:
        return options
    patterns = Patterns.read(path)
    if options.window_length is not None:
        return options
    return dataclasses.replace(options, window_length=patterns.window.length)

"""Spaces that RLlib takes and cannot serve, refused with one line before anything is learned.

- `refuse_shifted`: numbers that do not start at 0
- `refuse_repeated`, `refuse_unsorted`, `refuse_sequence_length`: what would train wrongly
- `refuse_actions`, `refuse_old_actions`: actions that RLlib's new or old API stack has no
  distribution for
- `one_line`: a space in a message
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple
from ray.rllib.utils.spaces.repeated import Repeated
from ray.rllib.utils.spaces.simplex import Simplex

from rllib_seq.errors import UserError


def refuse_shifted(space: gym.Space, what: str, wrapper: str) -> None:
    """Refuse a space with Discrete or MultiDiscrete parts that do not start at 0.

    RLlib 2.60 sends the environment actions from 0 on whatever the space says, and the new stack
    flattens observations as if they started at 0.

    Args:
        space: of actions or observations, maybe nested.
        what: "actions" or "observations".
        wrapper: of Gymnasium, that fixes it.

    Raises:
        UserError: naming the part.
    """
    for part in _parts(space):
        if isinstance(part, Discrete | MultiDiscrete) and np.any(part.start):
            raise UserError(
                f"{what} of {part} start at {part.start}, and RLlib counts from 0; shift them in "
                f"the environment, for example with gymnasium.wrappers.{wrapper}"
            )


def refuse_sequence_length(max_seq_len: Any) -> None:
    """Refuse a `max_seq_len` that RLlib would hang or fail with.

    Raises:
        UserError: naming the value.
    """
    if type(max_seq_len) is not int or max_seq_len < 1:
        raise UserError(
            f"max_seq_len={max_seq_len!r} must be an int of at least 1; set it in "
            "training(model={'max_seq_len': ...})"
        )


def refuse_repeated(space: gym.Space) -> None:
    """Refuse RLlib's spaces of variable length, which flattening pads without a mask.

    Raises:
        UserError: naming the space.
    """
    for part in _parts(space):
        if isinstance(part, Repeated | gym.spaces.Sequence):
            raise UserError(
                f"observations of {one_line(part)} have no fixed length, which the sequence model "
                "cannot read; give a Box of the longest length and a mask beside it"
            )


def refuse_unsorted(space: gym.Space) -> None:
    """Refuse a Dict whose keys are in another order than RLlib's old stack writes them in.

    Raises:
        UserError: naming the keys.
    """
    if isinstance(space, Dict):
        keys = list(space.keys())
        if keys != sorted(keys):
            raise UserError(
                f"observations are a Dict with keys in the order {', '.join(map(str, keys))}, and "
                "RLlib's old API stack sorts them; build the space from a plain dict: "
                "gymnasium.spaces.Dict({...})"
            )
    if isinstance(space, Dict | Tuple):
        for child in space.values() if isinstance(space, Dict) else space:
            refuse_unsorted(child)


def refuse_actions(space: gym.Space) -> None:
    """Refuse actions that the new API stack cannot take.

    Raises:
        UserError: naming the space.
    """
    if isinstance(space, Discrete):
        return
    countable = isinstance(space, MultiDiscrete)
    real = isinstance(space, Box) and np.issubdtype(space.dtype, np.floating)
    if not (countable or real) or len(space.shape or ()) != 1:
        raise UserError(
            f"RLlib's new API stack cannot act in {one_line(space)}; use Discrete, or "
            "MultiDiscrete or a Box of real numbers with one dimension"
        )


def refuse_old_actions(space: gym.Space) -> None:
    """Refuse actions that the old API stack has no distribution for.

    Raises:
        UserError: naming the part.
    """
    for part in _parts(space):
        known = isinstance(part, Discrete | MultiDiscrete | Box | Simplex)
        if not known or (isinstance(part, Box) and len(part.shape) != 1):
            raise UserError(
                f"RLlib's old API stack cannot act in {one_line(part)}; use Discrete, "
                "MultiDiscrete, a Box with one dimension, or a Dict or Tuple of them"
            )


def _parts(space: gym.Space) -> Iterator[gym.Space]:
    """The spaces that a space is nested of, or itself."""
    if isinstance(space, Dict | Tuple):
        for child in space.values() if isinstance(space, Dict) else space:
            yield from _parts(child)
    else:
        yield space


def one_line(space: gym.Space) -> str:
    """Return how a space prints, in one line."""
    return " ".join(str(space).split())

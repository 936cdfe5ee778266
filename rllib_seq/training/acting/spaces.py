"""Observations of one stream or of many, and actions as an environment takes them.

- `batched`: an observation, or many, as a batch
- `rows_of`, `one_of`: a batch taken apart
- `for_environment`: actions in the bounds of their space
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import tree
from gymnasium.spaces import Dict, Tuple
from ray.rllib.utils.spaces.space_utils import (
    clip_action,
    get_base_struct_from_space,
    unsquash_action,
)

from rllib_seq.errors import UserError


def batched(space: gym.Space[Any], observations: Any) -> tuple[Any, int, bool]:
    """Check observations and give them a batch dimension.

    Args:
        space: of one observation, maybe nested.
        observations: one, or arrays `[N, ...]` in the nesting of the space, as a Gymnasium
            `VectorEnv` returns them.

    Returns:
        `[N, ...]` in the nesting of the space, N, and whether it was one observation.

    Raises:
        UserError: shapes or keys do not fit the space.
    """
    leaves = list(_leaves(space, observations, "observations"))
    extra = {array.ndim - len(shape) for _, shape, array in leaves}
    if extra not in ({0}, {1}):
        _refuse(*leaves[0])
    one = extra == {0}
    sizes = set()
    for name, shape, array in leaves:
        if array.shape[0 if one else 1 :] != shape:
            _refuse(name, shape, array)
        sizes.add(1 if one else len(array))
    if len(sizes) != 1:
        raise UserError(f"the parts of observations are of {sorted(sizes)} streams; give as many")
    if sizes == {0}:
        raise UserError("observations are of 0 streams; give those of at least one")
    arrays = iter([array[None] if one else array for _, _, array in leaves])
    return _rebuilt(space, arrays), sizes.pop(), one


def rows_of(batch: Any, rows: int) -> list[Any]:
    """Return what stands in each row of a nested batch."""
    return [tree.map_structure(lambda array, row=row: array[row], batch) for row in range(rows)]


def for_environment(
    actions: Any, space: gym.Space[Any], normalized: bool, clipped: bool, one: bool
) -> Any:
    """Return actions as RLlib hands them to the environment.

    Args:
        actions: of a network, `[N, ...]`, maybe nested.
        space: of one action.
        normalized: the network's numbers stand for -1 to 1 (RLlib's `normalize_actions`).
        clipped: else, they are cut at the bounds (RLlib's `clip_actions`).
        one: return the only row.
    """
    struct = get_base_struct_from_space(space)
    if normalized:
        actions = unsquash_action(actions, struct)
    elif clipped:
        actions = clip_action(actions, struct)
    return tree.map_structure(lambda array: array[0], actions) if one else actions


def _leaves(
    space: gym.Space[Any], value: Any, name: str
) -> Iterator[tuple[str, tuple[int, ...], np.ndarray]]:
    """Name, shape and array of every part of a nested value."""
    if isinstance(space, Dict):
        if not isinstance(value, dict) or value.keys() != space.spaces.keys():
            given = sorted(value) if isinstance(value, dict) else type(value).__name__
            raise UserError(f"{name} must be a dict with keys {sorted(space.keys())}, not {given}")
        for key, part in space.items():
            yield from _leaves(part, value[key], f"{name}[{key!r}]")
    elif isinstance(space, Tuple):
        if not isinstance(value, tuple) or len(value) != len(space):
            raise UserError(f"{name} must be a tuple of {len(space)} parts, not {value!r}")
        for number, part in enumerate(space):
            yield from _leaves(part, value[number], f"{name}[{number}]")
    elif space.shape is None:
        raise UserError(f"{name} of {space} have no fixed shape; use another space")
    else:
        try:
            yield name, space.shape, np.asarray(value, space.dtype)
        except (TypeError, ValueError) as error:
            raise UserError(f"{name} are no numbers of {space.dtype}: {error}") from error


def _rebuilt(space: gym.Space[Any], arrays: Iterator[Any]) -> Any:
    if isinstance(space, Dict):
        return {key: _rebuilt(part, arrays) for key, part in space.items()}
    if isinstance(space, Tuple):
        return tuple(_rebuilt(part, arrays) for part in space)
    return next(arrays)


def _refuse(name: str, shape: tuple[int, ...], array: np.ndarray) -> None:
    batch = f"({', '.join(['N', *map(str, shape)])}{'' if shape else ','})"
    raise UserError(
        f"{name} have shape {array.shape}; the policy was trained on {shape}: give that for one "
        f"stream, or {batch} for N"
    )

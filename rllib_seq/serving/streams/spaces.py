"""Gymnasium's spaces as JSON, and the values that people send of them.

- `space_json`, `space_of`: a space to JSON and back
- `part_names`: names of the parts of a nested space
- `read_parts`, `json_of`: a value from JSON as arrays, and arrays as a value for JSON
- `finite_number`: a number from JSON
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from numpy.typing import NDArray

from rllib_seq.errors import UserError

__all__ = ["finite_number", "json_of", "part_names", "read_parts", "space_json", "space_of"]

_LARGEST = float(np.finfo(np.float32).max)


def space_json(space: gym.Space[Any]) -> dict[str, Any]:
    """What `space_of` reads.

    Raises:
        UserError: a space of variable length, of text or of graphs.
    """
    if isinstance(space, Dict):
        parts = {str(name): space_json(part) for name, part in space.items()}
        return {"type": "Dict", "spaces": parts}
    if isinstance(space, Tuple):
        return {"type": "Tuple", "spaces": [space_json(part) for part in space]}
    if isinstance(space, Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, MultiDiscrete):
        return {"type": "MultiDiscrete", "nvec": space.nvec.tolist(), "start": space.start.tolist()}
    if isinstance(space, MultiBinary):
        return {"type": "MultiBinary", "shape": list(space.shape)}
    if isinstance(space, Box):
        return {
            "type": "Box",
            "low": _bound(space.low),
            "high": _bound(space.high),
            "shape": list(space.shape),
            "dtype": str(space.dtype),
        }
    raise UserError(
        f"a {type(space).__name__} space cannot be exported; use Box, Discrete, MultiDiscrete, "
        "MultiBinary, Dict or Tuple"
    )


def space_of(written: Mapping[str, Any]) -> gym.Space[Any]:
    """The space that `space_json` wrote."""
    kind = written["type"]
    if kind == "Dict":
        return Dict({name: space_of(part) for name, part in written["spaces"].items()})
    if kind == "Tuple":
        return Tuple([space_of(part) for part in written["spaces"]])
    if kind == "Discrete":
        return Discrete(written["n"], start=written["start"])
    if kind == "MultiDiscrete":
        return MultiDiscrete(np.array(written["nvec"]), start=np.array(written["start"]))
    if kind == "MultiBinary":
        shape = written["shape"]
        return MultiBinary(shape[0] if len(shape) == 1 else shape)
    if kind == "Box":
        shape, dtype = tuple(written["shape"]), np.dtype(written["dtype"])
        low, high = (_array(written[end], shape, dtype) for end in ("low", "high"))
        return Box(low, high, shape, dtype.type)
    raise ValueError(f"no space of type {kind!r}")


def _bound(bound: NDArray[Any]) -> Any:
    """One number if all are the same; infinity is a text, which JSON has no number for."""
    numbers = bound.astype(object) if bound.dtype.kind in "iu" else bound.astype(np.float64)
    if bound.size and (bound == bound.flat[0]).all():
        number = numbers.flat[0]
        return number if np.isfinite(float(number)) else str(number)
    return [each if np.isfinite(float(each)) else str(each) for each in numbers.flatten().tolist()]


def _array(written: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    if not isinstance(written, list):
        return np.full(shape, float(written) if isinstance(written, str) else written, dtype)
    numbers = [float(each) if isinstance(each, str) else each for each in written]
    return np.array(numbers, dtype).reshape(shape)


def part_names(space: gym.Space[Any], name: str) -> list[str]:
    """The names of all parts, `name` alone if the space is not nested.

    >>> part_names(Dict({"a": Discrete(2), "b": Tuple([Discrete(2), Discrete(3)])}), "seen")
    ['seen.a', 'seen.b.0', 'seen.b.1']
    """
    return [each for each, _ in _parts(space, name)]


def _parts(space: gym.Space[Any], name: str) -> Iterator[tuple[str, gym.Space[Any]]]:
    if isinstance(space, Dict):
        for key, part in space.items():
            yield from _parts(part, f"{name}.{key}")
    elif isinstance(space, Tuple):
        for number, part in enumerate(space):
            yield from _parts(part, f"{name}.{number}")
    else:
        yield name, space


def read_parts(space: gym.Space[Any], value: Any, name: str) -> dict[str, NDArray[Any]]:
    """The parts of a value as JSON has it, by name.

    Args:
        space: of it.
        value: lists and numbers; objects for Dict.
        name: of it.

    Raises:
        ValueError: it is no such value; says which part and why.
    """
    if isinstance(space, Dict):
        if not isinstance(value, Mapping) or value.keys() != space.spaces.keys():
            given = sorted(value) if isinstance(value, Mapping) else _short(value)
            raise ValueError(f"{name}: must be an object with {sorted(space.keys())}, not {given}")
        found = [read_parts(part, value[key], f"{name}.{key}") for key, part in space.items()]
        return {key: array for each in found for key, array in each.items()}
    if isinstance(space, Tuple):
        if not isinstance(value, Sequence) or len(value) != len(space):
            raise ValueError(f"{name}: must be a list of {len(space)} parts, not {_short(value)}")
        found = [read_parts(part, value[i], f"{name}.{i}") for i, part in enumerate(space)]
        return {key: array for each in found for key, array in each.items()}
    return {name: _read(space, value, name)}


def _read(space: gym.Space[Any], value: Any, name: str) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)
    assert space.shape is not None and space.dtype is not None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name}: must be numbers of shape {list(space.shape)}")
    if array.shape != space.shape:
        raise ValueError(f"{name}: has shape {list(array.shape)}; give {list(space.shape)}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name}: holds a number that is not finite")
    if not isinstance(space, Box):
        whole = array.astype(np.int64)
        if (whole != array).any() or not space.contains(whole.astype(space.dtype)[()]):
            raise ValueError(f"{name}: {_short(value)} is not in {space}")
        return whole.astype(space.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(space.dtype)
    # Too large for the type, or a fraction where it holds whole numbers.
    held = np.isfinite(cast).all() if cast.dtype.kind == "f" else (cast == array).all()
    if not held:
        raise ValueError(f"{name}: {_short(value)} holds a number that {cast.dtype} does not")
    return cast


def json_of(space: gym.Space[Any], parts: Mapping[str, NDArray[Any]], row: int, name: str) -> Any:
    """A row of parts as a value for JSON."""
    if isinstance(space, Dict):
        return {key: json_of(part, parts, row, f"{name}.{key}") for key, part in space.items()}
    if isinstance(space, Tuple):
        return [json_of(part, parts, row, f"{name}.{i}") for i, part in enumerate(space)]
    return parts[name][row].tolist()


def finite_number(value: Any, name: str) -> float:
    """A number from JSON that a network can read.

    Args:
        value: of any type.
        name: of it.

    Raises:
        ValueError: it is none, or none that is finite in 32 bits.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not -_LARGEST <= value <= _LARGEST:
        raise ValueError(f"{name}: must be a finite number")
    return float(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

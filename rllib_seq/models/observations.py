"""Observations of a step as one vector, and what stands where in it.

- `pieces_of`: action masks, frames and large numbers among the features of a space
- `reads_of`, `parts_of`, `mask_in`: what networks see of them, and where
- `flat_rows`: observations as vectors, as this package hands them to the new API stack
- `StepSpace`: the space of these vectors, which remembers what they were made of
- `refuse_filter`: running filters that would change them
- `choices_of`, `allows_nothing`, `refuse_empty_mask`: what a mask is about, and where it is empty
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from numpy.typing import NDArray

from rllib_seq.errors import UserError
from rllib_seq.nn.step_reader import Frame, Number, StepParts

MASK = "action_mask"
"""Key of a Dict of observations under which RLlib's convention has the allowed actions."""

_LEAST_SIDE = 8
"""Pixels: a Box of three dimensions that is less high or wide is no frame."""


class Piece(NamedTuple):
    """A part of a flat observation."""

    kind: str
    """"plain": features as they are; "mask": allowed actions; "frame": pixels; "one_hot": a number
    of `size`, one-hot; "number": the same as one feature."""
    size: int
    """Features."""
    space: gym.Space
    """That it comes from."""
    values: int = 0
    """Of a number: how many it can have."""


def pieces_of(space: gym.Space, embed_above: int, one_hot: bool) -> list[Piece]:
    """Return what a flat observation consists of, in order.

    Args:
        space: of observations, maybe nested.
        embed_above: numbers of more values are to be embedded.
        one_hot: whether these are one-hot in a flat observation (RLlib's way), or one feature.

    Raises:
        UserError: observations have no fixed shape, or a mask is no vector.
    """
    pieces: list[Piece] = []
    for key, leaf in _leaves(space):
        if key == MASK:
            if not isinstance(leaf, Box | MultiBinary):
                raise UserError(
                    f"{MASK!r} is of {' '.join(str(leaf).split())}; make it a MultiBinary or a Box "
                    "of 0 and 1 with one entry for each choice"
                )
            pieces.append(Piece("mask", _width(leaf), leaf))
        elif isinstance(leaf, Discrete | MultiDiscrete):
            for count in _counts(leaf):
                if count <= embed_above:
                    pieces.append(Piece("plain", count, leaf))
                elif one_hot:
                    pieces.append(Piece("one_hot", count, leaf, count))
                else:
                    pieces.append(Piece("number", 1, leaf, count))
        else:
            kind = "frame" if is_frame(leaf) else "plain"
            pieces.append(Piece(kind, _width(leaf), leaf))
    return pieces


def mask_in(pieces: list[Piece]) -> slice | None:
    """Return where the action mask stands among pieces, or None."""
    start = 0
    for piece in pieces:
        if piece.kind == "mask":
            return slice(start, start + piece.size)
        start += piece.size
    return None


class Read(NamedTuple):
    """A part of a flat observation that the networks see."""

    kind: str
    start: int
    size: int
    values: int
    space: gym.Space


def reads_of(pieces: list[Piece]) -> list[Read]:
    """Return what networks see of pieces; plain ones that follow each other are one."""
    reads: list[Read] = []
    start = 0
    for piece in pieces:
        if piece.kind == "plain" and reads and reads[-1].kind == "plain":
            last = reads[-1]
            if last.start + last.size == start:
                reads[-1] = last._replace(size=last.size + piece.size)
                start += piece.size
                continue
        if piece.kind != "mask":
            reads.append(Read(piece.kind, start, piece.size, piece.values, piece.space))
        start += piece.size
    return reads


def parts_of(reads: list[Read]) -> StepParts | None:
    """Return frames and large numbers by their places in a step input, or None."""
    frames, numbers, place = [], [], 0
    for read in reads:
        if read.kind == "frame":
            assert isinstance(read.space, Box)
            height, width, channels = read.space.shape
            frames.append(Frame(place, (height, width, channels), *_bounds(read.space)))
        elif read.values:
            numbers.append(Number(place, read.values))
        place += 1 if read.values else read.size
    return StepParts(tuple(frames), tuple(numbers)) if frames or numbers else None


def _bounds(space: Box) -> tuple[float, float]:
    """Lowest and highest pixel; those that have no bounds stay what they are."""
    low, high = float(space.low.min()), float(space.high.max())
    return (low, high) if math.isfinite(high - low) and high > low else (0.0, 1.0)


def is_frame(space: gym.Space) -> bool:
    """Return whether observations are pictures: `[H, W, C]` with H and W of at least 8."""
    return isinstance(space, Box) and len(space.shape) == 3 and min(space.shape[:2]) >= _LEAST_SIDE


def flat_rows(space: gym.Space, batch: Any, rows: int, embed_above: int) -> NDArray[Any]:
    """Return observations as vectors, `[rows, width]`, in which large numbers are one feature.

    Args:
        space: of one observation, maybe nested.
        batch: arrays `[rows, ...]` in the nesting of the space; or one observation, if rows is 1.
        rows: how many.
        embed_above: numbers of more values are not one-hot.

    Returns:
        float32; of a frame alone, its own type.

    Raises:
        UserError: a part has another shape than its space.
    """
    parts = list(_flat_parts(space, batch, rows, embed_above, "observations"))
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1, dtype=np.float32)


def refuse_filter(space: gym.Space, embed_above: int) -> None:
    """Refuse a running mean and deviation where they would change more than plain features.

    Raises:
        UserError: observations hold a mask, frames or numbers to be embedded.
    """
    kinds = {"mask": "an action mask", "frame": "frames", "number": "numbers to be embedded"}
    for piece in pieces_of(space, embed_above, one_hot=False):
        if piece.kind in kinds:
            raise UserError(
                f"observation_filter='MeanStdFilter' would change {kinds[piece.kind]} of "
                f"observations of {' '.join(str(piece.space).split())}; set it to 'NoFilter'"
            )


class StepSpace(Box):
    """Flat observations of a step, see `flat_rows`."""

    def __init__(self, unflattened: gym.Space, embed_above: int) -> None:
        """Measure them.

        Args:
            unflattened: space of the environment's observations.
            embed_above: see `flat_rows`.
        """
        self.unflattened = unflattened
        self.embed_above = embed_above
        pieces = pieces_of(unflattened, embed_above, one_hot=False)
        width = sum(piece.size for piece in pieces)
        self.mask = mask_in(pieces)
        dtype: Any = np.float32
        low, high = -np.inf, np.inf
        if is_frame(unflattened) and unflattened.dtype == np.uint8:
            dtype, low, high = np.uint8, 0, 255
        super().__init__(low, high, (width,), dtype)

    def rows(self, batch: Any, rows: int) -> NDArray[Any]:
        """See `flat_rows`."""
        found = flat_rows(self.unflattened, batch, rows, self.embed_above)
        return found.astype(self.dtype, copy=False)


def choices_of(actions: gym.Space) -> list[int]:
    """Return how many choices each part of an action has; a mask has one bit for each.

    Raises:
        UserError: actions have no choices.
    """
    if isinstance(actions, Discrete | MultiDiscrete):
        return _counts(actions)
    raise UserError(
        f"observations hold an {MASK!r}, and actions are {' '.join(str(actions).split())}; masks "
        "are for Discrete and MultiDiscrete actions, so name it otherwise if it is to be seen"
    )


def allows_nothing(mask: NDArray[Any], actions: gym.Space) -> bool:
    """Return whether a mask `[choices]` leaves a part of an action without a choice."""
    cuts = np.cumsum(choices_of(actions))[:-1]
    return not all(part.any() for part in np.split(mask, cuts))


def refuse_empty_mask(stream: str, step: int) -> None:
    """Refuse a step in which no action is allowed.

    Args:
        stream: how the user knows it.
        step: of the stream.

    Raises:
        UserError: always.
    """
    raise UserError(
        f"{stream}, step {step}: {MASK!r} allows no action; let the environment allow at least one "
        "in every step that does not end an episode"
    )


def _leaves(space: gym.Space, key: str | None = None) -> Iterator[tuple[str | None, gym.Space]]:
    """The spaces that a space is nested of, each with its key if the outermost is a Dict."""
    if isinstance(space, Dict):
        for name, child in _children(space):
            yield from _leaves(child, name if key is None else key)
    elif isinstance(space, Tuple):
        for child in space:
            yield from _leaves(child, "" if key is None else key)
    else:
        yield key, space


def _children(space: Dict) -> list[tuple[Any, gym.Space]]:
    """In RLlib's order."""
    return [(key, space[key]) for key in sorted(space)]


def _counts(space: Discrete | MultiDiscrete) -> list[int]:
    if isinstance(space, Discrete):
        return [int(space.n)]
    return [int(count) for count in space.nvec.ravel()]


def _width(space: gym.Space) -> int:
    if not isinstance(space, Box | MultiBinary):
        raise UserError(
            f"observations of {' '.join(str(space).split())} are no vector; use Box, Discrete, "
            "MultiDiscrete, MultiBinary, or a Dict or Tuple of them"
        )
    return math.prod(space.shape)


def _flat_parts(
    space: gym.Space, batch: Any, rows: int, embed_above: int, name: str
) -> Iterator[NDArray[Any]]:
    if isinstance(space, Dict):
        for key, child in _children(space):
            yield from _flat_parts(child, batch[key], rows, embed_above, f"{name}[{key!r}]")
    elif isinstance(space, Tuple):
        for number, child in enumerate(space):
            yield from _flat_parts(child, batch[number], rows, embed_above, f"{name}[{number}]")
    elif isinstance(space, Discrete | MultiDiscrete):
        counts = _counts(space)
        columns = _sized(np.asarray(batch), rows, len(counts), name)
        for column, count in zip(columns.T, counts, strict=True):
            if count > embed_above:
                yield column[:, None].astype(np.float32)
            else:
                yield np.eye(count, dtype=np.float32)[column.astype(np.int64)]
    else:
        array = np.asarray(batch)
        keep = is_frame(space) and array.dtype == np.uint8
        yield _sized(array if keep else array.astype(np.float32), rows, _width(space), name)


def _sized(array: NDArray[Any], rows: int, width: int, name: str) -> NDArray[Any]:
    if array.size != rows * width:
        raise UserError(
            f"{name} have {array.size // rows} numbers, and their space has {width}; return what "
            "the observation space says"
        )
    return array.reshape(rows, width)

"""Many windows through an encoder, without work on empty slots and without leaving the cache.

- `in_chunks`: calls an encoder on windows of similar fill, cut to what is filled, few at a time

    valid        sorted by fill      cut, two windows at a time
    . . . x      . . . x             . x      x x x x
    x x x x      . . x x             x x      x x x x
    . . x x      x x x x                      (full: no mask)
    x x x x      x x x x
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

TOKENS = 2048
"""Of one chunk. At 64 floats, what a layer makes of them is half a megabyte and stays in the cache
of one core from the forward operation that writes it to the next that reads it."""


def in_chunks(
    encode: Callable[[Tensor, Tensor | None], Tensor], inputs: Tensor, valid: Tensor
) -> Tensor:
    """Return `encode(inputs, valid)`, computed chunk by chunk.

    A slot that is empty in all windows of a chunk is cut off: what is not valid changes nothing,
    and age counts from the last slot, so the result is the same up to rounding.

    Args:
        encode: maps windows `[b, l, D]` and their mask `[b, l]`, or None if all slots are valid, to
            `[b, K]`, every window by itself.
        inputs: windows `[B, L, D]`.
        valid: bool `[B, L]`, at least one slot per window.

    Returns:
        `[B, K]`.
    """
    if torch.compiler.is_compiling():  # looks at no values, so that one graph serves all masks
        return encode(inputs, valid)
    empty = valid.byte().argmax(1)  # (B,), slots before the first valid one
    windows = max(1, TOKENS // inputs.shape[1])
    if len(inputs) <= windows:
        return _encode(encode, inputs, valid, empty)
    order = empty.argsort(stable=True)
    parts = [
        _encode(encode, inputs[rows], valid[rows], empty[rows]) for rows in order.split(windows)
    ]
    return torch.cat(parts)[order.argsort()]


def _encode(
    encode: Callable[[Tensor, Tensor | None], Tensor], inputs: Tensor, valid: Tensor, empty: Tensor
) -> Tensor:
    cut = int(empty.min()) if len(empty) else 0
    inputs, valid = inputs[:, cut:], valid[:, cut:]
    return encode(inputs, None if bool(valid.all()) else valid)

"""Sequences of different lengths in one batch: what is real, and how to leave the rest out.

- `Padding`: which steps of a batch are real
- `in_groups`: sequences of similar length together, each group cut to its longest
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

# Slots of sequences of similar length that are read together: with fewer, calling so many small
# operations costs as much as what they compute; with more there is more padding.
GROUP = 4096
# Leaving padding out, in layers that read every step by itself, costs more than it saves if more
# steps are real.
_DENSE = 0.8


class Padding:
    """Which steps of a batch `[B, T]` are real.

    Args:
        shape: B, T and whatever follows.
        seq_lens: real steps of each sequence, `[B]`; None means all T.
    """

    def __init__(self, shape: torch.Size, seq_lens: Tensor | None) -> None:
        self.shape = shape[:2]
        self.real: Tensor | None = None
        """`[B, T]`; None if all steps are real."""
        self.seq_lens: Tensor | None = None
        """`[B]`; None if all steps are real."""
        self._rows: Tensor | None = None  # of real steps, [N], if padding is to be left out
        if seq_lens is not None:
            real = torch.arange(shape[1], device=seq_lens.device) < seq_lens[:, None]
            share = real.float().mean().item()
            if share < 1:
                self.real, self.seq_lens = real, seq_lens
                if share < _DENSE:
                    self._rows = real.flatten().nonzero().squeeze(1)

    def blank(self, padded: Tensor) -> Tensor:
        """Put zeros into the padding of `[B, T, K]`."""
        return padded if self.real is None else padded.masked_fill(~self.real[..., None], 0.0)

    def pack(self, padded: Tensor) -> Tensor:
        """Return `[N, K]` of `[B, T, K]`: without padding if there is much, else all steps."""
        rows = padded.flatten(0, 1)
        return rows if self._rows is None else rows.index_select(0, self._rows)

    def spread(self, packed: Tensor) -> Tensor:
        """Put `[N, K]` of `pack` back, `[B, T, K]`; in padding stands whatever."""
        if self._rows is not None:
            spread = packed.new_zeros(self.shape.numel(), packed.shape[1])
            packed = spread.index_copy(0, self._rows, packed)
        return packed.view(*self.shape, -1)

    def spread_blank(self, packed: Tensor) -> Tensor:
        """As `spread`, with zeros in padding."""
        spread = self.spread(packed)
        return spread if self._rows is not None else self.blank(spread)


def in_groups(
    read: Callable[[Mapping[str, Tensor], Tensor, Padding], Tensor],
    state: Mapping[str, Tensor],
    inputs: Tensor,
    seq_lens: Tensor | None,
) -> Tensor:
    """Return `read(state, inputs, padding)`, computed in groups of sequences of similar length.

    Args:
        read: maps B sequences of T steps to `[B, T, K]`, zero in padding, each by itself.
        state: `[B, ...]` by name.
        inputs: `[B, T, D]`.
        seq_lens: real steps of each, `[B]`; None means all T.

    Returns:
        `[B, T, K]`.
    """
    steps = inputs.shape[1]
    rows_at_once = max(1, GROUP // steps)
    if seq_lens is None or len(inputs) <= rows_at_once:
        return read(state, inputs, Padding(inputs.shape, seq_lens))
    order = seq_lens.argsort(descending=True)
    parts = []
    for rows in order.split(rows_at_once):
        lens = seq_lens[rows]
        longest = max(1, int(lens[0]))
        group = inputs[rows, :longest]
        begun = {name: part[rows] for name, part in state.items()}
        part = read(begun, group, Padding(group.shape, lens))
        parts.append(functional.pad(part, (0, 0, 0, steps - longest)))
    return torch.cat(parts)[order.argsort()]

"""Windows of a stream, as pure functions.

- `sequence_windows`: all windows of a batch of sequences at once
- `next_state`: the recurrent state after those sequences
- `next_inputs`, `filled_slots`: for states by name

The recurrent state is the last L-1 raw step inputs of the stream, right-aligned, and how many of
them are filled. With L = 4, a stream that has one step behind it (a) and a sequence b, c, d:

    state        inputs          windows, oldest slot first     valid mask
    [. . a]      [b c d]         now b: [. . a b]               [0 0 1 1]
    length 1                     now c: [. a b c]               [0 1 1 1]
                                 now d: [a b c d]               [1 1 1 1]

A window ends at its own step, so whatever reads it (in both directions) cannot see the future.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rllib_seq.nn.encoders.base import LENGTH, State


def sequence_windows(state: Tensor, length: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the window that ends at every step of every sequence.

    Args:
        state: step inputs before the sequence, right-aligned, oldest first, `[B, L-1, D]`.
        length: how many slots of `state` are filled, integers in 0..L-1, `[B]`.
        inputs: step inputs of the sequence, `[B, T, D]`; padding, if any, at its end.

    Returns:
        windows `[B, T, L, D]`, zero where not filled (a view: copy before writing), and the valid
        mask `[B, T, L]`, bool.

    Raises:
        ValueError: the shapes do not fit.
    """
    _check(state, length, inputs)
    slots = state.shape[1] + 1
    filled = _filled(state, length)  # (B, L-1)
    now = filled.new_ones(inputs.shape[:2])  # (B, T)
    history = torch.cat([_blank(state, filled), inputs], dim=1)  # (B, L-1+T, D)
    windows = history.unfold(1, slots, 1).transpose(2, 3)  # (B, T, L, D)
    return windows, torch.cat([filled, now], dim=1).unfold(1, slots, 1)


def next_state(
    state: Tensor, length: Tensor, inputs: Tensor, seq_lens: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the recurrent state after the first `seq_lens` steps of every sequence.

    Args:
        state: step inputs before the sequence, `[B, L-1, D]`.
        length: how many slots of `state` are filled, `[B]`.
        inputs: step inputs of the sequence, `[B, T, D]`.
        seq_lens: real steps of each sequence, integers in 0..T, `[B]`; None means all T. Rows
            after them are padding and leave no trace in the state.

    Returns:
        the new state `[B, L-1, D]` and its length `[B]`.

    Raises:
        ValueError: the shapes do not fit.
    """
    _check(state, length, inputs)
    batch, rows, width = state.shape
    history = torch.cat([_blank(state, _filled(state, length)), inputs], dim=1)
    if seq_lens is None:
        steps = inputs.shape[1]
        return history[:, steps:], (length + steps).clamp(max=rows)
    if seq_lens.shape != length.shape:
        raise ValueError(f"seq_lens must be [{batch}], one per sequence, not {_shape(seq_lens)}")
    # The last L-1 of the first L-1+seq_len rows are the rows seq_len .. seq_len+L-2.
    kept = seq_lens[:, None].long() + torch.arange(rows, device=state.device)  # (B, L-1)
    new_state = history.gather(1, kept[..., None].expand(batch, rows, width))
    return new_state, (length + seq_lens).clamp(max=rows)


def filled_slots(state: Mapping[str, Tensor]) -> Tensor:
    """Return how many slots of states are filled, integers `[B]`, see `LENGTH`."""
    return state[LENGTH].squeeze(1).round().long()


def next_inputs(
    state: Mapping[str, Tensor], inputs: Tensor, seq_lens: Tensor | None = None
) -> State:
    """Return the states after sequences where states are `inputs` and `LENGTH`.

    Args:
        state: before them.
        inputs: step inputs of the sequences, `[B, T, D]`.
        seq_lens: real steps of each, `[B]`; None means all T.
    """
    past, length = next_state(state["inputs"], filled_slots(state), inputs, seq_lens)
    return {"inputs": past, LENGTH: length[:, None].to(inputs.dtype)}


def _filled(state: Tensor, length: Tensor) -> Tensor:
    """Bool `[B, L-1]`: the last `length` slots of the state are filled."""
    rows = state.shape[1]
    return torch.arange(rows, device=state.device) >= rows - length[:, None]


def _blank(state: Tensor, filled: Tensor) -> Tensor:
    """The state with zeros in the slots that are not filled, whatever they held."""
    # Streams with a long past are the rule, and their states need no copy. (When a graph is traced,
    # for export, there are no values to look at.)
    if not torch.compiler.is_compiling() and bool(filled.all()):
        return state
    return state.masked_fill(~filled[..., None], 0.0)


def _check(state: Tensor, length: Tensor, inputs: Tensor) -> None:
    fits = (
        state.dim() == inputs.dim() == 3
        and (state.shape[0], state.shape[2]) == (inputs.shape[0], inputs.shape[2])
        and length.shape == state.shape[:1]
    )
    if not fits:
        raise ValueError(
            "state must be [B, L-1, D], length [B] and inputs [B, T, D]; got "
            f"{_shape(state)}, {_shape(length)} and {_shape(inputs)}"
        )


def _shape(tensor: Tensor) -> list[int]:
    return list(tensor.shape)

"""From a window of raw step inputs to tokens, in both directions.

- `BiLSTMStem`: input projection, code of age, bidirectional LSTM: window -> tokens
- `MaskedBiLSTM`: exact for any mask
- `age_encoding`: what a token knows of its place
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rllib_seq.config import SequenceConfig
from rllib_seq.nn.layers import initialise


def age_encoding(slots: int, width: int, like: Tensor) -> Tensor:
    """Return the sinusoidal code of age, oldest slot first, `[slots, width]`.

    `code[age, 2i] = sin(age / 10000^(2i/width))` and `code[age, 2i+1] = cos(the same)`, as in
    Vaswani et al. 2017, but over age: the last slot is always age 0, however full the window is.

    Args:
        slots: window length L.
        width: of a token, even.
        like: gives device and dtype.
    """
    age = torch.arange(slots - 1, -1, -1, device=like.device, dtype=like.dtype)  # (L,)
    rate = torch.arange(0, width, 2, device=like.device, dtype=like.dtype) / width
    angle = age[:, None] * torch.exp(-math.log(10_000.0) * rate)  # (L, width/2)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


class MaskedBiLSTM(nn.Module):
    """Bidirectional LSTM over the valid slots alone, exact for any mask.

    Each direction reads a window in which its valid slots stand first, in its own reading order,
    and the rest after them. What comes after cannot reach a valid slot, so no mask is needed inside
    the LSTM:

        slots  . . a b c     forwards reads  a b c . .     backwards reads  c b a . .

    Outputs `[B, L, d_model]`, each half of the width from one direction.
    """

    def __init__(self, width: int, layers: int, dropout: float) -> None:
        """Build `layers` layers of `width // 2` cells per direction."""
        super().__init__()
        half = width // 2
        directions = [
            [nn.LSTM(width, half, batch_first=True) for _ in range(layers)] for _ in range(2)
        ]
        self.forwards, self.backwards = map(nn.ModuleList, directions)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, valid: Tensor | None) -> Tensor:
        """Read tokens `[B, L, d_model]` where `valid` `[B, L]`; return `[B, L, d_model]`.

        None for `valid` means everywhere, and spares the reordering.
        """
        orders = None if valid is None else _reading_orders(valid)
        for index, (forwards, backwards) in enumerate(
            zip(self.forwards, self.backwards, strict=True)
        ):
            if index:
                tokens = self.dropout(tokens)
            if orders is None:
                halves = [forwards(tokens)[0], backwards(tokens.flip(1))[0].flip(1)]
            else:
                halves = [
                    take(lstm(take(tokens, order))[0], place)
                    for lstm, (order, place) in zip((forwards, backwards), orders, strict=True)
                ]
            tokens = torch.cat(halves, dim=-1)
        return tokens


def _reading_orders(valid: Tensor) -> list[tuple[Tensor, Tensor]]:
    """For each direction: which slot is read at every turn `[B, L]`, and the inverse of that."""
    rank = valid.cumsum(1)  # (B, L), 1 at the oldest valid slot
    count = rank[:, -1:]  # (B, 1)
    after = count + (~valid).cumsum(1) - 1  # the turn of slots that are not valid
    slots = torch.arange(valid.shape[1], device=valid.device).expand_as(rank)
    places = [torch.where(valid, rank - 1, after), torch.where(valid, count - rank, after)]
    return [(torch.empty_like(place).scatter(1, place, slots), place) for place in places]


class BiLSTMStem(nn.Module):
    """Raw step inputs to tokens: input projection, code of age, bidirectional LSTM."""

    def __init__(self, input_dim: int, config: SequenceConfig) -> None:
        """Build the reader.

        Args:
            input_dim: width of a raw step input.
            config: sizes.

        Raises:
            ValueError: `input_dim` is not a positive int.
        """
        super().__init__()
        self.project = nn.Linear(input_dim, config.d_model)
        self.lstm = MaskedBiLSTM(config.d_model, config.lstm_layers, config.dropout)
        initialise(self)

    def forward(self, inputs: Tensor, valid: Tensor | None) -> Tensor:
        """Return tokens `[B, L, d_model]` of windows `[B, L, input_dim]`.

        Args:
            inputs: windows.
            valid: mask `[B, L]`; None if all slots are valid.
        """
        if valid is not None:
            # Zeroed first, so that not even NaN in an empty slot survives (0 * NaN is NaN).
            inputs = inputs.masked_fill(~valid[..., None], 0.0)
        tokens = self.project(inputs)  # (B, L, d_model)
        tokens = tokens + age_encoding(tokens.shape[1], tokens.shape[2], tokens)
        # Residual: what a step says reaches the blocks undamped by the gates of the LSTM.
        return tokens + self.lstm(tokens, valid) if self.lstm.forwards else tokens


def take(tokens: Tensor, slots: Tensor) -> Tensor:
    """Pick slots `[B, K]` of tokens `[B, L, D]`, row by row; return `[B, K, D]`."""
    return tokens.gather(1, slots[..., None].expand(-1, -1, tokens.shape[2]))

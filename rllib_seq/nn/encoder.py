"""From a window of raw step inputs to one feature vector.

- `SequenceReader`: input projection, code of age, bidirectional LSTM: window -> tokens
- `SequenceEncoder`: reader, Transformer blocks, attention pooling, temporal head: -> features

A window may be partly filled; `valid` says where. What a slot that is not valid holds (even NaN)
changes nothing, exactly, and how each layer achieves that is said at the layer:

    slot     0 1 2 3 4 5 6 7        attention: every token looks at the valid slots only
    valid    . . . x x x x x                   keys  0 1 2 3 4 5 6 7
    age      7 6 5 4 3 2 1 0        any query        . . . x x x x x
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rllib_seq.config import SequenceConfig
from rllib_seq.nn.causal import CausalEncoder
from rllib_seq.nn.chunks import in_chunks
from rllib_seq.nn.layers import check_size, check_windows, initialise, temporal_layers


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
                    _take(lstm(_take(tokens, order))[0], place)
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


class Attention(nn.Module):
    """Multi-head attention over the valid slots of a window.

    Plain matrix products, for windows are short: scores stand as `[keys, queries]`, because torch
    normalises along a last dimension of less than 16 four times slower than along another one.
    """

    def __init__(self, width: int, heads: int) -> None:
        """Build projections for `heads` heads of `width // heads`."""
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)

    def forward(self, tokens: Tensor, bias: Tensor | None) -> Tensor:
        """Let all tokens look at all tokens, `[B, L, d_model]`.

        Args:
            tokens: what looks and is looked at.
            bias: 0 for a valid slot, minus infinity for others, `[B, L]`; None if all are valid.

        Returns:
            `[B, L, d_model]`.
        """
        batch, slots, width = tokens.shape
        size = width // self.heads
        query = self.query(tokens) * size**-0.5
        parts = torch.cat([query, self.key_value(tokens)], dim=2)  # (B, L, 3 d_model)
        parts = parts.view(batch, slots, 3, self.heads, size).permute(2, 0, 3, 1, 4)
        query, key, value = parts.reshape(3, batch * self.heads, slots, size)
        score = torch.bmm(key, query.transpose(1, 2))  # (B*heads, keys, queries)
        if bias is not None:
            score = score + bias.repeat_interleave(self.heads, 0)[:, :, None]
        mixed = torch.bmm(torch.softmax(score, dim=1).transpose(1, 2), value)
        mixed = mixed.view(batch, self.heads, slots, size).transpose(1, 2)
        return self.output(mixed.reshape(batch, slots, width))

    def look(self, query: Tensor, tokens: Tensor, bias: Tensor | None) -> Tensor:
        """Let one query per window, `[B, d_model]`, look at its tokens, `[B, L, d_model]`.

        With one query it is cheaper to carry the query back through the key projection, and the
        mean of the tokens through the value projection, than to project every token. The bias of
        keys is the same for all slots: it moves no attention.

        Args:
            query: what looks.
            tokens: what is looked at.
            bias: as for `forward`.

        Returns:
            `[B, d_model]`.
        """
        batch, width = query.shape
        size = width // self.heads
        # Each a view of its own: APPO copies weights into a model while a thread is reading it, and
        # PyTorch forbids that where one call made several views.
        weights = self.key_value.weight.view(2, self.heads, size, width)
        to_key, to_value = weights[0], weights[1]
        heads = (self.query(query) * size**-0.5).view(batch, self.heads, size).transpose(0, 1)
        asked = torch.bmm(heads, to_key).transpose(0, 1)  # (B, heads, d_model)
        score = tokens @ asked.transpose(1, 2)  # (B, L, heads)
        if bias is not None:
            score = score + bias[:, :, None]
        mean = torch.softmax(score, dim=1).transpose(1, 2) @ tokens  # (B, heads, d_model)
        mixed = torch.bmm(mean.transpose(0, 1), to_value.transpose(1, 2))  # (heads, B, size)
        mixed = mixed.transpose(0, 1).reshape(batch, width) + self.key_value.bias[width:]
        return self.output(mixed)


class TransformerBlock(nn.Module):
    """Pre-norm Transformer block: `x + attention(norm(x))`, then `x + feedforward(norm(x))`."""

    def __init__(self, config: SequenceConfig) -> None:
        """Build the block from the sizes of `config`."""
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.d_model)
        self.attention = Attention(config.d_model, config.num_heads)
        self.feedforward_norm = nn.LayerNorm(config.d_model)
        self.expand = nn.Linear(config.d_model, config.feedforward_dim)
        self.contract = nn.Linear(config.feedforward_dim, config.d_model)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: Tensor, bias: Tensor | None) -> Tensor:
        """Map tokens `[B, L, d_model]` to `[B, L, d_model]`; `bias` as in `Attention`."""
        tokens = tokens + self.dropout(self.attention(self.attention_norm(tokens), bias))
        hidden = functional.relu(self.expand(self.feedforward_norm(tokens)))
        return tokens + self.dropout(self.contract(hidden))


class SequenceReader(nn.Module):
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
        self.input_dim = check_size("input width", input_dim)
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


class SequenceEncoder(nn.Module):
    """Features of a window: LSTM for order, Transformer for relations, one vector for now.

    Every window is read by a bidirectional LSTM and by Transformer blocks. Then the current step
    asks the window what matters to it (attention pooling); its own token is added to the answer.
    With `encoder="causal"` it reads the window as a stream of its own, by `causal`, a
    `CausalEncoder`, which also goes on where a stream was left.

    Example:
        >>> encoder = SequenceEncoder(10, window_length=8, d_model=32)
        >>> encoder(torch.zeros(5, 8, 10), torch.ones(5, 8, dtype=torch.bool)).shape
        torch.Size([5, 32])
    """

    def __init__(self, input_dim: int, **config: Any) -> None:
        """Build the encoder.

        Args:
            input_dim: width of a raw step input.
            **config: fields of `SequenceConfig`.

        Raises:
            ValueError: a setting is unknown or wrong, or `input_dim` is not a positive int.
        """
        super().__init__()
        self.config = SequenceConfig.from_dict(config, where="the config of the network")
        width = self.config.d_model
        if self.config.encoder == "causal":
            blocks = self.config.transformer_layers
            self.causal = CausalEncoder(input_dim, self.config, blocks, width)
            return
        self.reader = SequenceReader(input_dim, self.config)
        self.blocks = nn.ModuleList(
            [TransformerBlock(self.config) for _ in range(self.config.transformer_layers)]
        )
        self.token_norm = nn.LayerNorm(width)
        self.pool = Attention(width, self.config.num_heads)
        self.pool_query = nn.Parameter(torch.zeros(width))
        self.pool_norm = nn.LayerNorm(width)
        self.head = temporal_layers(self.config, width)
        for module in (self.blocks, self.pool, self.head):
            initialise(module)

    def forward(self, inputs: Tensor, valid: Tensor) -> Tensor:
        """Encode windows.

        Args:
            inputs: raw step inputs, oldest first, `[B, L, input_dim]`, any L of at least 1.
            valid: bool `[B, L]`, True where a slot is filled; at least one per window. The newest
                valid slot (usually the last) is the current step.

        Returns:
            features, `[B, d_model]`.

        Raises:
            ValueError: shapes or the type of the mask are wrong, or a window has no valid slot.
        """
        if self.config.encoder == "causal":
            return self.causal(inputs, valid)
        check_windows(inputs, valid, self.reader.input_dim)
        return in_chunks(self._encode, inputs, valid)

    def _encode(self, inputs: Tensor, valid: Tensor | None) -> Tensor:
        tokens = self.reader(inputs, valid)  # (B, L, d_model)
        bias = None
        if valid is not None:
            bias = torch.zeros_like(valid, dtype=tokens.dtype).masked_fill(~valid, -math.inf)
        for block in self.blocks:
            tokens = block(tokens, bias)
        tokens = self.token_norm(tokens)
        current = tokens[:, -1]  # (B, d_model)
        if valid is not None:  # the newest valid slot need not be the last
            slots = torch.arange(valid.shape[1], device=valid.device)
            newest = (slots * valid).amax(1, keepdim=True)  # (B, 1)
            current = _take(tokens, newest).squeeze(1)
        answer = self.pool.look(current + self.pool_query, tokens, bias)  # (B, d_model)
        return self.head(self.pool_norm(current + answer))


def _take(tokens: Tensor, slots: Tensor) -> Tensor:
    """Pick slots `[B, K]` of tokens `[B, L, D]`, row by row; return `[B, K, D]`."""
    return tokens.gather(1, slots[..., None].expand(-1, -1, tokens.shape[2]))

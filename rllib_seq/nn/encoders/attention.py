"""Attention among the valid slots of a window.

- `Packing`: the tokens of valid slots alone
- `Attention`: multi-head attention, of all slots or of one query
- `TransformerBlock`: pre-norm block around it
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from rllib_seq.config import SequenceConfig


class Packing:
    """The tokens of valid slots, one after the other: what is done to each token alone costs less.

    Args:
        valid: `[B, L]`.
    """

    def __init__(self, valid: Tensor) -> None:
        """Find out which tokens there are."""
        flat = valid.flatten()
        self._rows = flat.nonzero()[:, 0]  # (V,)
        self._places = (flat.cumsum(0) - 1).clamp(min=0)  # (B L,)
        self._shape = valid.shape

    def pack(self, tokens: Tensor) -> Tensor:
        """Return the tokens `[V, D]` of `[B, L, D]`."""
        return tokens.flatten(0, 1).index_select(0, self._rows)

    def unpack(self, tokens: Tensor) -> Tensor:
        """Return `[B, L, D]` of `[V, D]`; slots that are not valid hold tokens of others."""
        return tokens.index_select(0, self._places).view(*self._shape, tokens.shape[-1])


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

    def forward(
        self, tokens: Tensor, bias: Tensor | None, packing: Packing | None = None
    ) -> Tensor:
        """Let all tokens look at all tokens, `[B, L, d_model]`.

        Args:
            tokens: what looks and is looked at.
            bias: 0 for a valid slot, minus infinity for others, `[B, L]`; None if all are valid.
            packing: if tokens are those of valid slots alone, `[V, d_model]`.

        Returns:
            the same shape.
        """
        width = tokens.shape[-1]
        size = width // self.heads
        query = self.query(tokens) * size**-0.5
        parts = torch.cat([query, self.key_value(tokens)], dim=-1)  # (B, L, 3 d_model)
        if packing is not None:
            parts = packing.unpack(parts)
        batch, slots = parts.shape[:2]
        parts = parts.view(batch, slots, 3, self.heads, size).permute(2, 0, 3, 1, 4)
        query, key, value = parts.reshape(3, batch * self.heads, slots, size)
        score = torch.bmm(key, query.transpose(1, 2))  # (B*heads, keys, queries)
        if bias is not None:
            score = score + bias.repeat_interleave(self.heads, 0)[:, :, None]
        mixed = torch.bmm(torch.softmax(score, dim=1).transpose(1, 2), value)
        mixed = mixed.view(batch, self.heads, slots, size).transpose(1, 2)
        mixed = mixed.reshape(batch, slots, width)
        return self.output(mixed if packing is None else packing.pack(mixed))

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

    def forward(
        self, tokens: Tensor, bias: Tensor | None, packing: Packing | None = None
    ) -> Tensor:
        """Map tokens `[B, L, d_model]` to `[B, L, d_model]`; arguments as of `Attention`."""
        tokens = tokens + self.dropout(self.attention(self.attention_norm(tokens), bias, packing))
        hidden = functional.relu(self.expand(self.feedforward_norm(tokens)))
        return tokens + self.dropout(self.contract(hidden))

"""Attention of every step of a stream to the last L tokens.

- `BandedAttention`: queries, keys and values to what each step finds in its band
- `age_bias`: how it knows how long ago a step was

With L = 3, and a cache of the two tokens before the sequence:

    keys         cached    sequence            age that a query sees
                 k  k      k  k  k  k
    query 0      x  x      x  .  .  .          2 1 0
    query 1      .  x      x  x  .  .            2 1 0
    query 2      .  .      x  x  x  .              2 1 0
    query 3      .  .      .  x  x  x                2 1 0
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

# Measured on a CPU: smaller blocks, and any in shorter sequences, save less in keys than they cost.
_LEAST_BLOCK = 16
_SHORT = 48
# Adam moves a parameter by about the learning rate at each update, and scores that matter differ by
# whole units: in units of one, age biases would hardly be learned within a thousand updates.
_BIAS_UNIT = 10.0


def age_bias(bias: Tensor, before: int, steps: int) -> Tensor:
    """Return what is added to the scores of `steps` queries in a row.

    The keys are `before` tokens before the first query and the queries' own, so that key j has, for
    query i, the age `i + before - j`. Outside 0..L-1 it is not seen.

    Args:
        bias: by age, `[heads, L]`.
        before: P, any number of at least 0.
        steps: T, at least 1.

    Returns:
        `[heads, T, P+T]`, minus infinity where a key is not seen.
    """
    length = bias.shape[1]
    # Every row is the one above it, moved on by one: cut them all out of one long row, in which the
    # oldest age that the last query can meet, P + T - 1, comes first.
    line = bias.flip(1)[:, max(0, length - before - steps) :]
    line = functional.pad(line, (max(0, before + steps - length), steps - 1), value=-math.inf)
    return line.unfold(1, before + steps, 1).flip(1)


class BandedAttention(nn.Module):
    """Multi-head attention of every step to the last L tokens, itself included.

    Position is age alone: a score is `query . key / sqrt(size) + bias[head, age]`. The biases are
    learned and start as those of ALiBi (Press et al. 2022), each head with a reach of its own, so
    that a token's code is the same wherever in the stream it stands.
    """

    def __init__(self, width: int, heads: int, window_length: int) -> None:
        """Build projections for `heads` heads of `width // heads`, and biases for L ages."""
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)
        reach = 2.0 ** (-8.0 * torch.arange(1, heads + 1) / heads)  # (heads)
        slopes = -reach[:, None] * torch.arange(window_length)  # (heads, L)
        self.bias = nn.Parameter(slopes / _BIAS_UNIT)

    @property
    def age_biases(self) -> Tensor:
        """What is added to scores by age, `[heads, L]`."""
        return self.bias * _BIAS_UNIT

    def ask(self, tokens: Tensor) -> Tensor:
        """Return the queries of tokens `[..., width]`, divided by `sqrt(size)`, the same shape."""
        scale = (self.query.out_features // self.heads) ** -0.5  # of weights, which are fewer
        return functional.linear(tokens, self.query.weight * scale, self.query.bias * scale)

    def forward(self, queries: Tensor, key_values: Tensor, empty: Tensor | None) -> Tensor:
        """Let steps look back.

        Long sequences are taken in blocks of C >= L queries, each with its own block of keys and
        the one before it, so that the work grows with T * L and not with T * T.

        Args:
            queries: of `ask`, `[B, T, d_model]`.
            key_values: of P < L slots before the sequence and of the sequence,
                `[B, P+T, 2 * d_model]`.
            empty: bool `[B, P]`, True where nothing stands; None: all slots are filled.

        Returns:
            `[B, T, d_model]`, to be projected by `output`.
        """
        batch, steps, width = queries.shape
        if steps == 1:
            return self._look_back(queries, key_values, empty)
        before = key_values.shape[1] - steps
        block = max(self.bias.shape[1], _LEAST_BLOCK)
        blocks = -(-steps // block)
        if steps <= max(block, _SHORT):
            blocks, block, reach = 1, steps, key_values
        else:
            extra = blocks * block - steps
            queries = functional.pad(queries, (0, 0, 0, extra))
            key_values = functional.pad(key_values, (0, 0, block - before, extra))
            pieces = key_values.view(batch, blocks + 1, block, -1)
            reach = torch.cat([pieces[:, :-1], pieces[:, 1:]], dim=2)
            nothing = (
                empty if empty is not None else queries.new_zeros(batch, before, dtype=torch.bool)
            )
            empty = functional.pad(nothing, (block - before, 0), value=True)
            before = block
        query = queries.view(batch, blocks, block, self.heads, -1).transpose(2, 3)
        reach = reach.view(batch, blocks, before + block, 2 * self.heads, -1).transpose(2, 3)
        key, value = reach.chunk(2, dim=2)  # (B, blocks, heads, P+C, size)
        score = query @ key.transpose(-1, -2)
        score += age_bias(self.age_biases, before, block)  # (B, blocks, heads, C, P+C)
        if empty is not None:  # which slots are, if any, stand before the first block
            hidden = score.new_zeros(batch, blocks, 1, 1, before + block)
            hidden[:, 0, 0, 0, :before].masked_fill_(empty, -math.inf)
            score += hidden
        mixed = torch.softmax(score, dim=-1) @ value
        return mixed.transpose(2, 3).reshape(batch, blocks * block, width)[:, :steps]

    def _look_back(self, query: Tensor, key_values: Tensor, empty: Tensor | None) -> Tensor:
        """The same for a single step, for which products of matrices cost more than they do.

        Scores are kept as keys by heads: torch normalises along a short last dimension slowly.
        """
        batch, slots, _ = key_values.shape
        width = query.shape[2]
        size = width // self.heads
        key, value = key_values.view(batch, slots, 2, self.heads, size).unbind(2)
        score = (query.view(batch, 1, self.heads, size) * key).sum(3)  # (B, P+1, heads)
        score = score + self.age_biases[:, :slots].flip(1).t()
        if empty is not None:
            hidden = functional.pad(empty, (0, 1), value=False)
            score = score.masked_fill(hidden[..., None], -math.inf)
        weight = torch.softmax(score, dim=1)
        return (weight[..., None] * value).sum(1).view(batch, 1, width)

"""LSTM and Transformer that read a stream once, step after step, and carry what they know.

- `CausalEncoder`: one-directional LSTM, banded attention, attention pooling: steps -> features

A window is encoded again at every step, L times the work. Here a step is encoded once: its token
depends on the LSTM's state and on the last L tokens of the layer below, never on the future.

A step is a sequence of one (T = 1): there is no second code path, and a sequence may be cut into
fragments anywhere. In depth the bands add up, and the LSTM remembers beyond all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from rllib_seq.config import SequenceConfig
from rllib_seq.errors import UserError
from rllib_seq.nn.encoders.banded_attention import BandedAttention
from rllib_seq.nn.encoders.base import LENGTH, State, StreamEncoder
from rllib_seq.nn.encoders.lstm import LSTMStem, RecurrentEncoder
from rllib_seq.nn.encoders.padding import Padding
from rllib_seq.nn.encoders.windows import filled_slots, next_state
from rllib_seq.nn.layers import initialise, mlp_head


@dataclasses.dataclass(frozen=True)
class _Cached:
    """Keys and values of the tokens before a sequence, of one attention."""

    key_values: Tensor | None
    """`[B, P, 2 * d_model]`, P < L; None if there are none."""
    empty: Tensor | None
    """Bool `[B, P]`, True where nothing stands; None if all slots are filled."""

    def followed_by(self, fresh: Tensor) -> Tensor:
        """Return them and those of the sequence, `[B, P+T, 2 * d_model]`."""
        return fresh if self.key_values is None else torch.cat([self.key_values, fresh], dim=1)


@dataclasses.dataclass(frozen=True)
class _WithRoom(_Cached):
    """Has a last slot, `[B, P+1, 2 * d_model]`, for those of a single step, written in place."""

    def followed_by(self, fresh: Tensor) -> Tensor:
        """See `_Cached.followed_by`."""
        assert self.key_values is not None
        self.key_values[:, -1:] = fresh
        return self.key_values


class CausalBlock(nn.Module):
    """Pre-norm Transformer block around `BandedAttention`."""

    def __init__(self, config: SequenceConfig) -> None:
        """Build the block from the sizes of `config`."""
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.d_model)
        self.attention = BandedAttention(config.d_model, config.num_heads, config.window_length)
        self.feedforward_norm = nn.LayerNorm(config.d_model)
        self.expand = nn.Linear(config.d_model, config.feedforward_dim)
        self.contract = nn.Linear(config.feedforward_dim, config.d_model)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: Tensor, cached: _Cached, padding: Padding) -> tuple[Tensor, Tensor]:
        """Map tokens `[N, d_model]` of packed steps to `[N, d_model]`.

        Args:
            tokens: to read.
            cached: of the steps before them.
            padding: that packed the steps.

        Returns:
            tokens, and their keys and values, `[B, T, 2 * d_model]`.
        """
        found, key_values = _attend(self.attention, self.attention_norm(tokens), cached, padding)
        tokens = tokens + self.dropout(found)
        hidden = functional.relu(self.expand(self.feedforward_norm(tokens)), inplace=True)
        return tokens + self.dropout(self.contract(hidden)), key_values


def _attend(
    attention: BandedAttention, tokens: Tensor, cached: _Cached, padding: Padding
) -> tuple[Tensor, Tensor]:
    """What packed tokens `[N, d_model]` find among themselves and in the cache.

    Returns:
        the findings `[N, d_model]`, and the tokens' keys and values `[B, T, 2 * d_model]`.
    """
    fresh = padding.spread(attention.key_value(tokens))
    reach = cached.followed_by(fresh)
    found = attention(padding.spread(attention.ask(tokens)), reach, cached.empty)
    return attention.output(padding.pack(found)), fresh


class CausalEncoder(RecurrentEncoder):
    """Features for every step of a stream, from one pass over it.

    Input projection, one-directional LSTM (with a residual around it), Transformer blocks with
    banded attention; then each step asks its band what matters to it (attention pooling), and a
    temporal head follows.

    With H = `lstm_layers`, K = `transformer_layers`, L = `window_length` and d = `d_model` the
    state is:

        hidden, cell    [H, d] each
        cache           [L-1, 2 d (K + 1)]: keys and values of the last tokens, right-aligned, one
                        attention after the other
        length          [1]: filled slots of the cache

    Examples:
        >>> encoder = CausalEncoder(10, SequenceConfig(d_model=32, window_length=16))
        >>> features, state = encoder.sequence(encoder.initial_state(5), torch.zeros(5, 7, 10))
        >>> features.shape, state["cache"].shape
        (torch.Size([5, 7, 32]), torch.Size([5, 15, 256]))
    """

    def __init__(self, input_dim: int, config: SequenceConfig, *, head: bool = True) -> None:
        """Build the encoder.

        Args:
            input_dim: width of a raw step input.
            config: sizes.
            head: put a temporal head behind the pooling.

        Raises:
            ValueError: a setting is wrong, or `input_dim` is not a positive int.
        """
        super().__init__(input_dim, config)
        width, blocks = config.d_model, config.transformer_layers
        self.output_dim = width
        self.stem = LSTMStem(input_dim, config)
        self.blocks = nn.ModuleList([CausalBlock(config) for _ in range(blocks)])
        self.token_norm = nn.LayerNorm(width)
        self.pool = BandedAttention(width, config.num_heads, config.window_length)
        self.pool_norm = nn.LayerNorm(width)
        self.head = mlp_head(config, width, width) if head else nn.Identity()
        cache = (config.window_length - 1, 2 * width * (blocks + 1))
        self.state_shapes = {**self.stem.state_shapes, "cache": cache, LENGTH: (1,)}
        initialise(self)
        self.stem.remember(self.settings["timescale"])

    @classmethod
    def check(cls, config: SequenceConfig) -> None:
        """See `StreamEncoder.check`."""
        super().check(config)
        if config.window_length < 2:
            raise UserError(
                f"window_length=1 leaves the attention of encoder={config.encoder!r} nothing to "
                "look back at; give at least 2, or encoder='window'"
            )

    @classmethod
    def for_values(cls, input_dim: int, config: SequenceConfig) -> StreamEncoder:
        """See `StreamEncoder.for_values`: no Transformer blocks.

        A value is trained by regression and needs less of a model.
        """
        return cls(input_dim, dataclasses.replace(config, transformer_layers=0), head=False)

    def read(
        self, state: Mapping[str, Tensor], inputs: Tensor, padding: Padding, carry: bool
    ) -> tuple[Tensor, State]:
        """See `RecurrentEncoder.read`."""
        length = filled_slots(state)  # (B,)
        tokens, after = self.stem(state, inputs, padding, carry)
        tokens = padding.pack(tokens)  # (N, d_model)
        history: Tensor | None = None
        if _is_step(inputs, padding):
            history, cached = _with_room(state["cache"], length, len(self.blocks) + 1)
        else:
            cached = _split(state["cache"], length, len(self.blocks) + 1)
        fresh = []  # keys and values of every attention, (B, T, 2 * d_model) each
        for block, before in zip(self.blocks, cached, strict=False):
            tokens, key_values = block(tokens, before, padding)
            fresh.append(key_values)
        tokens = self.token_norm(tokens)
        answer, key_values = _attend(self.pool, tokens, cached[-1], padding)
        features = padding.spread_blank(self.head(self.pool_norm(tokens + answer)))
        if carry:
            if history is None:
                new = torch.cat([*fresh, key_values], dim=2)
                after["cache"], length = next_state(state["cache"], length, new, padding.seq_lens)
            else:
                after["cache"] = history[:, 1:]
                length = (length + 1).clamp(max=history.shape[1] - 1)
            after[LENGTH] = length[:, None].to(inputs.dtype)
        return features, after


def _is_step(inputs: Tensor, padding: Padding) -> bool:
    """Whether a single step is read without gradients, which could not follow what is in place."""
    single = inputs.shape[1] == 1 and padding.seq_lens is None
    return single and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def _with_room(cache: Tensor, length: Tensor, attentions: int) -> tuple[Tensor, list[_Cached]]:
    """The cache of a single step: copied once, with room for what is new.

    Args:
        cache: of the state, `[B, L-1, attentions * 2 * d_model]`.
        length: filled slots, `[B]`.
        attentions: how many there are.

    Returns:
        cache and room, `[B, L, attentions * 2 * d_model]`, and the same as each attention reads it.
    """
    batch, slots, width = cache.shape
    history = cache.new_empty(batch, slots + 1, width)
    history[:, :-1] = cache
    new = length == 0
    if bool(new.any()):  # whatever stood there; from then on, empty slots are zeros
        history[new] = 0.0
    filled = int(length.max())
    unused = torch.arange(slots, device=length.device) < slots - length[:, None]  # (B, L-1)
    empty = unused[:, slots - filled :] if filled and bool(unused.any()) else None
    reach = history[:, slots - filled :].chunk(attentions, dim=2)
    return history, [_WithRoom(part, empty) for part in reach]


def _split(cache: Tensor, length: Tensor, attentions: int) -> list[_Cached]:
    """The cache `[B, L-1, attentions * 2 * d_model]` as each attention reads it.

    Args:
        cache: of the state.
        length: filled slots, `[B]`.
        attentions: how many there are.
    """
    slots = cache.shape[1]
    # When a graph is traced, for export, there are no values to look at.
    traced = torch.compiler.is_compiling()
    filled = slots if traced else int(length.max())
    if not filled:
        return [_Cached(None, None)] * attentions
    cache = cache[:, slots - filled :]
    empty = torch.arange(filled, device=length.device) < filled - length[:, None]
    if not traced and not bool(empty.any()):
        return [_Cached(part, None) for part in cache.chunk(attentions, dim=2)]
    cache = cache.where(~empty[..., None], 0.0)  # faster than masked_fill
    return [_Cached(part, empty) for part in cache.chunk(attentions, dim=2)]

"""The second encoder: it reads a stream once, step after step, and carries what it knows.

- `CausalEncoder`: one-directional LSTM, banded attention, heads: steps -> outputs
- `CausalState`: what it carries; all that a stream needs to go on

A window is encoded anew at every step, L times the work. Here a step is encoded once: its token
depends on the LSTM's state and on the last L tokens of the layer below, never on the future.

A step is a sequence of one (T = 1): there is no second code path, and a sequence may be cut into
fragments anywhere. In depth the bands add up, and the LSTM remembers beyond all of them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rllib_seq.config import SequenceConfig
from rllib_seq.nn.banded_attention import BandedAttention
from rllib_seq.nn.layers import check_size, check_windows, initialise, temporal_layers
from rllib_seq.nn.windows import next_state


class CausalState(NamedTuple):
    """What B streams have behind them, as one network sees it.

    Of a stream of length 0 nothing else is read: it is new, whatever the rest holds.
    """

    hidden: Tensor
    """Of the LSTM, `[B, lstm_layers, d_model]`."""
    cell: Tensor
    """Of the LSTM, `[B, lstm_layers, d_model]`."""
    cache: Tensor
    """Keys and values of the last L-1 tokens, right-aligned, one attention after the other,
    `[B, L-1, attentions * 2 * d_model]`."""
    length: Tensor
    """Filled slots of the cache, integers in 0..L-1, `[B]`."""


# Slots of sequences of similar length that are read together: fewer do not fill the processor, with
# more there is more padding, and what a layer makes of them leaves its cache.
_GROUP = 2048
# Leaving padding out, in all but attention, costs more than it saves if more steps are real.
_DENSE = 0.8


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

    def forward(self, tokens: Tensor, look: _Look) -> Tensor:
        """Map tokens `[N, d_model]` of real steps to `[N, d_model]`."""
        normed = self.attention_norm(tokens)
        tokens = tokens + self.dropout(look(self.attention, normed, normed))
        hidden = functional.relu(self.expand(self.feedforward_norm(tokens)))
        return tokens + self.dropout(self.contract(hidden))


class _Look:
    """Looks back, one attention after the other, and collects what the next fragment needs."""

    def __init__(
        self, state: CausalState | None, seq_lens: Tensor | None, shape: torch.Size
    ) -> None:
        self.real: Tensor | None = None  # (B, T), None if all steps are
        self.seq_lens: Tensor | None = None  # likewise
        self.rows: Tensor | None = None  # of real steps, [N], if padding is left out
        if seq_lens is not None:
            real = torch.arange(shape[1], device=seq_lens.device) < seq_lens[:, None]
            share = real.float().mean().item()
            if share < 1:
                self.real, self.seq_lens = real, seq_lens
                if share < _DENSE:
                    self.rows = real.flatten().nonzero().squeeze(1)
        self.shape = shape[:2]  # B, T
        self.key_values: list[Tensor] = []
        self.cache: Tensor | None = None
        self.empty: Tensor | None = None
        # When a graph is traced, for export, there are no values to look at.
        traced = torch.compiler.is_compiling()
        slots = 0 if state is None else state.cache.shape[1]
        if state is not None and (filled := slots if traced else int(state.length.max())):
            self.cache = state.cache[:, slots - filled :]
            empty = (
                torch.arange(filled, device=state.length.device) < filled - state.length[:, None]
            )
            if traced or bool(empty.any()):
                self.empty = empty
                self.cache = self.cache.masked_fill(empty[..., None], 0.0)

    def __call__(self, attention: BandedAttention, queries: Tensor, tokens: Tensor) -> Tensor:
        """What queries `[N, d_model]` find in tokens `[N, d_model]` and in the cache."""
        key_values = self.spread(attention.key_value(tokens))  # (B, T, 2 * d_model)
        width, place = key_values.shape[2], len(self.key_values)
        self.key_values.append(key_values)
        if self.cache is not None:
            cached = self.cache[..., width * place : width * (place + 1)]
            key_values = torch.cat([cached, key_values], dim=1)
        found = attention(self.spread(attention.query(queries)), key_values, self.empty)
        return attention.output(self.pack(found))

    def pack(self, padded: Tensor) -> Tensor:
        """Rows of steps `[N, K]` of `[B, T, K]`, those of padding left out if there is much."""
        padded = padded.flatten(0, 1)
        return padded if self.rows is None else padded.index_select(0, self.rows)

    def spread(self, rows: Tensor) -> Tensor:
        """Put rows `[N, K]` back, `[B, T, K]`."""
        if self.rows is not None:
            spread = rows.new_zeros(self.shape.numel(), rows.shape[1])
            rows = spread.index_copy(0, self.rows, rows)
        return rows.view(*self.shape, -1)


class CausalEncoder(nn.Module):
    """Outputs for every step of a stream, from one pass over it.

    Input projection, one-directional LSTM (with a residual around it), Transformer blocks with
    banded attention; then each step asks its band what matters to it (attention pooling), and
    temporal layers follow.

    Example:
        >>> encoder = CausalEncoder(10, SequenceConfig(d_model=32, window_length=16), 3, 32)
        >>> outputs, state = encoder.sequence(encoder.initial_state(5), torch.zeros(5, 7, 10))
        >>> outputs.shape, state.cache.shape
        (torch.Size([5, 7, 32]), torch.Size([5, 15, 256]))
    """

    def __init__(self, input_dim: int, config: SequenceConfig, blocks: int, outputs: int) -> None:
        """Build the encoder.

        Args:
            input_dim: width of a raw step input.
            config: sizes.
            blocks: number of Transformer blocks; 0 is fine.
            outputs: width of what comes out.

        Raises:
            ValueError: `input_dim` is not a positive int.
        """
        super().__init__()
        width, layers = config.d_model, config.lstm_layers
        self.config = config
        self.input_dim = check_size("input width", input_dim)
        self.project = nn.Linear(input_dim, width)
        dropout = config.dropout if layers > 1 else 0.0  # nn.LSTM has it between layers
        self.lstm = nn.LSTM(width, width, layers, batch_first=True, dropout=dropout)
        self.blocks = nn.ModuleList([CausalBlock(config) for _ in range(blocks)])
        self.token_norm = nn.LayerNorm(width)
        self.pool = BandedAttention(width, config.num_heads, config.window_length)
        self.pool_norm = nn.LayerNorm(width)
        self.head = temporal_layers(config, outputs)
        initialise(self)

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the parts of one stream's `CausalState`."""
        width, layers = self.config.d_model, self.config.lstm_layers
        cache = (self.config.window_length - 1, 2 * width * (len(self.blocks) + 1))
        return (layers, width), (layers, width), cache, ()

    def initial_state(self, batch: int) -> CausalState:
        """Return the state of `batch` new streams."""
        hidden, cell, cache, length = (
            self.project.weight.new_zeros(batch, *shape) for shape in self.state_shapes
        )
        return CausalState(hidden, cell, cache, length.long())

    def sequence(
        self, state: CausalState, inputs: Tensor, seq_lens: Tensor | None = None
    ) -> tuple[Tensor, CausalState]:
        """Read the next steps of streams.

        Args:
            state: of the streams before these steps.
            inputs: raw step inputs `[B, T, input_dim]`, T at least 1; padding, if any, at the end.
            seq_lens: real steps of each, integers in 0..T, `[B]`; None means all T. What stands in
                padding (even NaN) changes nothing.

        Returns:
            outputs `[B, T, outputs]`, zero in padding, and the state after the real steps.

        Raises:
            ValueError: the shapes do not fit.
        """
        self._check(state, inputs, seq_lens)
        look = _Look(state, seq_lens, inputs.shape)
        outputs, (hidden, cell) = self._read(state, inputs, look, carry=True)
        new = torch.cat(look.key_values, dim=2)  # (B, T, width of the cache)
        cache, length = next_state(state.cache, state.length, new, seq_lens)
        return outputs, CausalState(hidden, cell, cache, length)

    def outputs(self, state: CausalState, inputs: Tensor, seq_lens: Tensor | None = None) -> Tensor:
        """Return the outputs of `sequence` alone.

        It is what training needs, and costs less: sequences are read in groups of similar length,
        each cut to its longest, and the LSTM's states at their ends are not at hand.
        """
        self._check(state, inputs, seq_lens)
        steps = inputs.shape[1]
        rows_at_once = max(1, _GROUP // steps)
        if seq_lens is None or len(inputs) <= rows_at_once:
            look = _Look(state, seq_lens, inputs.shape)
            return self._read(state, inputs, look, carry=False)[0]
        order = seq_lens.argsort(descending=True)
        parts = []
        for rows in order.split(rows_at_once):
            lens = seq_lens[rows]
            longest = max(1, int(lens[0]))
            begun = CausalState(*(part[rows] for part in state))
            group = inputs[rows, :longest]
            outputs = self._read(begun, group, _Look(begun, lens, group.shape), carry=False)[0]
            parts.append(functional.pad(outputs, (0, 0, 0, steps - longest)))
        return torch.cat(parts)[order.argsort()]

    def forward(self, inputs: Tensor, valid: Tensor) -> Tensor:
        """Read windows as streams of their own; return the outputs of their newest steps.

        Args:
            inputs: raw step inputs, oldest first, `[B, T, input_dim]`.
            valid: bool `[B, T]`, True where a slot is filled; at least one per window.

        Returns:
            `[B, outputs]`.

        Raises:
            ValueError: shapes or the type of the mask are wrong, or a window has no valid slot.
        """
        check_windows(inputs, valid, self.input_dim)
        # A stream begins at its first slot: valid ones first, in their order, whatever the mask.
        # What comes after the newest of them cannot reach it.
        # (Not by sorting, which ONNX cannot do in a stable way.)
        rank = valid.cumsum(1)  # (B, T)
        place = torch.where(valid, rank - 1, rank[:, -1:] + (~valid).cumsum(1) - 1)
        inputs = inputs.masked_fill(~valid[..., None], 0.0)
        streams = inputs.scatter(1, place[..., None].expand_as(inputs), inputs)
        look = _Look(None, None, streams.shape)
        outputs, _ = self._read(None, streams, look, carry=False)
        newest = (valid.sum(1) - 1)[:, None, None].expand(-1, 1, outputs.shape[2])
        return outputs.gather(1, newest).squeeze(1)

    def _read(
        self, state: CausalState | None, inputs: Tensor, look: _Look, carry: bool
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Outputs `[B, T, outputs]`, and (if to be carried) the LSTM's state after real steps."""
        before = None
        if state is not None:
            goes_on = (state.length > 0)[:, None, None]
            hidden, cell = (
                part.where(goes_on, 0.0).transpose(0, 1).contiguous() for part in state[:2]
            )
            before = hidden, cell  # (layers, B, d_model) each
        if look.real is not None:
            inputs = inputs.masked_fill(~look.real[..., None], 0.0)
        tokens = self.project(inputs)  # (B, T, d_model)
        if carry and look.seq_lens is not None:
            assert before is not None
            lengths = look.seq_lens.clamp(min=1)  # it takes no empty sequences
            packed = pack_padded_sequence(tokens, lengths.cpu(), True, enforce_sorted=False)
            read, after = self.lstm(packed, before)
            read, _ = pad_packed_sequence(read, True, total_length=inputs.shape[1])
            none = (look.seq_lens == 0)[None, :, None]
            after = tuple(old.where(none, new) for old, new in zip(before, after, strict=True))
        else:  # what stands behind the end of a sequence does not reach it
            read, after = self.lstm(tokens, before)
        # Residual: what a step says reaches the blocks undamped by the gates of the LSTM.
        tokens = look.pack(tokens + read)  # (N, d_model)
        for block in self.blocks:
            tokens = block(tokens, look)
        tokens = self.token_norm(tokens)
        answer = look(self.pool, tokens, tokens)
        outputs = look.spread(self.head(self.pool_norm(tokens + answer)))
        if look.real is not None:
            outputs = outputs.masked_fill(~look.real[..., None], 0.0)
        return outputs, (after[0].transpose(0, 1), after[1].transpose(0, 1))

    def _check(self, state: CausalState, inputs: Tensor, seq_lens: Tensor | None) -> None:
        if inputs.dim() != 3 or inputs.shape[2] != self.input_dim:
            raise ValueError(f"inputs must be [B, T, {self.input_dim}]; got {list(inputs.shape)}")
        batch = inputs.shape[0]
        for name, part, shape in zip(state._fields, state, self.state_shapes, strict=True):
            if part.shape != (batch, *shape):
                raise ValueError(
                    f"{name} of the state must be {[batch, *shape]}; got {list(part.shape)}"
                )
        if seq_lens is not None and seq_lens.shape != (batch,):
            raise ValueError(
                f"seq_lens must be [{batch}], one per sequence, not {list(seq_lens.shape)}"
            )

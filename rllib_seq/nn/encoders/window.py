"""Encoders of windows: the last L steps, encoded again at every step, in both directions.

- `WindowedEncoder`: what encoders share whose state is the last raw step inputs
- `WindowEncoder`: bidirectional LSTM, Transformer blocks, pooling, temporal head
- `WindowValueEncoder`: bidirectional LSTM and masked average, for values

A window may be partly filled; `valid` says where. What a slot that is not valid holds (even NaN)
changes nothing, exactly, and how each layer achieves that is said at the layer:

    slot     0 1 2 3 4 5 6 7        attention: every token looks at the valid slots only
    valid    . . . x x x x x                   keys  0 1 2 3 4 5 6 7
    age      7 6 5 4 3 2 1 0        any query        . . . x x x x x
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rllib_seq.config import SequenceConfig
from rllib_seq.nn.encoders.attention import Attention, Packing, TransformerBlock
from rllib_seq.nn.encoders.base import LENGTH, State, StreamEncoder
from rllib_seq.nn.encoders.bilstm import BiLSTMStem, take
from rllib_seq.nn.encoders.chunks import in_chunks
from rllib_seq.nn.encoders.windows import filled_slots, next_inputs, sequence_windows
from rllib_seq.nn.layers import check_windows, initialise, mlp_head


class WindowedEncoder(StreamEncoder):
    """An encoder whose state is data: the last raw step inputs, and how many there are.

    Subclasses implement `encode`. The state is `inputs`, `[L-1, input_dim]`, oldest first and
    right-aligned, and the length, at most L-1. (With L = 1 it has one row, too, that is not read:
    a stream's first step must be known from the others.)
    """

    def __init__(self, input_dim: int, config: SequenceConfig) -> None:
        """See `StreamEncoder`."""
        super().__init__(input_dim, config)
        self.output_dim = config.d_model
        rows = max(config.window_length - 1, 1)
        self.state_shapes = {"inputs": (rows, input_dim), LENGTH: (1,)}

    def encode(self, inputs: Tensor, valid: Tensor | None) -> Tensor:
        """Map windows `[N, L, input_dim]` and their mask `[N, L]` to `[N, output_dim]`.

        None for the mask means that all slots are valid.
        """
        raise NotImplementedError

    @classmethod
    def reach(cls, config: SequenceConfig) -> int | None:
        """See `StreamEncoder.reach`."""
        return config.window_length

    def windows(self, inputs: Tensor, valid: Tensor) -> Tensor:
        """See `StreamEncoder.windows`."""
        check_windows(inputs, valid, self.input_dim)
        return in_chunks(self.encode, inputs, valid)

    def sequence(
        self, state: Mapping[str, Tensor], inputs: Tensor, seq_lens: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """See `StreamEncoder.sequence`."""
        features = self.features(state, inputs, seq_lens)
        return features, next_inputs(state, inputs, seq_lens)

    def features(
        self, state: Mapping[str, Tensor], inputs: Tensor, seq_lens: Tensor | None = None
    ) -> Tensor:
        """See `StreamEncoder.features`."""
        self.check_sequence(state, inputs, seq_lens)
        windows, valid = sequence_windows(state["inputs"], filled_slots(state), inputs)
        # One slot less than `sequence_windows` makes, if L is 1.
        slots = self.config.window_length
        windows, valid = windows[:, :, -slots:], valid[:, :, -slots:]
        if seq_lens is None:
            found = self.windows(windows.flatten(0, 1), valid.flatten(0, 1))
            return found.unflatten(0, inputs.shape[:2])
        # Padded rows are most of a ragged batch, and would cost as much as real ones.
        real = torch.arange(inputs.shape[1], device=inputs.device) < seq_lens[:, None]  # (B, T)
        found = self.windows(windows[real], valid[real])
        features = found.new_zeros(*real.shape, self.output_dim)
        features[real] = found
        return features


class WindowEncoder(WindowedEncoder):
    """LSTM for order, Transformer for relations, one vector for now.

    Every window is read by a bidirectional LSTM and by Transformer blocks. Then the current step
    asks the window what matters to it (attention pooling); its own token is added to the answer.
    With `pooling="mean"` the answer is the mean of the tokens instead.

    Examples:
        >>> encoder = WindowEncoder(10, SequenceConfig(window_length=8, d_model=32))
        >>> encoder.windows(torch.zeros(5, 8, 10), torch.ones(5, 8, dtype=torch.bool)).shape
        torch.Size([5, 32])
    """

    def __init__(self, input_dim: int, config: SequenceConfig) -> None:
        """See `StreamEncoder`."""
        super().__init__(input_dim, config)
        width = config.d_model
        self.stem = BiLSTMStem(input_dim, config)
        self.blocks = nn.ModuleList(
            [TransformerBlock(config) for _ in range(config.transformer_layers)]
        )
        self.token_norm = nn.LayerNorm(width)
        if config.pooling == "attention":
            self.pool = Attention(width, config.num_heads)
            self.pool_query = nn.Parameter(torch.zeros(width))
        self.pool_norm = nn.LayerNorm(width)
        self.head = mlp_head(config, width, width)
        initialise(self.blocks)
        if config.pooling == "attention":
            initialise(self.pool)
        initialise(self.head)

    @classmethod
    def for_values(cls, input_dim: int, config: SequenceConfig) -> StreamEncoder:
        """See `StreamEncoder.for_values`."""
        return WindowValueEncoder(input_dim, config)

    def encode(self, inputs: Tensor, valid: Tensor | None) -> Tensor:
        """See `WindowedEncoder.encode`."""
        tokens = self.stem(inputs, valid)  # (N, L, d_model)
        bias = None
        if valid is not None:
            bias = torch.zeros_like(valid, dtype=tokens.dtype).masked_fill(~valid, -math.inf)
        # Where a policy is served most windows are short; in training hardly any are.
        packing = Packing(valid) if valid is not None and torch.compiler.is_exporting() else None
        if packing is not None:
            tokens = packing.pack(tokens)
        for block in self.blocks:
            tokens = block(tokens, bias, packing)
        if packing is not None:
            tokens = packing.unpack(tokens)
        tokens = self.token_norm(tokens)
        current = tokens[:, -1]  # (N, d_model)
        if valid is not None:  # the newest valid slot need not be the last
            slots = torch.arange(valid.shape[1], device=valid.device)
            newest = (slots * valid).amax(1, keepdim=True)  # (N, 1)
            current = take(tokens, newest).squeeze(1)
        if self.config.pooling == "attention":
            answer = self.pool.look(current + self.pool_query, tokens, bias)  # (N, d_model)
        else:
            answer = masked_mean(tokens, valid)
        return self.head(self.pool_norm(current + answer))


class WindowValueEncoder(WindowedEncoder):
    """Bidirectional LSTM, then the average over the valid slots.

    It has no Transformer: a value is trained by regression and needs less of a model.
    """

    def __init__(self, input_dim: int, config: SequenceConfig) -> None:
        """See `StreamEncoder`."""
        super().__init__(input_dim, config)
        self.stem = BiLSTMStem(input_dim, config)

    def encode(self, inputs: Tensor, valid: Tensor | None) -> Tensor:
        """See `WindowedEncoder.encode`."""
        return masked_mean(self.stem(inputs, valid), valid)


def masked_mean(tokens: Tensor, valid: Tensor | None) -> Tensor:
    """Return the mean of tokens `[N, L, D]` over valid slots `[N, L]` (None: all), `[N, D]`."""
    if valid is None:
        return tokens.mean(1)
    weight = valid[..., None].to(tokens.dtype)  # (N, L, 1)
    return (tokens * weight).sum(1) / weight.sum(1)

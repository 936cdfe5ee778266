"""What every encoder of streams is: the one interface of this package to a memory.

- `StreamEncoder`: step inputs and a state to features and a state
- `LENGTH`: the entry that every state has
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rllib_seq.config import SequenceConfig
from rllib_seq.errors import UserError
from rllib_seq.nn.layers import check_size, check_windows

LENGTH = "length"
"""Steps that a stream has behind it, `[1]`: 0 before its first step, more afterwards. Encoders may
stop counting where more steps make no difference to them."""

State = dict[str, Tensor]
"""Float tensors by name, each `[B, ...]`: what B streams have behind them."""


class StreamEncoder(nn.Module):
    """Reads streams step by step or whole, and never looks ahead.

    A subclass sets `output_dim` and `state_shapes` in its constructor and implements `sequence`.
    The features of a step may depend on the steps up to it and on nothing else, so a stream may be
    cut anywhere: reading the pieces, each from the state of the one before, gives the same features
    as reading it whole. Zeros are the state of a new stream. `register_encoder` gives a subclass a
    name, which the `encoder` setting then takes.

    Examples:
        >>> from rllib_seq.nn import make_encoder
        >>> encoder = make_encoder(10, SequenceConfig(encoder="lstm", d_model=32))
        >>> features, state = encoder.sequence(encoder.initial_state(5), torch.zeros(5, 7, 10))
        >>> features.shape, state["length"].shape
        (torch.Size([5, 7, 32]), torch.Size([5, 1]))
    """

    defaults: ClassVar[Mapping[str, Any]] = {}
    """Settings that only this encoder has, and their defaults. `encoder_config` of `SequenceConfig`
    changes them; the constructor puts the result into `settings`."""

    output_dim: int
    """Width of the features, d."""
    state_shapes: dict[str, tuple[int, ...]]
    """Shapes of one stream's state by name, without a batch dimension. One is `LENGTH`, `(1,)`."""

    def __init__(self, input_dim: int, config: SequenceConfig) -> None:
        """Check and keep the settings.

        Args:
            input_dim: width of a raw step input.
            config: of the encoder.

        Raises:
            ValueError: a setting is wrong for this encoder, or `input_dim` is not a positive int.
        """
        super().__init__()
        self.check(config)
        self.input_dim = check_size("input width", input_dim)
        self.config = config
        self.settings = {**self.defaults, **config.encoder_config}

    @classmethod
    def check(cls, config: SequenceConfig) -> None:
        """Check the settings that this encoder reads.

        Raises:
            UserError: one is unknown or wrong.
        """
        for key in config.encoder_config:
            if key not in cls.defaults:
                close = difflib.get_close_matches(str(key), cls.defaults, n=1)
                hint = f"did you mean {close[0]!r}? " if close else ""
                known = f"Valid keys: {', '.join(cls.defaults)}" if cls.defaults else "It has none"
                raise UserError(
                    f"unknown key {key!r} in encoder_config of encoder={config.encoder!r}; "
                    f"{hint}{known}"
                )

    @classmethod
    def for_values(cls, input_dim: int, config: SequenceConfig) -> StreamEncoder:
        """Return an encoder for the value network; a cheaper one may do.

        Args:
            input_dim: width of a raw step input.
            config: of the encoder.
        """
        return cls(input_dim, config)

    @classmethod
    def reach(cls, config: SequenceConfig) -> int | None:
        """Return how many steps the features of a step depend on, the step itself included.

        With a number, the state is data: `inputs`, the raw step inputs before the step, oldest
        first and right-aligned, `[reach - 1, input_dim]` (at least one row), and `LENGTH`, how many
        of them there are. It can be rebuilt from the samples at any time, so it is not stored with
        them and is never out of date. None means that the features depend on the whole stream.

        Args:
            config: of the encoder.
        """
        return None

    def initial_state(self, batch: int) -> State:
        """Return the state of `batch` new streams: zeros."""
        like = next(self.parameters())
        return {name: like.new_zeros(batch, *shape) for name, shape in self.state_shapes.items()}

    def sequence(
        self, state: Mapping[str, Tensor], inputs: Tensor, seq_lens: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Read the next steps of streams; a single step is T = 1.

        Args:
            state: of the streams before these steps, `[B, ...]` by name.
            inputs: raw step inputs `[B, T, input_dim]`, T at least 1; padding, if any, at the end.
            seq_lens: real steps of each, integers in 0..T, `[B]`; None means all T. What stands in
                padding (even NaN) changes nothing.

        Returns:
            features `[B, T, output_dim]`, zero in padding, and the state after the real steps.

        Raises:
            ValueError: the shapes do not fit.
        """
        raise NotImplementedError

    def features(
        self, state: Mapping[str, Tensor], inputs: Tensor, seq_lens: Tensor | None = None
    ) -> Tensor:
        """Return the features of `sequence` alone, `[B, T, output_dim]`.

        Training needs no state afterwards; an encoder may have a cheaper way for it.
        """
        return self.sequence(state, inputs, seq_lens)[0]

    def windows(self, inputs: Tensor, valid: Tensor) -> Tensor:
        """Read windows, each as a stream of its own; return the features of its newest step.

        Args:
            inputs: raw step inputs, oldest first, `[B, L, input_dim]`, any L of at least 1.
            valid: bool `[B, L]`, True where a slot is filled; at least one per window. What other
                slots hold (even NaN) changes nothing.

        Returns:
            `[B, output_dim]`.

        Raises:
            ValueError: shapes or the type of the mask are wrong, or a window has no valid slot.
        """
        check_windows(inputs, valid, self.input_dim)
        # A stream begins at its first slot: valid slots first, in their order, whatever the mask.
        # The others come after the newest step and cannot reach it.
        # (Not by sorting, which ONNX cannot do in a stable way.)
        rank = valid.cumsum(1)  # (B, L)
        place = torch.where(valid, rank - 1, rank[:, -1:] + (~valid).cumsum(1) - 1)
        inputs = inputs.masked_fill(~valid[..., None], 0.0)
        streams = inputs.scatter(1, place[..., None].expand_as(inputs), inputs)
        features = self.features(self.initial_state(inputs.shape[0]), streams)
        newest = (valid.sum(1) - 1)[:, None, None].expand(-1, 1, features.shape[2])
        return features.gather(1, newest).squeeze(1)

    def forward(self, inputs: Tensor, valid: Tensor) -> Tensor:
        """See `windows`."""
        return self.windows(inputs, valid)

    def check_sequence(
        self, state: Mapping[str, Tensor], inputs: Tensor, seq_lens: Tensor | None
    ) -> None:
        """Check the shapes of the arguments of `sequence`.

        Raises:
            ValueError: they do not fit.
        """
        if inputs.dim() != 3 or inputs.shape[2] != self.input_dim:
            raise ValueError(f"inputs must be [B, T, {self.input_dim}]; got {list(inputs.shape)}")
        batch = inputs.shape[0]
        for name, shape in self.state_shapes.items():
            if name not in state:
                raise ValueError(f"the state has no {name!r}; it has {', '.join(state)}")
            if state[name].shape != (batch, *shape):
                raise ValueError(
                    f"{name} of the state must be {[batch, *shape]}; got {list(state[name].shape)}"
                )
        if seq_lens is not None and seq_lens.shape != (batch,):
            raise ValueError(
                f"seq_lens must be [{batch}], one per sequence, not {list(seq_lens.shape)}"
            )


def count_steps(
    state: Mapping[str, Tensor], inputs: Tensor, seq_lens: Tensor | None = None
) -> Tensor:
    """Return `LENGTH` after a sequence, `[B, 1]`.

    Args:
        state: before it.
        inputs: of the sequence, `[B, T, input_dim]`.
        seq_lens: real steps, `[B]`; None means all T.
    """
    before = state[LENGTH]
    return before + (inputs.shape[1] if seq_lens is None else seq_lens[:, None].to(before.dtype))

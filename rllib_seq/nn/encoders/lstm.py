"""Encoders that carry an LSTM's activations from step to step.

- `LSTMStem`: input projection and one-directional LSTM: steps -> tokens
- `RecurrentEncoder`: what encoders around such a stem share
- `LSTMEncoder`: the stem and a temporal head, the cheap memory
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rllib_seq.config import SequenceConfig
from rllib_seq.errors import UserError
from rllib_seq.nn.encoders.base import LENGTH, State, StreamEncoder, count_steps
from rllib_seq.nn.encoders.padding import Padding, in_groups
from rllib_seq.nn.layers import initialise, mlp_head


class LSTMStem(nn.Module):
    """Raw step inputs to tokens: input projection, one-directional LSTM with a residual."""

    def __init__(self, input_dim: int, config: SequenceConfig) -> None:
        """Build `lstm_layers` layers of `d_model` cells."""
        super().__init__()
        width, layers = config.d_model, config.lstm_layers
        dropout = config.dropout if layers > 1 else 0.0  # nn.LSTM has it between layers
        self.project = nn.Linear(input_dim, width)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True, dropout=dropout)

    def remember(self, steps: int) -> None:
        """Let cells start with reaches of up to so many steps; 0 leaves them as they are.

        Forget biases are log(u) with u uniform in 1..steps, input biases their negatives, as in
        Tallec and Ollivier (2018), section 3: a cell that forgets by sigmoid(-log(u)) a step keeps
        what it holds for about u steps.
        """
        if not steps:
            return
        width = self.lstm.hidden_size
        with torch.no_grad():
            for layer in range(self.lstm.num_layers):
                bias = self.lstm.get_parameter(f"bias_ih_l{layer}")
                reach = torch.empty(width).uniform_(1.0, float(steps)).log()
                bias[:width], bias[width : 2 * width] = -reach, reach

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """See `StreamEncoder.state_shapes`, without the length."""
        shape = (self.lstm.num_layers, self.lstm.hidden_size)
        return {"hidden": shape, "cell": shape}

    def forward(
        self, state: Mapping[str, Tensor], inputs: Tensor, padding: Padding, carry: bool
    ) -> tuple[Tensor, State]:
        """Read steps.

        Args:
            state: hidden, cell and length before them.
            inputs: `[B, T, input_dim]`, zero in padding.
            padding: of the inputs.
            carry: whether the state after the steps is needed; the one that is returned is wrong
                otherwise, if there is padding.

        Returns:
            tokens `[B, T, d_model]`, and hidden and cell after the real steps.
        """
        goes_on = (state[LENGTH] > 0)[..., None]  # (B, 1, 1)
        if inputs.shape[1] == 1 and padding.seq_lens is None and not self.training:
            if not torch.compiler.is_compiling():  # an exported graph has an LSTM
                hidden, cell = (state[name].where(goes_on, 0.0) for name in ("hidden", "cell"))
                return self._step(self.project(inputs[:, 0]), hidden, cell)
        before = tuple(
            state[name].where(goes_on, 0.0).transpose(0, 1).contiguous()  # (layers, B, d_model)
            for name in ("hidden", "cell")
        )
        tokens = self.project(inputs)
        if carry and padding.seq_lens is not None:
            lengths = padding.seq_lens.clamp(min=1)  # it takes no empty sequences
            packed = pack_padded_sequence(tokens, lengths.cpu(), True, enforce_sorted=False)
            packed, after = self.lstm(packed, before)
            read, _ = pad_packed_sequence(packed, True, total_length=inputs.shape[1])
            none = (padding.seq_lens == 0)[None, :, None]
            after = tuple(old.where(none, new) for old, new in zip(before, after, strict=True))
        else:  # what stands behind the end of a sequence does not reach it
            read, after = self.lstm(tokens, before)
        hidden, cell = (part.transpose(0, 1) for part in after)
        # Residual: what a step says reaches the next layers undamped by the gates of the LSTM.
        return tokens + read, {"hidden": hidden, "cell": cell}

    def _step(self, tokens: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, State]:
        """The same for a single step `[B, d_model]`, at which `nn.LSTM` is slower than its cells.

        Args:
            tokens: projected.
            hidden: `[B, layers, d_model]`.
            cell: the same.
        """
        read, after_hidden, after_cell = tokens, [], []
        for layer, weights in enumerate(self.lstm.all_weights):
            read, kept = torch.lstm_cell(read, (hidden[:, layer], cell[:, layer]), *weights)
            after_hidden.append(read)
            after_cell.append(kept)
        after = {"hidden": torch.stack(after_hidden, 1), "cell": torch.stack(after_cell, 1)}
        return (tokens + read)[:, None], after


class RecurrentEncoder(StreamEncoder):
    """An encoder around an `LSTMStem`: subclasses implement `read`.

    It has a setting of its own, in `encoder_config`: `timescale`, the longest reach in steps with
    which a new LSTM starts (Tallec and Ollivier, 2018); 0 leaves its biases as PyTorch draws them.
    """

    defaults = {"timescale": 0}

    def read(
        self, state: Mapping[str, Tensor], inputs: Tensor, padding: Padding, carry: bool
    ) -> tuple[Tensor, State]:
        """Read steps.

        Args:
            state: before them.
            inputs: `[B, T, input_dim]`, zero in padding.
            padding: of the inputs.
            carry: whether the state after the steps is needed.

        Returns:
            features `[B, T, output_dim]`, zero in padding, and the state after the real steps; if
            it is not needed, whatever.
        """
        raise NotImplementedError

    @classmethod
    def check(cls, config: SequenceConfig) -> None:
        """See `StreamEncoder.check`."""
        super().check(config)
        timescale = config.encoder_config.get("timescale", 0)
        if type(timescale) is not int or timescale < 0:
            raise UserError(f"timescale={timescale!r} must be an int of at least 0, in steps")
        if not config.lstm_layers:
            raise UserError(
                f"lstm_layers=0 leaves encoder={config.encoder!r} without its memory; give at "
                "least 1, or encoder='window'"
            )
        if config.pooling != "attention":
            raise UserError(
                f"pooling={config.pooling!r} is for encoder='window'; encoder={config.encoder!r} "
                "has no other than its own, so leave pooling out"
            )

    def sequence(
        self, state: Mapping[str, Tensor], inputs: Tensor, seq_lens: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """See `StreamEncoder.sequence`."""
        self.check_sequence(state, inputs, seq_lens)
        padding = Padding(inputs.shape, seq_lens)
        return self.read(state, padding.blank(inputs), padding, carry=True)

    def features(
        self, state: Mapping[str, Tensor], inputs: Tensor, seq_lens: Tensor | None = None
    ) -> Tensor:
        """See `StreamEncoder.features`; sequences are read in groups of similar length."""
        self.check_sequence(state, inputs, seq_lens)

        def read(state: Mapping[str, Tensor], inputs: Tensor, padding: Padding) -> Tensor:
            return self.read(state, padding.blank(inputs), padding, carry=False)[0]

        return in_groups(read, state, inputs, seq_lens)


class LSTMEncoder(RecurrentEncoder):
    """One-directional LSTM and a temporal head: the cheapest memory.

    It reads `lstm_layers`, `d_model`, `head_hidden` and `dropout`. Its state is `hidden` and `cell`
    (`[lstm_layers, d_model]` each) and the length, `8 H d + 4` bytes.
    """

    def __init__(self, input_dim: int, config: SequenceConfig, *, head: bool = True) -> None:
        """Build the encoder.

        Args:
            input_dim: width of a raw step input.
            config: sizes.
            head: put a temporal head behind the LSTM.

        Raises:
            ValueError: a setting is wrong, or `input_dim` is not a positive int.
        """
        super().__init__(input_dim, config)
        self.output_dim = config.d_model
        self.stem = LSTMStem(input_dim, config)
        self.norm = nn.LayerNorm(config.d_model)
        self.head = mlp_head(config, config.d_model, config.d_model) if head else nn.Identity()
        self.state_shapes = {**self.stem.state_shapes, LENGTH: (1,)}
        initialise(self)
        self.stem.remember(self.settings["timescale"])

    @classmethod
    def for_values(cls, input_dim: int, config: SequenceConfig) -> StreamEncoder:
        """See `StreamEncoder.for_values`: the value network has a temporal head of its own."""
        return cls(input_dim, config, head=False)

    def read(
        self, state: Mapping[str, Tensor], inputs: Tensor, padding: Padding, carry: bool
    ) -> tuple[Tensor, State]:
        """See `RecurrentEncoder.read`."""
        tokens, after = self.stem(state, inputs, padding, carry)
        features = padding.spread_blank(self.head(self.norm(padding.pack(tokens))))
        if carry:
            after[LENGTH] = count_steps(state, inputs, padding.seq_lens)
        return features, after

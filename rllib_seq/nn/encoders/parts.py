"""An encoder of step inputs that hold frames or large numbers.

- `PartsEncoder`: reads them by a `StepReader`, and what comes of it by another encoder
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from rllib_seq.config import SequenceConfig
from rllib_seq.nn.encoders.base import LENGTH, State, StreamEncoder
from rllib_seq.nn.encoders.windows import next_inputs
from rllib_seq.nn.layers import check_windows
from rllib_seq.nn.step_reader import StepParts, StepReader


class PartsEncoder(StreamEncoder):
    """Every step by itself through a `StepReader`, then the stream through another encoder.

    A state that is data (`StreamEncoder.reach`) stays so: raw step inputs, frames included. They
    are read again with every step, so that they are exact under any weights.
    """

    def __init__(
        self,
        input_dim: int,
        config: SequenceConfig,
        parts: StepParts,
        make: Callable[[int], StreamEncoder],
    ) -> None:
        """Build it.

        Args:
            input_dim: width of a raw step input.
            config: of the encoder.
            parts: what a step input holds.
            make: builds the encoder behind, given the width of its inputs.
        """
        super().__init__(input_dim, config)
        self.reader = StepReader(input_dim, parts, config.d_model)
        self.encoder = make(self.reader.output_dim)
        self.output_dim = self.encoder.output_dim
        self.state_shapes = dict(self.encoder.state_shapes)
        self._is_data = self.reach(config) is not None
        if self._is_data:
            rows, _ = self.state_shapes["inputs"]
            self.state_shapes["inputs"] = (rows, input_dim)

    @classmethod
    def check(cls, config: SequenceConfig) -> None:
        """See `StreamEncoder.check`: the encoder behind checks its settings."""

    def reach(self, config: SequenceConfig) -> int | None:  # type: ignore[override]
        """See `StreamEncoder.reach`."""
        return self.encoder.reach(self.encoder.config)

    def sequence(
        self, state: Mapping[str, Tensor], inputs: Tensor, seq_lens: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """See `StreamEncoder.sequence`."""
        self.check_sequence(state, inputs, seq_lens)
        if not self._is_data:
            return self.encoder.sequence(state, self._read(inputs, seq_lens), seq_lens)
        return self.features(state, inputs, seq_lens), next_inputs(state, inputs, seq_lens)

    def features(
        self, state: Mapping[str, Tensor], inputs: Tensor, seq_lens: Tensor | None = None
    ) -> Tensor:
        """See `StreamEncoder.features`."""
        self.check_sequence(state, inputs, seq_lens)
        if self._is_data:
            past = state["inputs"]
            age = torch.arange(past.shape[1], 0, -1, device=past.device)
            filled = age <= state[LENGTH].round()
            past = self.reader(past.masked_fill(~filled[..., None], 0.0))
            state = {"inputs": past, LENGTH: state[LENGTH]}
        return self.encoder.features(state, self._read(inputs, seq_lens), seq_lens)

    def windows(self, inputs: Tensor, valid: Tensor) -> Tensor:
        """See `StreamEncoder.windows`."""
        check_windows(inputs, valid, self.input_dim)
        read = self.reader(inputs.masked_fill(~valid[..., None], 0.0))
        return self.encoder.windows(read, valid)

    def _read(self, inputs: Tensor, seq_lens: Tensor | None) -> Tensor:
        if seq_lens is not None:  # what stands in padding may be no number at all
            step = torch.arange(inputs.shape[1], device=inputs.device)
            inputs = inputs.masked_fill((step >= seq_lens[:, None])[..., None], 0.0)
        return self.reader(inputs)

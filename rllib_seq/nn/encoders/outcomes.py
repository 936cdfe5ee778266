"""What a head for auctions needs of an encoder, around any encoder.

- `OutcomeEncoder`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rllib_seq.nn.encoders.base import State, StreamEncoder


class OutcomeEncoder(StreamEncoder):
    """Reads step inputs by another encoder, with two changes.

    - Some parts of the input are read as 1 where they are not 0. A profit says that the request was
      won; the price in it says nothing of the user, and would be noise.
    - Some parts of the newest step stand behind the features, for heads that read what a memory
      should not have to pass on, such as the channel of a request.
    """

    def __init__(
        self, encoder: StreamEncoder, flagged: Sequence[int], passed: Sequence[int]
    ) -> None:
        """Wrap an encoder.

        Args:
            encoder: what reads the streams.
            flagged: parts of the step input that are read as 0 or 1.
            passed: parts of the step input that are added to the features.
        """
        super().__init__(encoder.input_dim, encoder.config)
        self.encoder = encoder
        self.passed = list(passed)
        is_flagged = torch.zeros(encoder.input_dim, dtype=torch.bool)
        is_flagged[list(flagged)] = True
        self.is_flagged: Tensor
        self.register_buffer("is_flagged", is_flagged, persistent=False)
        self.output_dim = encoder.output_dim + len(self.passed)
        self.state_shapes = encoder.state_shapes

    @classmethod
    def check(cls, config: object) -> None:
        """See `StreamEncoder.check`: the encoder inside has checked its settings."""

    def reach(self, config: object) -> int | None:  # type: ignore[override]
        """See `StreamEncoder.reach`."""
        return self.encoder.reach(self.encoder.config)

    def sequence(
        self, state: Mapping[str, Tensor], inputs: Tensor, seq_lens: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """See `StreamEncoder.sequence`."""
        features, after = self.encoder.sequence(state, self._flag(inputs), seq_lens)
        return self._pass(features, inputs), after

    def features(
        self, state: Mapping[str, Tensor], inputs: Tensor, seq_lens: Tensor | None = None
    ) -> Tensor:
        """See `StreamEncoder.features`."""
        return self._pass(self.encoder.features(state, self._flag(inputs), seq_lens), inputs)

    def windows(self, inputs: Tensor, valid: Tensor) -> Tensor:
        """See `StreamEncoder.windows`."""
        newest = (valid * torch.arange(valid.shape[1], device=valid.device)).argmax(1)
        place = newest[:, None, None].expand(-1, 1, inputs.shape[2])
        last = inputs.gather(1, place).squeeze(1)
        return self._pass(self.encoder.windows(self._flag(inputs), valid), last)

    def _flag(self, inputs: Tensor) -> Tensor:
        return torch.where(self.is_flagged, (inputs != 0).to(inputs.dtype), inputs)

    def _pass(self, features: Tensor, inputs: Tensor) -> Tensor:
        return torch.cat([features, inputs[..., self.passed]], dim=-1)

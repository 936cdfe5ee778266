"""The network of the response model.

- `ResponseNetwork`: encoder features, a step's fields, counts and fading rates to log-odds.
- `ResponseEnsemble`: a few of them, averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from rllib_seq.config import SequenceConfig
from rllib_seq.nn import make_encoder
from rllib_seq.training.response.logistic import Logistic


class ResponseNetwork(nn.Module):
    """Log-odds of an answer: a linear part of the step's fields and counts, and the encoder's.

    The linear part begins as the logistic regression and the encoder's at zero, so training starts
    from the counted history and the encoder learns what that leaves out.
    """

    def __init__(self, width: int, config: SequenceConfig, linear: Logistic) -> None:
        """Build the network.

        Args:
            width: of a step's features, see `ResponseModel.inputs`.
            config: of the encoder.
            linear: of as many features.
        """
        super().__init__()
        self.encoder = make_encoder(width, config)
        self.linear = nn.Linear(width, 1)
        self.head = nn.Linear(self.encoder.output_dim, 1, bias=False)
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(linear.weights)[None])
            self.linear.bias.fill_(linear.base)
            self.head.weight.zero_()

    def forward(
        self, state: Mapping[str, Tensor], inputs: Tensor, seq_lens: Tensor | None = None
    ) -> Tensor:
        """Log-odds `[B, T]` of steps `[B, T, width]`; see `StreamEncoder.features`."""
        features = self.encoder.features(state, inputs, seq_lens)
        return (self.linear(inputs) + self.head(features)).squeeze(-1)

    def read(
        self, state: Mapping[str, Tensor], inputs: Tensor, seq_lens: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The same, and the state after the steps."""
        features, after = self.encoder.sequence(state, inputs, seq_lens)
        return (self.linear(inputs) + self.head(features)).squeeze(-1), after


class ResponseEnsemble(nn.Module):
    """Networks of other seeds, whose log-odds are averaged: small tables give noisy ones."""

    def __init__(self, members: Sequence[ResponseNetwork]) -> None:
        """Take networks of one configuration."""
        super().__init__()
        self.members = nn.ModuleList(members)
        shapes = members[0].encoder.state_shapes
        self.state_shapes = {
            f"{i}.{name}": shape for i in range(len(members)) for name, shape in shapes.items()
        }

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        """State of `batch` new users, by member and name."""
        like = next(self.parameters())
        return {name: like.new_zeros(batch, *shape) for name, shape in self.state_shapes.items()}

    def read(
        self, state: Mapping[str, Tensor], inputs: Tensor, seq_lens: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `ResponseNetwork.read`."""
        odds, after = [], {}
        for i, member in enumerate(self.members):
            assert isinstance(member, ResponseNetwork)
            own = {
                name.partition(".")[2]: part
                for name, part in state.items()
                if name.startswith(f"{i}.")
            }
            found, own = member.read(own, inputs, seq_lens)
            odds.append(found)
            after.update({f"{i}.{name}": part for name, part in own.items()})
        return torch.stack(odds).mean(0), after

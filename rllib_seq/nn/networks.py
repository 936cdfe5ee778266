"""The three networks over windows of raw step inputs.

- `SequentialQNetwork`: Q value of every action
- `SequentialPolicyNetwork`: inputs of an action distribution
- `SequentialValueNetwork`: value of the current step

They share no parameters, and all take windows `[B, L, state_dim]` and a bool mask `[B, L]`.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from rllib_seq.config import SequenceConfig
from rllib_seq.nn.encoder import (
    SequenceEncoder,
    SequenceReader,
    check_size,
    initialise,
    temporal_layers,
)


class _EncodedHead(nn.Module):
    """A sequence encoder and one linear layer whose first outputs are scaled by `gain`."""

    def __init__(self, state_dim: int, outputs: int, gain: float, config: dict[str, Any]) -> None:
        super().__init__()
        self.encoder = SequenceEncoder(state_dim, **config)
        self.head = nn.Linear(self.encoder.config.d_model, outputs)
        initialise(self.head, gain)

    def forward(self, states: Tensor, valid: Tensor) -> Tensor:
        """Map windows `[B, L, state_dim]` and mask `[B, L]` to `[B, outputs]`.

        Raises:
            ValueError: shapes or the type of the mask are wrong, or a window has no valid slot.
        """
        return self.head(self.encoder(states, valid))


class SequentialQNetwork(_EncodedHead):
    """Q value of every action for the current step of a window.

    Example:
        >>> import torch
        >>> q_network = SequentialQNetwork(10, 4, d_model=32)
        >>> q_network(torch.zeros(5, 8, 10), torch.ones(5, 8, dtype=torch.bool)).shape
        torch.Size([5, 4])
    """

    def __init__(self, state_dim: int, action_dim: int, **config: Any) -> None:
        """Build the network.

        Args:
            state_dim: width of a raw step input.
            action_dim: number of actions.
            **config: fields of `SequenceConfig`.

        Raises:
            ValueError: a size is not a positive int, or a setting is unknown or wrong.
        """
        # Small, so that the first bootstrapped targets are rewards and not noise.
        super().__init__(state_dim, check_size("action_dim", action_dim), 0.1, config)


class SequentialPolicyNetwork(_EncodedHead):
    """Inputs of the action distribution for the current step of a window."""

    def __init__(self, state_dim: int, num_outputs: int, **config: Any) -> None:
        """Build the network.

        Args:
            state_dim: width of a raw step input.
            num_outputs: of the action distribution, for example one logit per action.
            **config: fields of `SequenceConfig`.

        Raises:
            ValueError: a size is not a positive int, or a setting is unknown or wrong.
        """
        # Near zero: the first policy is near uniform and explores everything.
        super().__init__(state_dim, check_size("num_outputs", num_outputs), 0.01, config)


class SequentialValueNetwork(nn.Module):
    """Value of the current step of a window.

    Reader (projection, code of age, bidirectional LSTM), average over the valid slots, temporal
    layers. It has no Transformer: a value is trained by regression and needs less of a model.
    """

    def __init__(self, state_dim: int, **config: Any) -> None:
        """Build the network.

        Args:
            state_dim: width of a raw step input.
            **config: fields of `SequenceConfig`.

        Raises:
            ValueError: `state_dim` is not a positive int, or a setting is unknown or wrong.
        """
        super().__init__()
        self.config = SequenceConfig.from_dict(config, where="the config of the network")
        self.reader = SequenceReader(state_dim, self.config)
        self.head = temporal_layers(self.config, 1)
        initialise(self.head)

    def forward(self, states: Tensor, valid: Tensor) -> Tensor:
        """Map windows `[B, L, state_dim]` and mask `[B, L]` to values `[B, 1]`.

        Raises:
            ValueError: shapes or the type of the mask are wrong, or a window has no valid slot.
        """
        tokens = self.reader(states, valid)  # (B, L, d_model)
        weight = valid[..., None].to(tokens.dtype)  # (B, L, 1)
        return self.head((tokens * weight).sum(1) / weight.sum(1))

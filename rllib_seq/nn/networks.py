"""The three networks over windows of raw step inputs.

- `SequentialQNetwork`: Q value of every action
- `SequentialPolicyNetwork`: inputs of an action distribution
- `SequentialValueNetwork`: value of the current step

They share no parameters, and all take windows `[B, L, state_dim]` and a bool mask `[B, L]`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rllib_seq.config import SequenceConfig
from rllib_seq.nn.causal import CausalEncoder
from rllib_seq.nn.chunks import in_chunks
from rllib_seq.nn.encoder import SequenceEncoder, SequenceReader
from rllib_seq.nn.layers import check_size, check_windows, initialise, temporal_layers
from rllib_seq.nn.q_head import QHead


class SequentialQNetwork(nn.Module):
    """Q value of every action for the current step of a window.

    Example:
        >>> import torch
        >>> q_network = SequentialQNetwork(10, 4, d_model=32)
        >>> q_network(torch.zeros(5, 8, 10), torch.ones(5, 8, dtype=torch.bool)).shape
        torch.Size([5, 4])
    """

    def __init__(
        self,
        state_dim: int,
        action_dim: int,
        *,
        dueling: bool = False,
        support: tuple[float, float, int] | None = None,
        noise_scale: float = 0.0,
        **config: Any,
    ) -> None:
        """Build the network.

        Args:
            state_dim: width of a raw step input.
            action_dim: number of actions.
            dueling: learn a value and advantages instead of values.
            support: lowest value, highest value and number of atoms of a learned distribution of
                returns; None learns their mean.
            noise_scale: sigma of a noisy head, see `NoisyLinear`; 0 for a head without noise.
            **config: fields of `SequenceConfig`.

        Raises:
            ValueError: a size is not a positive int, or a setting is unknown or wrong.
        """
        super().__init__()
        self.encoder = SequenceEncoder(state_dim, **config)
        low, high, atoms = support or (0.0, 0.0, 1)
        self.head = QHead(
            self.encoder.config.d_model,
            check_size("action_dim", action_dim),
            dueling=dueling,
            atoms=check_size("atoms", atoms),
            noise_scale=noise_scale,
        )
        self.atoms: Tensor
        self.register_buffer("atoms", torch.linspace(low, high, atoms), persistent=False)

    def forward(self, states: Tensor, valid: Tensor, noise: Tensor | None = None) -> Tensor:
        """Map windows `[B, L, state_dim]` and mask `[B, L]` to Q values `[B, action_dim]`.

        Args:
            states: windows.
            valid: mask.
            noise: standard normal draws `[B, sum(head.noise_widths)]`, the same for as long as a
                stream is to explore in one way; None for none.

        Raises:
            ValueError: shapes or the type of the mask are wrong, or a window has no valid slot.
        """
        return self.expectation(self.logits(states, valid, noise))

    def logits(self, states: Tensor, valid: Tensor, noise: Tensor | None = None) -> Tensor:
        """As `forward`, but the logits over the support, `[B, action_dim, atoms]`."""
        return self.head(self.encoder(states, valid), noise)

    def expectation(self, logits: Tensor) -> Tensor:
        """Q values `[B, action_dim]` of logits `[B, action_dim, atoms]`."""
        if len(self.atoms) == 1:
            return logits.squeeze(2)
        return torch.softmax(logits, dim=-1) @ self.atoms


class SequentialPolicyNetwork(nn.Module):
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
        super().__init__()
        self.encoder = SequenceEncoder(state_dim, **config)
        self.head = nn.Linear(self.encoder.config.d_model, check_size("num_outputs", num_outputs))
        # Near zero: the first policy is near uniform and explores everything.
        initialise(self.head, 0.01)

    def forward(self, states: Tensor, valid: Tensor) -> Tensor:
        """Map windows `[B, L, state_dim]` and mask `[B, L]` to `[B, num_outputs]`.

        Raises:
            ValueError: shapes or the type of the mask are wrong, or a window has no valid slot.
        """
        return self.head(self.encoder(states, valid))


class SequentialValueNetwork(nn.Module):
    """Value of the current step of a window.

    Reader (projection, code of age, bidirectional LSTM), average over the valid slots, temporal
    layers. It has no Transformer: a value is trained by regression and needs less of a model.
    With `encoder="causal"` it is a `CausalEncoder` without Transformer blocks, `causal`.
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
        if self.config.encoder == "causal":
            self.causal = CausalEncoder(state_dim, self.config, blocks=0, outputs=1)
            return
        self.reader = SequenceReader(state_dim, self.config)
        self.head = temporal_layers(self.config, 1)
        initialise(self.head)

    def forward(self, states: Tensor, valid: Tensor) -> Tensor:
        """Map windows `[B, L, state_dim]` and mask `[B, L]` to values `[B, 1]`.

        Raises:
            ValueError: shapes or the type of the mask are wrong, or a window has no valid slot.
        """
        if self.config.encoder == "causal":
            return self.causal(states, valid)
        check_windows(states, valid, self.reader.input_dim)
        return in_chunks(self._encode, states, valid)

    def _encode(self, states: Tensor, valid: Tensor | None) -> Tensor:
        tokens = self.reader(states, valid)  # (B, L, d_model)
        if valid is None:
            return self.head(tokens.mean(1))
        weight = valid[..., None].to(tokens.dtype)  # (B, L, 1)
        return self.head((tokens * weight).sum(1) / weight.sum(1))

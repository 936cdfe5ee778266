"""An encoder and a head: what contracts name, and what learns.

- `SequenceEncoder`: windows -> features
- `SequentialQNetwork`: windows -> Q value of every action
- `SequentialPolicyNetwork`: windows -> inputs of the action distribution
- `SequentialValueNetwork`: windows -> value

All read windows `[B, L, state_dim]` and a bool mask `[B, L]`. Streams are read by their `encoder`,
see `StreamEncoder.sequence`, and the features by their `head`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rllib_seq.config import SequenceConfig
from rllib_seq.errors import UserError
from rllib_seq.nn.encoders import make_encoder
from rllib_seq.nn.encoders.base import StreamEncoder
from rllib_seq.nn.encoders.outcomes import OutcomeEncoder
from rllib_seq.nn.heads.auction import AuctionHead
from rllib_seq.nn.heads.policy import PolicyHead
from rllib_seq.nn.heads.q_values import QHead
from rllib_seq.nn.heads.value import ValueHead
from rllib_seq.nn.layers import check_size
from rllib_seq.nn.step_reader import StepParts

_WHERE = "the config of the network"


class SequenceEncoder(nn.Module):
    """Features of a window: LSTM for order, Transformer for relations, one vector for now.

    The encoder that `encoder` asks for, as a network of its own.

    Examples:
        >>> encoder = SequenceEncoder(10, window_length=8, d_model=32)
        >>> encoder(torch.zeros(5, 8, 10), torch.ones(5, 8, dtype=torch.bool)).shape
        torch.Size([5, 32])
    """

    def __init__(self, input_dim: int, **config: Any) -> None:
        """Build the encoder.

        Args:
            input_dim: width of a raw step input.
            **config: fields of `SequenceConfig`.

        Raises:
            ValueError: a setting is unknown or wrong, or `input_dim` is not a positive int.
        """
        super().__init__()
        self.config = SequenceConfig.from_dict(config, where=_WHERE)
        self.encoder = make_encoder(input_dim, self.config)

    def forward(self, inputs: Tensor, valid: Tensor) -> Tensor:
        """Map windows `[B, L, input_dim]` and mask `[B, L]` to features, `[B, output_dim]`.

        Raises:
            ValueError: shapes or the type of the mask are wrong, or a window has no valid slot.
        """
        return self.encoder.windows(inputs, valid)


class SequentialQNetwork(nn.Module):
    """Q value of every action for the current step of a window.

    With `head="auction"` by the structure of an auction, see `AuctionHead`.

    Examples:
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
        parts: StepParts | None = None,
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
            parts: frames and large numbers in a step input; None: there are none.
            **config: fields of `SequenceConfig`.

        Raises:
            ValueError: a size is not a positive int, or a setting is unknown or wrong, or does not
                go with `head="auction"`.
        """
        super().__init__()
        settings = SequenceConfig.from_dict(config, _WHERE)
        self.encoder = _policy_encoder(state_dim, settings, parts)
        low, high, atoms = support or (0.0, 0.0, 1)
        check_size("action_dim", action_dim)
        self.head: QHead | AuctionHead
        if settings.head == "auction":
            if dueling or atoms > 1 or noise_scale > 0:
                raise UserError(
                    "head='auction' has the structure of an auction, and no dueling, distribution "
                    "or noise; set dueling=False, num_atoms=1 and noisy=False"
                )
            contexts = len(settings.price_context)
            self.head = AuctionHead(self.encoder.output_dim, action_dim, contexts)
        else:
            self.head = QHead(
                self.encoder.output_dim,
                action_dim,
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
        features = self.encoder.windows(states, valid)
        if isinstance(self.head, AuctionHead):
            return self.head(features)[..., None]
        return self.head(features, noise)

    def expectation(self, logits: Tensor) -> Tensor:
        """Q values `[B, action_dim]` of logits `[B, action_dim, atoms]`."""
        if len(self.atoms) == 1:
            return logits.squeeze(2)
        return torch.softmax(logits, dim=-1) @ self.atoms


class SequentialPolicyNetwork(nn.Module):
    """Inputs of the action distribution for the current step of a window.

    With `head="auction"` they are Q values of bid levels, see `AuctionHead`.
    """

    def __init__(
        self, state_dim: int, num_outputs: int, *, parts: StepParts | None = None, **config: Any
    ) -> None:
        """Build the network.

        Args:
            state_dim: width of a raw step input.
            num_outputs: of the action distribution, for example one logit per action.
            parts: frames and large numbers in a step input; None: there are none.
            **config: fields of `SequenceConfig`.

        Raises:
            ValueError: a size is not a positive int, or a setting is unknown or wrong.
        """
        super().__init__()
        settings = SequenceConfig.from_dict(config, _WHERE)
        check_size("num_outputs", num_outputs)
        self.encoder = _policy_encoder(state_dim, settings, parts)
        self.head: PolicyHead | AuctionHead
        if settings.head == "auction":
            contexts = len(settings.price_context)
            self.head = AuctionHead(self.encoder.output_dim, num_outputs, contexts)
        else:
            self.head = PolicyHead(self.encoder.output_dim, num_outputs)

    def forward(self, states: Tensor, valid: Tensor) -> Tensor:
        """Map windows `[B, L, state_dim]` and mask `[B, L]` to `[B, num_outputs]`.

        Raises:
            ValueError: shapes or the type of the mask are wrong, or a window has no valid slot.
        """
        return self.head(self.encoder.windows(states, valid))


class SequentialValueNetwork(nn.Module):
    """Value of the current step of a window.

    The encoder's variant for values (a window: bidirectional LSTM and the average over the valid
    slots), and a temporal head. With `critic="bids"`, the encoder of a policy and an `AuctionHead`:
    a Q value for each bid level.
    """

    def __init__(
        self,
        state_dim: int,
        levels: int = 1,
        *,
        parts: StepParts | None = None,
        **config: Any,
    ) -> None:
        """Build the network.

        Args:
            state_dim: width of a raw step input.
            levels: bid levels; read with `critic="bids"`.
            parts: frames and large numbers in a step input; None: there are none.
            **config: fields of `SequenceConfig`.

        Raises:
            ValueError: `state_dim` is not a positive int, or a setting is unknown or wrong.
        """
        super().__init__()
        settings = SequenceConfig.from_dict(config, _WHERE)
        self.encoder: StreamEncoder
        self.head: ValueHead | AuctionHead
        if settings.critic == "bids":
            self.encoder = _policy_encoder(state_dim, settings, parts)
            contexts = len(settings.price_context)
            self.head = AuctionHead(self.encoder.output_dim, levels, contexts)
        else:
            self.encoder = make_encoder(state_dim, settings, for_values=True, parts=parts)
            self.head = ValueHead(self.encoder.output_dim, settings)

    def forward(self, states: Tensor, valid: Tensor) -> Tensor:
        """Map windows `[B, L, state_dim]` and mask `[B, L]` to values `[B, 1]` (or `[B, levels]`).

        Raises:
            ValueError: shapes or the type of the mask are wrong, or a window has no valid slot.
        """
        return self.head(self.encoder.windows(states, valid))


def _policy_encoder(
    state_dim: int, settings: SequenceConfig, parts: StepParts | None
) -> StreamEncoder:
    """An encoder, with what a head or a critic of auctions needs of it."""
    encoder = make_encoder(state_dim, settings, parts=parts)
    if settings.head == "auction" or settings.critic == "bids":
        return OutcomeEncoder(encoder, settings.flagged_inputs, settings.price_context)
    return encoder

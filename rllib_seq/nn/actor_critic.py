"""Policy and value over the same streams.

- `ActorCritic`: one state for both networks, whatever their encoders
- `build_actor_critic`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from rllib_seq.config import SequenceConfig
from rllib_seq.nn.encoders import LENGTH, State, StreamEncoder
from rllib_seq.nn.heads.auction import AuctionHead
from rllib_seq.nn.heads.value import ValueHead
from rllib_seq.nn.networks import SequentialPolicyNetwork, SequentialValueNetwork
from rllib_seq.nn.step_reader import StepParts

_POLICY, _VALUE = "policy_", "value_"


class Reading(NamedTuple):
    """What was made of a batch of sequences."""

    features: Tensor
    """For the policy's head, `[B, T, d]`, zero in padding."""
    value_features: Callable[[], Tensor]
    """Returns those for the value's head, `[B, T, d]`; they may be computed only then."""
    state: State
    """After the real steps. Empty if it was not asked for."""


class ActorCritic(NamedTuple):
    """A policy network and a value network that follow the same streams.

    Their state is one set of tensors. If both encoders have the same data as their state
    (`StreamEncoder.reach`), or are one, it is that of the policy's; otherwise its names begin with
    `policy_` and `value_`, but for `length`, which is the same for both.

    Examples:
        >>> import torch
        >>> networks = build_actor_critic(10, 4, SequenceConfig(encoder="lstm", d_model=32))
        >>> list(networks.state_shapes)
        ['policy_hidden', 'policy_cell', 'value_hidden', 'value_cell', 'length']
        >>> reading = networks.read(networks.initial_state(5), torch.zeros(5, 7, 10))
        >>> networks.value_head(reading.value_features()).shape
        torch.Size([5, 7, 1])
    """

    policy: SequentialPolicyNetwork
    value: SequentialValueNetwork | ValueHead | AuctionHead | None
    """A head alone reads the policy's features. None: values are not needed."""

    @property
    def reach(self) -> int | None:
        """See `StreamEncoder.reach`: of both networks."""
        encoder = self.policy.encoder
        return encoder.reach(encoder.config)

    @property
    def value_head(self) -> ValueHead | AuctionHead:
        """What reads the features for values."""
        assert self.value is not None
        return self.value.head if isinstance(self.value, SequentialValueNetwork) else self.value

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """See `StreamEncoder.state_shapes`; `length` comes last."""
        shapes = self.policy.encoder.state_shapes
        if self._two_states:
            assert isinstance(self.value, SequentialValueNetwork)
            both = ((_POLICY, shapes), (_VALUE, self.value.encoder.state_shapes))
            shapes = {
                prefix + name: shape
                for prefix, parts in both
                for name, shape in parts.items()
                if name != LENGTH
            }
        return {**{k: v for k, v in shapes.items() if k != LENGTH}, LENGTH: (1,)}

    def initial_state(self, batch: int) -> State:
        """Return the state of `batch` new streams: zeros."""
        like = next(self.policy.parameters())
        return {name: like.new_zeros(batch, *shape) for name, shape in self.state_shapes.items()}

    def policy_state(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the state of the policy's encoder."""
        return _part(state, _POLICY) if self._two_states else state

    def value_state(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the state of the value's encoder."""
        return _part(state, _VALUE) if self._two_states else state

    def read(
        self,
        state: Mapping[str, Tensor],
        inputs: Tensor,
        seq_lens: Tensor | None = None,
        *,
        carry: bool = True,
    ) -> Reading:
        """Read the next steps of streams; arguments are those of `StreamEncoder.sequence`.

        Args:
            state: before them.
            inputs: raw step inputs `[B, T, input_dim]`.
            seq_lens: real steps of each, `[B]`; None means all T.
            carry: whether the state after them is needed. Training does not, and is cheaper so.
        """
        mine = self.policy_state(state)
        after: State = {}
        if carry:
            features, after = self.policy.encoder.sequence(mine, inputs, seq_lens)
        else:
            features = self.policy.encoder.features(mine, inputs, seq_lens)
        if not isinstance(self.value, SequentialValueNetwork):
            return Reading(features, lambda: features, after)
        if not (carry and self._two_states):
            return Reading(features, lambda: self.value_features(state, inputs, seq_lens), after)
        theirs = self.value_state(state)
        value_features, value_after = self.value.encoder.sequence(theirs, inputs, seq_lens)
        after = self.join_states(after, value_after)
        return Reading(features, lambda: value_features, after)

    def value_features(
        self, state: Mapping[str, Tensor], inputs: Tensor, seq_lens: Tensor | None = None
    ) -> Tensor:
        """Return the features for values alone, `[B, T, d]`; arguments as for `read`."""
        if isinstance(self.value, SequentialValueNetwork):
            return self.value.encoder.features(self.value_state(state), inputs, seq_lens)
        return self.policy.encoder.features(self.policy_state(state), inputs, seq_lens)

    def window_value_features(self, inputs: Tensor, valid: Tensor) -> Tensor:
        """Return those of windows `[N, L, input_dim]` with a mask `[N, L]`, `[N, d]`."""
        if isinstance(self.value, SequentialValueNetwork):
            return self.value.encoder.windows(inputs, valid)
        return self.policy.encoder.windows(inputs, valid)

    @property
    def value_encoder(self) -> StreamEncoder | None:
        """The encoder of the values, if it is not the policy's."""
        return self.value.encoder if isinstance(self.value, SequentialValueNetwork) else None

    @property
    def own_value_encoder(self) -> StreamEncoder | None:
        """The encoder of the values, if it carries a state of its own beside the policy's."""
        return self.value_encoder if self._two_states else None

    def join_states(
        self, policy: Mapping[str, Tensor], value: Mapping[str, Tensor] | None
    ) -> State:
        """Return the state of both networks.

        Args:
            policy: state of the policy's encoder.
            value: of `own_value_encoder`; None if there is none.
        """
        if value is None:
            mine = {name: part for name, part in policy.items() if name != LENGTH}
            return {**mine, LENGTH: policy[LENGTH]}
        return {
            **{_POLICY + name: part for name, part in policy.items() if name != LENGTH},
            **{_VALUE + name: part for name, part in value.items() if name != LENGTH},
            LENGTH: policy[LENGTH],
        }

    @property
    def _two_states(self) -> bool:
        if not isinstance(self.value, SequentialValueNetwork):
            return False
        mine, other = self.policy.encoder, self.value.encoder
        same = self.reach is not None and self.reach == other.reach(other.config)
        return not (same and mine.state_shapes == other.state_shapes)


def build_actor_critic(
    input_dim: int, num_outputs: int, config: SequenceConfig, parts: StepParts | None = None
) -> ActorCritic:
    """Build both networks.

    Args:
        input_dim: width of a raw step input.
        num_outputs: of the action distribution; with `critic="bids"`, bid levels.
        config: settings; `share_encoder` gives the value no encoder of its own, and with
            `head="auction"` there is no value network.
        parts: frames and large numbers in a step input; None: there are none.

    Raises:
        ValueError: a size is not a positive int, or a setting is wrong for the encoder.
    """
    settings = dict(vars(config))
    policy = SequentialPolicyNetwork(input_dim, num_outputs, parts=parts, **settings)
    if config.head == "auction":
        return ActorCritic(policy, None)
    if not config.share_encoder:
        value = SequentialValueNetwork(input_dim, num_outputs, parts=parts, **settings)
        return ActorCritic(policy, value)
    width = policy.encoder.output_dim
    if config.critic == "bids":
        return ActorCritic(policy, AuctionHead(width, num_outputs, len(config.price_context)))
    return ActorCritic(policy, ValueHead(width, config, linear=True))


def _part(state: Mapping[str, Tensor], prefix: str) -> State:
    mine = {k.removeprefix(prefix): part for k, part in state.items() if k.startswith(prefix)}
    return {**mine, LENGTH: state[LENGTH]}

"""The sequence networks as an RLModule of RLlib's new API stack.

- `SequenceRLModule`: policy and value over the step inputs of a stream
"""

from __future__ import annotations

from typing import Any

import torch
from gymnasium.spaces import MultiDiscrete
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import (
    TorchMultiCategorical,
)
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis import (
    TARGET_NETWORK_ACTION_DIST_INPUTS,
    InferenceOnlyAPI,
    TargetNetworkAPI,
    ValueFunctionAPI,
)
from torch import Tensor

from rllib_seq.config import SequenceConfig
from rllib_seq.models.auxiliary import AUXILIARY_LOGITS, auxiliary_heads
from rllib_seq.models.rl_module.windowed_module import WindowedRLModule
from rllib_seq.models.rl_module.windows import (
    PREVIOUS_ACTIONS,
    PREVIOUS_REWARDS,
    STEPS_BEFORE,
    WindowLayout,
)
from rllib_seq.models.spaces import refuse_actions
from rllib_seq.models.step_inputs import encode_action
from rllib_seq.nn import ActorCritic, SequentialPolicyNetwork, build_actor_critic, encoder_class
from rllib_seq.nn.heads.auxiliary import event_probability


class SequenceRLModule(WindowedRLModule, ValueFunctionAPI, TargetNetworkAPI, InferenceOnlyAPI):
    """Policy and value networks over streams, for PPO, APPO and IMPALA on the new API stack.

    The networks, their inputs and the names of their weights are those of `LSTMTransformerModel`:
    `load_state_dict` moves weights from one to the other, in both directions.

    How RLlib sees it depends on the encoder. If its state is data (`StreamEncoder.reach`), the
    module has no state: batches are windows `[N, L, ...]` that connectors rebuild from the
    episodes. Otherwise it is recurrent: batches are sequences `[B, T]` with a `STATE_IN`, the state
    of `ActorCritic`, recorded under the weights that sampled. An environment runner holds what
    acting needs: the value network only if it carries a state of its own.
    """

    @classmethod
    def window_layout(cls, settings: SequenceConfig) -> WindowLayout:
        """See `WindowedRLModule.window_layout`: a recurrent module sees one step at a time."""
        reach = encoder_class(settings.encoder).reach(settings)
        return WindowLayout.of(settings, reach or 1)

    def setup(self) -> None:
        """Build the networks; RLlib calls this.

        Raises:
            UserError: see `WindowedRLModule.setup`.
        """
        refuse_actions(self.action_space)
        super().setup()
        if isinstance(self.action_space, MultiDiscrete):
            self.action_dist_cls = TorchMultiCategorical.get_partial_dist_cls(
                space=self.action_space, input_lens=self.action_space.nvec.tolist()
            )
        distribution = self.get_train_action_dist_cls()
        num_outputs = distribution.required_input_dim(self.action_space)
        networks = build_actor_critic(
            self.step_inputs.width, num_outputs, self.config_of_sequence, self.step_inputs.parts
        )
        self.policy, self.value = networks.policy, networks.value
        self.auxiliary = auxiliary_heads(self.config_of_sequence, self.action_space)
        self.eval()

    def train(self, mode: bool = True) -> SequenceRLModule:
        """Set training mode for the value network alone."""
        if mode == self.training:
            return self  # RLlib asks before every action, and walking all layers is slow
        super().train(mode)
        # Dropout in the policy would make the probability that the loss recomputes differ from the
        # one recorded when acting: PPO's ratio must be exactly 1 before the first update.
        self.policy.eval()
        return self

    @property
    def networks(self) -> ActorCritic:
        """Policy and value, as readers of the same streams."""
        return ActorCritic(self.policy, getattr(self, "value", None))

    def is_stateful(self) -> bool:
        """Return whether RLlib has to carry a state."""
        return self.networks.reach is None

    def get_initial_state(self) -> dict[str, Tensor]:
        """Return the state of a stream that has no steps; empty if RLlib carries none."""
        if not self.is_stateful():
            return {}
        return {name: torch.zeros(shape) for name, shape in self.networks.state_shapes.items()}

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Return the inputs of the action distribution, and the state afterwards.

        Args:
            batch: columns of `windows_of` as tensors, `[N, ...]`; or, for a recurrent module, of
                single steps `[B, T, ...]`, `STATE_IN`, and, if they are padded, `SEQ_LENS`. Without
                connectors: `obs` alone, see `WindowedRLModule.plain_steps`, and the `state_out`
                of the step before as `state_in`, whatever the encoder.
            **kwargs: RLlib's, not read.

        Returns:
            `action_dist_inputs`, `[N, num_outputs]` or `[B, T, num_outputs]`, and, if recurrent,
            `state_out`.

        Raises:
            NonFiniteInputError: an observation, previous action or reward is NaN or infinite.
        """
        if STEPS_BEFORE not in batch:
            return self._forward_plain(batch)
        if not self.is_stateful():
            outputs = self.mask_outputs(self.policy(*self.windows(batch)), batch)
            return {Columns.ACTION_DIST_INPUTS: outputs}
        reading = self.networks.read(*self._steps(batch))
        outputs = self.mask_outputs(self.policy.head(reading.features), batch)
        return {Columns.ACTION_DIST_INPUTS: outputs, Columns.STATE_OUT: reading.state}

    def step(
        self,
        state: dict[str, Tensor],
        observations: Tensor,
        actions: Tensor,
        rewards: Tensor,
        first: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Read a step of streams that carry a state, with the policy alone.

        Args:
            state: of the policy's encoder before it, `[N, ...]` by name.
            observations: `[N, obs_dim]`; they and the rewards have been found finite.
            actions: previous ones, `[N, ...]`, whatever at first steps.
            rewards: previous ones, `[N]`, the same.
            first: whether a stream begins, `[N]`.

        Returns:
            inputs of the action distribution `[N, num_outputs]`, the state afterwards, and the raw
            step inputs `[N, W]`.

        """
        inputs = self.step_inputs.join(observations, actions, rewards, first)
        features, after = self.policy.encoder.sequence(state, inputs[:, None])
        outputs = self.policy.head(features[:, 0])
        return self.step_inputs.mask_outputs(outputs, observations), after, inputs

    def _forward_plain(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The same for steps without connectors; the state is that of `ActorCritic`."""
        rows = len(self.plain_observations(batch))
        state = batch.get(Columns.STATE_IN) or self.networks.initial_state(rows)
        inputs = self.plain_steps(batch, state)
        reading = self.networks.read(state, inputs, batch.get(Columns.SEQ_LENS))
        outputs = self.policy.head(reading.features)
        if batch[Columns.OBS].dim() == 2:
            outputs = outputs.squeeze(1)
        outputs = self.step_inputs.mask_outputs(outputs, batch[Columns.OBS])
        return {Columns.ACTION_DIST_INPUTS: outputs, Columns.STATE_OUT: reading.state}

    def auxiliary_probabilities(self, batch: dict[str, Any], actions: Tensor) -> dict[str, Tensor]:
        """Return how likely the events of the auxiliary heads are.

        Args:
            batch: as for `_forward`; if it is of sequences, with T = 1.
            actions: taken in its steps, `[N]` (or `[N, ...]`).

        Returns:
            by name of the event, `[N]`.
        """
        features = self._policy_features(self.policy, self._read_from(batch))
        return self._probabilities(features.flatten(0, -2), actions)

    def _probabilities(self, features: Tensor, actions: Tensor) -> dict[str, Tensor]:
        logits = self._auxiliary_logits(features, actions)
        return {name: event_probability(rows) for name, rows in logits.items()}

    def _auxiliary_logits(self, features: Tensor, actions: Tensor) -> dict[str, Tensor]:
        heads = self.auxiliary
        encoded = encode_action(actions, self.action_space) if heads.need_action else None
        return heads(features, encoded)

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Return what the loss needs.

        That is what `_forward` returns, but no state, the values `[N]` (or `[B, T]`) with dropout,
        and the logits of the auxiliary heads by name, a row for every step.
        """
        read_from = self._read_from(batch)
        features = self._policy_features(self.policy, read_from)  # (..., d)
        shared = self.config_of_sequence.share_encoder
        value_features = features if shared else self._value_features(read_from)
        outputs = {
            Columns.ACTION_DIST_INPUTS: self.mask_outputs(self.policy.head(features), batch),
            Columns.EMBEDDINGS: self.networks.value_head(value_features).squeeze(-1),
        }
        if self.auxiliary.heads:
            actions = batch[Columns.ACTIONS]
            if self.is_stateful():
                actions = actions.flatten(0, 1)
            outputs[AUXILIARY_LOGITS] = self._auxiliary_logits(features.flatten(0, -2), actions)
        return outputs

    @property
    def acting_network(self) -> torch.nn.Module:
        """See `WindowedRLModule.acting_network`: inputs of the action distribution."""
        return self.policy

    def compute_values(self, batch: dict[str, Any], embeddings: Tensor | None = None) -> Tensor:
        """Return the values of the steps of a batch.

        Args:
            batch: as for `_forward`.
            embeddings: of `_forward_train`. Losses pass them on; without them (for advantages) the
                values are computed here, without dropout and without gradients.

        Returns:
            `[N]` or `[B, T]`.

        Raises:
            NonFiniteInputError: an observation, previous action or reward is NaN or infinite.
        """
        if embeddings is not None:
            return embeddings
        assert self.value is not None
        training = self.value.training
        self.value.eval()
        with torch.no_grad():  # RLlib asks for the whole train batch at once
            features = self._value_features(self._read_from(batch))
            values = self.networks.value_head(features).squeeze(-1)
        self.value.train(training)
        return values

    def make_target_networks(self) -> None:
        """Copy the policy; APPO calls this."""
        self.old_policy = make_target_network(self.policy)

    def get_target_network_pairs(self) -> list[tuple[torch.nn.Module, torch.nn.Module]]:
        """Return the policy and its copy."""
        return [(self.policy, self.old_policy)]

    def forward_target(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the inputs of the action distribution of the copy, `[N, num_outputs]`."""
        self.old_policy.eval()
        features = self._policy_features(self.old_policy, self._read_from(batch))
        outputs = self.mask_outputs(self.old_policy.head(features), batch)
        return {TARGET_NETWORK_ACTION_DIST_INPUTS: outputs}

    def get_non_inference_attributes(self) -> list[str]:
        """Return what acting does not need."""
        carried = self.is_stateful() and not self.config_of_sequence.share_encoder
        return ["old_policy", "auxiliary", *([] if carried else ["value"])]

    def _read_from(self, batch: dict[str, Any]) -> tuple[Any, ...]:
        """What encoders read of a batch: windows and mask, or state, steps and their number."""
        return self._steps(batch) if self.is_stateful() else self.windows(batch)

    def _policy_features(
        self, policy: SequentialPolicyNetwork, read_from: tuple[Any, ...]
    ) -> Tensor:
        if not self.is_stateful():
            return policy.encoder.windows(*read_from)
        state, *steps = read_from
        return policy.encoder.features(self.networks.policy_state(state), *steps)

    def _value_features(self, read_from: tuple[Any, ...]) -> Tensor:
        if self.is_stateful():
            return self.networks.value_features(*read_from)
        return self.networks.window_value_features(*read_from)

    def _steps(self, batch: dict[str, Any]) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
        """State of the streams, their next step inputs `[B, T, width]`, and how many are real."""
        columns = (Columns.OBS, STEPS_BEFORE, PREVIOUS_ACTIONS, PREVIOUS_REWARDS)
        shape = batch[Columns.OBS].shape[:2]
        flat = {name: batch[name].flatten(0, 1) for name in columns if name in batch}
        inputs, _ = self.windows(flat)  # (B*T, 1, width)
        return batch[Columns.STATE_IN], inputs.view(*shape, -1), batch.get(Columns.SEQ_LENS)

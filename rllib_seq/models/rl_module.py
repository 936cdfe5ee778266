"""The sequence networks as an RLModule of RLlib's new API stack.

- `SequenceRLModule`: policy and value over the last L step inputs of a stream
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

from rllib_seq.models.auxiliary import AUXILIARY_LOGITS, auxiliary_heads
from rllib_seq.models.spaces import refuse_actions
from rllib_seq.models.step_inputs import encode_action
from rllib_seq.models.windowed import (
    SEQUENCE_CONFIG,
    WindowedRLModule,
)
from rllib_seq.nn import SequentialPolicyNetwork, SequentialValueNetwork
from rllib_seq.nn.auxiliary import event_probability


class SequenceRLModule(WindowedRLModule, ValueFunctionAPI, TargetNetworkAPI, InferenceOnlyAPI):
    """Policy and value networks over windows, for PPO, APPO and IMPALA on the new API stack.

    The networks, their inputs and the names of their weights are those of `LSTMTransformerModel`:
    `load_state_dict` moves weights from one to the other, in both directions. An environment runner
    holds the policy alone.
    """

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
        settings = self.model_config.get(SEQUENCE_CONFIG, {})
        self.policy = SequentialPolicyNetwork(self.step_inputs.width, num_outputs, **settings)
        self.value = SequentialValueNetwork(self.step_inputs.width, **settings)
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

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Return the inputs of the action distribution.

        Args:
            batch: columns of `windows_of` as tensors, `[N, ...]`.
            **kwargs: RLlib's, not read.

        Returns:
            `action_dist_inputs`, `[N, num_outputs]`.

        Raises:
            NonFiniteInputError: an observation, previous action or reward is NaN or infinite.
        """
        return {Columns.ACTION_DIST_INPUTS: self.policy(*self.windows(batch))}

    def auxiliary_probabilities(self, batch: dict[str, Any], actions: Tensor) -> dict[str, Tensor]:
        """Return how likely the events of the auxiliary heads are.

        Args:
            batch: as for `_forward`.
            actions: taken in its steps, `[N]` (or `[N, ...]`).

        Returns:
            by name of the event, `[N]`.
        """
        return self._probabilities(self.policy.encoder(*self.windows(batch)), actions)

    def _probabilities(self, features: Tensor, actions: Tensor) -> dict[str, Tensor]:
        logits = self._auxiliary_logits(features, actions)
        return {name: event_probability(rows) for name, rows in logits.items()}

    def _auxiliary_logits(self, features: Tensor, actions: Tensor) -> dict[str, Tensor]:
        heads = self.auxiliary
        encoded = encode_action(actions, self.action_space) if heads.need_action else None
        return heads(features, encoded)

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Return what the loss needs.

        That is what `_forward` returns, the values `[N]` with dropout, and the logits of the
        auxiliary heads by name.
        """
        windows = self.windows(batch)
        features = self.policy.encoder(*windows)  # (N, d_model)
        outputs = {
            Columns.ACTION_DIST_INPUTS: self.policy.head(features),
            Columns.EMBEDDINGS: self.value(*windows).squeeze(1),
        }
        if self.auxiliary.heads:
            outputs[AUXILIARY_LOGITS] = self._auxiliary_logits(features, batch[Columns.ACTIONS])
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
                values are computed anew, without dropout and without gradients.

        Returns:
            `[N]`.

        Raises:
            NonFiniteInputError: an observation, previous action or reward is NaN or infinite.
        """
        if embeddings is not None:
            return embeddings
        training = self.value.training
        self.value.eval()
        with torch.no_grad():  # RLlib asks for the whole train batch at once
            values = self.value(*self.windows(batch)).squeeze(1)
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
        return {TARGET_NETWORK_ACTION_DIST_INPUTS: self.old_policy(*self.windows(batch))}

    def get_non_inference_attributes(self) -> list[str]:
        """Return what acting does not need."""
        return ["value", "old_policy", "auxiliary"]

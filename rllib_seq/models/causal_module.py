"""The causal encoder as an RLModule of RLlib's new API stack.

- `CausalRLModule`: policy and value that read every step once and carry a state
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import TARGET_NETWORK_ACTION_DIST_INPUTS
from torch import Tensor

from rllib_seq.config import SequenceConfig
from rllib_seq.models.auxiliary import AUXILIARY_LOGITS
from rllib_seq.models.causal_state import initial_parts, read_on, state_of
from rllib_seq.models.episode_windows import PREVIOUS_ACTIONS, PREVIOUS_REWARDS, STEPS_BEFORE
from rllib_seq.models.rl_module import SequenceRLModule
from rllib_seq.nn import CausalEncoder


class CausalRLModule(SequenceRLModule):
    """Policy and value networks with `encoder="causal"`, for PPO, APPO and IMPALA.

    To RLlib it is recurrent: batches are sequences `[B, T]` with a `STATE_IN`, whose parts are
    those of `causal_state`. Sequences start from states recorded under the weights that sampled, as
    in any LSTM. An environment runner holds the value network, too, because it carries a state.
    """

    @classmethod
    def window_settings(cls, settings: SequenceConfig) -> SequenceConfig:
        """See `WindowedRLModule.window_settings`: it sees one step at a time."""
        return dataclasses.replace(settings, encoder="window", window_length=1)

    def is_stateful(self) -> bool:
        """Return True."""
        return True

    def get_initial_state(self) -> dict[str, Tensor]:
        """Return what a stream carries that has no steps, see `causal_state`."""
        return initial_parts(self.policy, self.value)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Return the inputs of the action distribution, and what the streams carry on.

        Args:
            batch: columns of `windows_of` for single steps `[B, T, ...]`, `STATE_IN`, and, if they
                are padded, `SEQ_LENS`.
            **kwargs: RLlib's, not read.

        Returns:
            `action_dist_inputs`, `[B, T, num_outputs]`, and `state_out`.

        Raises:
            NonFiniteInputError: an observation, previous action or reward is NaN or infinite.
        """
        features, _, after = read_on(self.policy, self.value, *self._steps(batch))
        outputs = {Columns.ACTION_DIST_INPUTS: self.policy.head(features)}
        return {**outputs, Columns.STATE_OUT: after}

    def auxiliary_probabilities(self, batch: dict[str, Any], actions: Tensor) -> dict[str, Tensor]:
        """See `SequenceRLModule`; `batch` as for `_forward`, with T = 1."""
        features = self._outputs("policy", self.policy.encoder.causal, batch)
        return self._probabilities(features.flatten(0, 1), actions)

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Return what the loss needs.

        That is the inputs of the action distribution, the values `[B, T]` with dropout, and the
        logits of the auxiliary heads by name, `[B*T, ...]`.
        """
        features = self._outputs("policy", self.policy.encoder.causal, batch)
        values = self._outputs("value", self.value.causal, batch)
        outputs = {
            Columns.ACTION_DIST_INPUTS: self.policy.head(features),
            Columns.EMBEDDINGS: values.squeeze(2),
        }
        if self.auxiliary.heads:
            actions = batch[Columns.ACTIONS].flatten(0, 1)
            outputs[AUXILIARY_LOGITS] = self._auxiliary_logits(features.flatten(0, 1), actions)
        return outputs

    def compute_values(self, batch: dict[str, Any], embeddings: Tensor | None = None) -> Tensor:
        """See `SequenceRLModule`; `batch` as for `_forward`, the values are `[B, T]`."""
        if embeddings is not None:
            return embeddings
        training = self.value.training
        self.value.eval()
        with torch.no_grad():
            values = self._outputs("value", self.value.causal, batch)
        self.value.train(training)
        return values.squeeze(2)

    def forward_target(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the inputs of the action distribution of the copy, `[B, T, num_outputs]`."""
        self.old_policy.eval()
        features = self._outputs("policy", self.old_policy.encoder.causal, batch)
        return {TARGET_NETWORK_ACTION_DIST_INPUTS: self.old_policy.head(features)}

    def get_non_inference_attributes(self) -> list[str]:
        """Return what acting does not need."""
        return ["old_policy", "auxiliary"]

    def _outputs(self, name: str, encoder: CausalEncoder, batch: dict[str, Any]) -> Tensor:
        state, inputs, seq_lens = self._steps(batch)
        return encoder.outputs(state_of(name, state), inputs, seq_lens)

    def _steps(self, batch: dict[str, Any]) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
        """What streams carry, their next step inputs `[B, T, width]`, and how many are real."""
        columns = (Columns.OBS, STEPS_BEFORE, PREVIOUS_ACTIONS, PREVIOUS_REWARDS)
        shape = batch[Columns.OBS].shape[:2]
        flat = {name: batch[name].flatten(0, 1) for name in columns if name in batch}
        inputs, _ = self.windows(flat)  # (B*T, 1, width)
        return batch[Columns.STATE_IN], inputs.view(*shape, -1), batch.get(Columns.SEQ_LENS)

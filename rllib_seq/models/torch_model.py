"""The sequence networks as a custom model of RLlib's old API stack.

- `LSTMTransformerModel`: policy and value over the step inputs of a stream

The recurrent state is that of `ActorCritic`, part by part. With `encoder="window"` it is data: the
last step inputs, and how many there are. It stays exact under any weights, so training on a stored
state needs no burn-in. With the others it is activations, recorded under the weights that sampled,
from which PPO's sequences start: after the first update a little stale, as in any LSTM.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.models.torch.torch_modelv2 import TorchModelV2
from ray.rllib.policy.sample_batch import SampleBatch
from ray.rllib.policy.view_requirement import ViewRequirement
from torch import Tensor, nn

from rllib_seq.config import SequenceConfig
from rllib_seq.errors import UserError
from rllib_seq.models.auxiliary import auxiliary_heads, auxiliary_losses, label_column
from rllib_seq.models.observations import refuse_empty_mask
from rllib_seq.models.spaces import (
    refuse_repeated,
    refuse_sequence_length,
    refuse_shifted,
    refuse_unsorted,
)
from rllib_seq.models.step_inputs import StepInputs, encode_action, refuse_bad_step
from rllib_seq.nn import LENGTH, ActorCritic, Reading, build_actor_critic
from rllib_seq.nn.heads.auxiliary import event_probability


class LSTMTransformerModel(TorchModelV2, nn.Module):
    """Policy and value networks over streams, for PPO, APPO and IMPALA on the old API stack.

    A step input is the flattened observation, then the previous action (one-hot), then the previous
    reward; both are zero at the first step of a stream. Policy and value share no parameters,
    unless `share_encoder` is set.

    Examples:
        >>> import rllib_seq  # registers "lstm_transformer"
        >>> from ray.rllib.algorithms.ppo import PPOConfig
        >>> model = {
        ...     "custom_model": "lstm_transformer",
        ...     "custom_model_config": {"window_length": 8, "d_model": 32},
        ...     "max_seq_len": 20,
        ... }
        >>> config = PPOConfig().training(model=model)
    """

    # Set by TorchModelV2.
    action_space: gym.Space[Any]
    view_requirements: dict[str, Any]
    model_config: dict[str, Any]

    def __init__(
        self,
        obs_space: gym.Space,
        action_space: gym.Space,
        num_outputs: int,
        model_config: dict[str, Any],
        name: str,
        **custom_model_config: Any,
    ) -> None:
        """Build the networks; RLlib calls this.

        Args:
            obs_space: preprocessed observation space.
            action_space: Discrete, MultiDiscrete or Box if the previous action is an input.
            num_outputs: inputs of the action distribution.
            model_config: RLlib's model settings; `custom_model_config` in it holds fields of
                `SequenceConfig`.
            name: of the model.
            **custom_model_config: the same fields as keyword arguments, as RLlib passes them.

        Raises:
            UserError: a setting is unknown or wrong, `use_lstm` or `use_attention` is set, the
                previous action is an input and its space cannot be encoded, or a space does not
                start at 0.
        """
        nn.Module.__init__(self)
        TorchModelV2.__init__(self, obs_space, action_space, num_outputs, model_config, name)
        refuse_sequence_length(model_config.get("max_seq_len", 20))
        settings = {**model_config.get("custom_model_config", {}), **custom_model_config}
        self.config = SequenceConfig.from_dict(settings)
        for wrapper in ("use_lstm", "use_attention"):
            if model_config.get(wrapper):
                raise UserError(
                    f"{wrapper}=True would wrap a second memory around lstm_transformer, which "
                    f"has its own; remove {wrapper} from the model config"
                )
        unflattened = getattr(obs_space, "original_space", obs_space)
        refuse_repeated(unflattened)
        refuse_unsorted(unflattened)
        refuse_shifted(unflattened, "observations", "TransformObservation")
        self.step_inputs = StepInputs(obs_space, action_space, self.config)
        self.input_dim = self.step_inputs.width
        # RLlib counts the outputs for Box actions in numpy's numbers.
        networks = build_actor_critic(
            self.input_dim, int(num_outputs), self.config, self.step_inputs.parts
        )
        self.policy, self.value = networks.policy, networks.value
        self.auxiliary = auxiliary_heads(self.config, action_space)
        # Of the last `forward`: where steps are real [B, T], and what was made of the N real ones.
        self._real: Tensor | None = None
        self._rows: Tensor | None = None  # of them, (N,), in B*T; None if all are real
        self._features: Tensor | None = None  # (N, d)
        self._reading: Reading | None = None
        self._auxiliary_losses: dict[str, Tensor] = {}

        if self.config.prev_action:
            self.view_requirements[SampleBatch.PREV_ACTIONS] = ViewRequirement(
                SampleBatch.ACTIONS, space=action_space, shift=-1
            )
        if self.config.prev_reward:
            self.view_requirements[SampleBatch.PREV_REWARDS] = ViewRequirement(
                SampleBatch.REWARDS, shift=-1
            )

    @property
    def networks(self) -> ActorCritic:
        """Policy and value, as readers of the same streams."""
        return ActorCritic(self.policy, self.value)

    def get_initial_state(self) -> list[Any]:
        """Return the state of a stream that has no steps: the parts of `ActorCritic`'s, zeros."""
        return [torch.zeros(shape) for shape in self.networks.state_shapes.values()]

    def train(self, mode: bool = True) -> LSTMTransformerModel:
        """Set training mode for the value network alone."""
        super().train(mode)
        # Dropout in the policy would make the probability that the loss recomputes differ from the
        # one recorded when acting: PPO's ratio must be exactly 1 before the first update.
        self.policy.eval()
        return self

    def forward(
        self, input_dict: Mapping[str, Any], state: list[Any], seq_lens: Any
    ) -> tuple[Tensor, list[Any]]:
        """Return the inputs of the action distribution and the state after the sequences.

        Args:
            input_dict: `obs_flat` `[B*T, obs_dim]`, and previous actions and rewards the same.
            state: as `get_initial_state`, with a batch dimension in front; an empty list means
                that every row starts a stream.
            seq_lens: real steps of each sequence, `[B]`; None means all of them.

        Returns:
            `[B*T, num_outputs]`, zero in rows behind a sequence's end (`FORBIDDEN` where an action
            mask says so), and the new state.

        Raises:
            NonFiniteInputError: an observation, previous action or reward is NaN or infinite.
            UserError: a mask allows no action.
        """
        if torch.onnx.is_in_onnx_export():
            raise UserError(
                "policy.export_model(onnx=...) cannot trace a policy with memory; "
                "`rllib-seq export RUN DIR` writes its step as ONNX"
            )
        observation = input_dict["obs_flat"]
        if not isinstance(observation, Tensor):
            raise UserError(
                "the model reads flat observations; flatten them as RLlib does (get_preprocessor("
                "space)(space).transform of ray.rllib.models.preprocessors), or leave that to "
                "rllib_seq and act with rllib_seq.load_policy(checkpoint).predict"
            )
        rows, device = len(observation), observation.device
        width = math.prod(observation.shape[1:])
        observation = observation.reshape(rows, width)  # single numbers come without one
        if not state:
            state = [part.to(device).expand(rows, *part.shape) for part in self.get_initial_state()]
        parts = dict(zip(self.networks.state_shapes, state, strict=True))
        batch = len(parts[LENGTH])
        if not batch:
            raise UserError(
                f"a minibatch holds no sequence: max_seq_len={self.model_config['max_seq_len']} is "
                "above minibatch_size; raise minibatch_size, or lower max_seq_len"
            )
        steps = rows // batch
        if seq_lens is None:
            seq_lens = torch.full((batch,), steps)
        # RLlib's dummy batches have empty sequences; one row of each is encoded all the same.
        seq_lens = torch.as_tensor(seq_lens, device=device).long().clamp(min=1)
        step = torch.arange(steps, device=device)
        first = parts[LENGTH].reshape(batch, 1) + step == 0  # (B, T)
        real = step < seq_lens[:, None]  # (B, T)

        inputs = self.step_inputs.join(
            observation,
            input_dict.get(SampleBatch.PREV_ACTIONS),
            input_dict.get(SampleBatch.PREV_REWARDS),
            first.flatten(),
        ).view(batch, steps, self.input_dim)
        self._refuse_bad_steps(input_dict, observation, inputs, real)
        carry = not self.training  # RLlib reads no state then
        self._reading = self.networks.read(parts, inputs, seq_lens, carry=carry)
        self._real = real
        self._rows = None if bool(real.all()) else real.flatten().nonzero().squeeze(1)
        self._features = self._pack(self._reading.features)
        outputs = self._spread(self.policy.head(self._features))
        outputs = self.step_inputs.mask_outputs(outputs, observation)
        return outputs, list(self._reading.state.values()) if carry else state

    def _refuse_bad_steps(
        self, input_dict: Mapping[str, Any], observation: Tensor, inputs: Tensor, real: Tensor
    ) -> None:
        """Refuse NaN and infinity, and steps in which no action is allowed, by their streams."""
        # Read in every call: what RLlib's first call leaves alone, it hands over no more.
        names = [SampleBatch.EPS_ID, SampleBatch.AGENT_INDEX, SampleBatch.T]
        episodes, agents, places = (input_dict.get(name) for name in names)
        # Acting, RLlib numbers the step before; training, the step itself.
        ahead = 0 if self.training else 1

        def named(row: int, step: int, later: int = 0) -> tuple[str, int]:
            if episodes is None or agents is None or places is None:
                return f"row {row}", step + later
            at = row * real.shape[1] + step
            stream = f"agent {int(agents[at])} of episode {int(episodes[at])}"
            return stream, int(places[at]) + ahead + later

        known = episodes is not None and places is not None
        self.step_inputs.refuse_non_finite(inputs, real, named if known else None)
        if self.training:
            # The reward of an episode's last step is no input of any step.
            rewards = input_dict.get(SampleBatch.REWARDS, torch.zeros(())).expand(real.numel())
            rewards = rewards.view(real.shape)
            bad = ~torch.isfinite(rewards) & real
            if bool(bad.any()):
                row, step = bad.nonzero()[0].tolist()
                refuse_bad_step(*named(row, step, 1), np.zeros(1), float(rewards[row, step]))
        elif self.step_inputs.mask is not None and (episodes is None or bool(episodes.any())):
            # RLlib's first call, by which it learns what a model reads, is all zeros.
            nothing = self.step_inputs.allow_nothing(observation).view(real.shape) & real
            if bool(nothing.any()):
                refuse_empty_mask(*named(*nothing.nonzero()[0].tolist()))

    def value_function(self) -> Tensor:
        """Return the values `[B*T]` of the steps of the last `forward`, zero in padded rows.

        With `critic="bids"`, there is one for each bid level, `[B*T, levels]`.

        Raises:
            RuntimeError: `forward` was not called before.
        """
        features = self._pack(self.value_features())  # (N, d)
        return self._spread(self.networks.value_head(features)).squeeze(1)

    def value_features(self) -> Tensor:
        """Return what `networks.value_head` reads of the last `forward`, `[B, T, d]`.

        Raises:
            RuntimeError: `forward` was not called before.
        """
        if self._reading is None:
            raise RuntimeError("values need a forward() before them")
        return self._reading.value_features()

    def auxiliary_probabilities(self, actions: Tensor) -> dict[str, Tensor]:
        """Return how likely the events of the auxiliary heads are, for the last `forward`.

        Args:
            actions: taken in its real steps, `[N]` (or `[N, ...]`).

        Returns:
            by name of the event, `[N]`.
        """
        logits = self._auxiliary_logits(actions)
        return {name: event_probability(rows) for name, rows in logits.items()}

    def custom_loss(
        self, policy_loss: list[Tensor], loss_inputs: Mapping[str, Any]
    ) -> list[Tensor]:
        """Add the losses of the auxiliary heads to the loss of the policy; RLlib calls this.

        Args:
            policy_loss: one loss per optimizer; the first is the policy's.
            loss_inputs: the train batch of the last `forward`.

        Raises:
            UserError: the batch has no labels.
        """
        if not self.auxiliary.heads:
            return policy_loss
        assert self._real is not None
        real = self._real.flatten()  # (B*T)
        try:
            labels = {name: loss_inputs[label_column(name)][real] for name in self.auxiliary.heads}
        except KeyError:
            raise UserError(
                "auxiliary heads have no labels to learn from; add .callbacks(AuxiliaryLabels) "
                "from rllib_seq.models to the config"
            ) from None
        logits = self._auxiliary_logits(loss_inputs[SampleBatch.ACTIONS][real])
        total, self._auxiliary_losses = auxiliary_losses(
            self.auxiliary.heads, logits, labels, int(real.sum())
        )
        return [policy_loss[0] + total, *policy_loss[1:]]

    def metrics(self) -> dict[str, float]:
        """Return the auxiliary losses of the last update, in nats per step; RLlib reports them."""
        return {name: loss.item() for name, loss in self._auxiliary_losses.items()}

    def _auxiliary_logits(self, actions: Tensor) -> dict[str, Tensor]:
        heads = self.auxiliary
        encoded = encode_action(actions, self.action_space) if heads.need_action else None
        return heads(self._features, encoded)

    def _pack(self, padded: Tensor) -> Tensor:
        """Rows of real steps `[N, K]` of `[B, T, K]`."""
        rows = padded.flatten(0, 1)
        return rows if self._rows is None else rows.index_select(0, self._rows)

    def _spread(self, packed: Tensor) -> Tensor:
        """Put rows of real steps `[N, K]` back among the padded ones: `[B*T, K]`."""
        if self._rows is None:
            return packed
        assert self._real is not None
        spread = packed.new_zeros(self._real.numel(), packed.shape[1])
        return spread.index_copy(0, self._rows, packed)

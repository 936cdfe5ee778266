"""The sequence networks as an RLModule of RLlib's new API stack.

- `use_sequence_module`: sets an algorithm's config up for them
- `sequence_settings`: reads those settings back, from a config or from a module
- `has_own_connectors`: whether a config's windows would not be the whole truth
- `SequenceRLModule`: policy and value over the last L step inputs of a stream

The module has no recurrent state: a connector rebuilds the windows from the episodes, when acting
and when training alike (`rllib_seq.models.episode_windows`).
"""

from __future__ import annotations

import functools
from typing import Any

import gymnasium as gym
import torch
from gymnasium.spaces import Box, MultiDiscrete
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.env_to_module import FlattenObservations
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
from ray.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES
from torch import Tensor

from rllib_seq.config import SequenceConfig
from rllib_seq.errors import UserError
from rllib_seq.models.episode_windows import (
    PREVIOUS_ACTIONS,
    PREVIOUS_REWARDS,
    STEPS_BEFORE,
    EpisodeWindows,
)
from rllib_seq.models.spaces import refuse_actions, refuse_shifted
from rllib_seq.models.step_inputs import StepInputs
from rllib_seq.nn import SequentialPolicyNetwork, SequentialValueNetwork

_CONFIG_KEY = "sequence_config"


def use_sequence_module(config: AlgorithmConfig, **sequence_config: Any) -> AlgorithmConfig:
    """Let PPO, APPO or IMPALA of the new API stack train the sequence networks.

    Sets the RLModule, the connectors that build its windows, and how much of a cut episode is kept
    (or, in a multi-agent config, that episodes are not cut). Call it last, at least after
    `multi_agent`; calling it again replaces the settings.

    Args:
        config: is changed in place and returned.
        **sequence_config: fields of `SequenceConfig`.

    Returns:
        `config`.

    Raises:
        UserError: a setting is unknown or wrong, or the config holds what cannot work with it.

    Example:
        >>> config = use_sequence_module(PPOConfig().environment("CartPole-v1"), window_length=8)
    """
    settings = SequenceConfig.from_dict(sequence_config, where="use_sequence_module")
    _refuse_what_cannot_work(config)
    multi_agent = config.is_multi_agent
    config.rl_module(
        rl_module_spec=RLModuleSpec(
            module_class=SequenceRLModule, model_config={_CONFIG_KEY: dict(sequence_config)}
        )
    )
    config.learners(learner_connector=functools.partial(_learner_connector, settings))
    config.env_runners(
        env_to_module_connector=functools.partial(_acting_connectors, settings, multi_agent)
    )
    if multi_agent:
        # RLlib keeps the lookback of a cut multi-agent episode in steps of the environment: an
        # agent that did not act in them would lose its window.
        config.env_runners(batch_mode="complete_episodes")
    else:
        lookback = max(config.episode_lookback_horizon, settings.window_length)
        config.env_runners(episode_lookback_horizon=lookback)
    return config


def sequence_settings(holder: AlgorithmConfig | RLModule) -> SequenceConfig | None:
    """Return the settings of the sequence networks, or None if there are none.

    Args:
        holder: a config that `use_sequence_module` may have set up, or a module that may come from
            such a config.
    """
    spec = holder._rl_module_spec if isinstance(holder, AlgorithmConfig) else holder
    settings = getattr(spec, "model_config", None)
    if not isinstance(settings, dict) or _CONFIG_KEY not in settings:
        return None
    return SequenceConfig.from_dict(settings[_CONFIG_KEY], _CONFIG_KEY)


def has_own_connectors(config: AlgorithmConfig) -> bool:
    """Return whether a config of the new API stack has connectors that are not from here."""
    return not all(
        connector is None
        or (isinstance(connector, functools.partial) and connector.func.__module__ == __name__)
        for connector in (config._env_to_module_connector, config._learner_connector)
    )


def _acting_connectors(
    settings: SequenceConfig, multi_agent: bool, env: Any, spaces: Any, device: Any
) -> list[ConnectorV2]:
    space = env.single_observation_space if env else spaces[INPUT_ENV_SINGLE_SPACES][0]
    refuse_shifted(space, "observations", "TransformObservation")
    flat = all(map(_is_flat, space.values() if multi_agent else [space]))
    # Writes flat observations into the episodes; for flat ones it costs as much as the windows.
    flatten = [] if flat else [FlattenObservations(multi_agent=multi_agent)]
    return [*flatten, EpisodeWindows(config=settings)]


def _learner_connector(
    settings: SequenceConfig, observation_space: Any, action_space: Any
) -> ConnectorV2:
    return EpisodeWindows(config=settings, as_learner_connector=True)


def _is_flat(space: gym.Space) -> bool:
    return isinstance(space, Box) and len(space.shape) == 1


def _refuse_what_cannot_work(config: AlgorithmConfig) -> None:
    if not (config.enable_rl_module_and_learner and config.enable_env_runner_and_connector_v2):
        raise UserError(
            "use_sequence_module is for RLlib's new API stack, and this config is for the old one; "
            "remove api_stack(...), or set training(model={'custom_model': 'lstm_transformer'})"
        )
    if not isinstance(config, (PPOConfig, IMPALAConfig)):  # APPOConfig is an IMPALAConfig
        raise UserError(
            f"{type(config).__name__} cannot train the sequence module, whose heads are a policy "
            "and a value; use PPOConfig, APPOConfig or IMPALAConfig"
        )
    for wrapper in ("use_lstm", "use_attention"):
        if config.model_config.get(wrapper) or config.model.get(wrapper):
            raise UserError(
                f"{wrapper}=True would ask for a second memory beside the sequence module, which "
                f"has its own; remove {wrapper} from the config"
            )
    if has_own_connectors(config):
        raise UserError(
            "this config has connectors of its own, and the windows read the episodes, not what "
            "connectors make of them; change observations in the environment (a gymnasium wrapper)"
        )


class SequenceRLModule(TorchRLModule, ValueFunctionAPI, TargetNetworkAPI, InferenceOnlyAPI):
    """Policy and value networks over windows, for PPO, APPO and IMPALA on the new API stack.

    The networks, their inputs and the names of their weights are those of `LSTMTransformerModel`:
    `load_state_dict` moves weights from one to the other, in both directions. An environment runner
    holds the policy alone.

    The observation space is that of one step, flat; the connectors of `use_sequence_module` bring
    the windows. The settings are in `model_config["sequence_config"]`.
    """

    def setup(self) -> None:
        """Build the networks; RLlib calls this.

        Raises:
            UserError: a setting is unknown or wrong, observations are not flat, or RLlib cannot act
                in the action space.
        """
        settings = self.model_config.get(_CONFIG_KEY, {})
        self.config_of_sequence = SequenceConfig.from_dict(settings, where=_CONFIG_KEY)
        space = self.observation_space
        if not _is_flat(space):
            raise UserError(
                f"the sequence module needs flat observations, not {space}; set it up by "
                "use_sequence_module, which flattens them, and name no spaces in multi_agent"
            )
        refuse_actions(self.action_space)
        self.step_inputs = StepInputs(space, self.action_space, self.config_of_sequence)
        if isinstance(self.action_space, MultiDiscrete):
            self.action_dist_cls = TorchMultiCategorical.get_partial_dist_cls(
                space=self.action_space, input_lens=self.action_space.nvec.tolist()
            )
        distribution = self.get_train_action_dist_cls()
        num_outputs = distribution.required_input_dim(self.action_space)
        self.policy = SequentialPolicyNetwork(self.step_inputs.width, num_outputs, **settings)
        self.value = SequentialValueNetwork(self.step_inputs.width, **settings)
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
        return {Columns.ACTION_DIST_INPUTS: self.policy(*self._windows(batch))}

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Return what `_forward` does, and the values `[N]` with dropout, for the loss."""
        windows = self._windows(batch)
        return {
            Columns.ACTION_DIST_INPUTS: self.policy(*windows),
            Columns.EMBEDDINGS: self.value(*windows).squeeze(1),
        }

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
            values = self.value(*self._windows(batch)).squeeze(1)
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
        return {TARGET_NETWORK_ACTION_DIST_INPUTS: self.old_policy(*self._windows(batch))}

    def get_non_inference_attributes(self) -> list[str]:
        """Return what acting does not need."""
        return ["value", "old_policy"]

    def _windows(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Windows `[N, L, width]` and valid mask `[N, L]` of a batch."""
        observation = batch[Columns.OBS]  # (N, L, obs_dim)
        rows, slots = observation.shape[:2]
        before = batch[STEPS_BEFORE].reshape(rows, 1)
        age = torch.arange(slots - 1, -1, -1, device=observation.device)  # (L,)
        valid = age <= before  # (N, L)
        action, reward = batch.get(PREVIOUS_ACTIONS), batch.get(PREVIOUS_REWARDS)
        inputs = self.step_inputs.join(
            observation.flatten(0, 1),
            action.flatten(0, 1) if action is not None else None,
            reward.flatten(0, 1) if reward is not None else None,
            (age == before).flatten(),
        ).view(rows, slots, -1)
        self.step_inputs.refuse_non_finite(inputs, valid)
        return inputs, valid

"""What every module over windows shares, whatever it computes from them.

- `act_on_windows`: lets a config's environment runners bring windows to a module
- `sequence_settings`, `change_sequence_settings`: what was set up, and once more with a change
- `module_windows`: what windows a module sees
- `has_own_connectors`: whether a config's windows would not be the whole truth
- `refuse_what_windows_exclude`: what cannot work with windows
- `WindowedRLModule`: a module over the last L step inputs of a stream

A module has no recurrent state: a connector rebuilds the windows from the episodes, when acting
and when training alike (`rllib_seq.models.episode_windows`).
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import torch
from gymnasium.spaces import Box
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.env_to_module import FlattenObservations
from ray.rllib.core.columns import Columns
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
    WindowLayout,
)
from rllib_seq.models.spaces import refuse_shifted
from rllib_seq.models.step_inputs import StepInputs

SEQUENCE_CONFIG = "sequence_config"

_WHOLE_EPISODE = 1_000_000  # steps of the environment


def act_on_windows(
    config: AlgorithmConfig,
    module_class: type[WindowedRLModule],
    sequence_config: Mapping[str, Any],
    set_up: Callable[..., AlgorithmConfig],
    model_config: Mapping[str, Any] | None = None,
    connectors: Sequence[ConnectorV2] = (),
) -> None:
    """Set a config up so that its environment runners bring windows to a module.

    Args:
        config: is changed.
        module_class: of all modules.
        sequence_config: fields of `SequenceConfig`.
        set_up: called with a config and fields of `SequenceConfig`, does all of this again.
        model_config: what the module needs besides.
        connectors: what comes after the windows.

    Raises:
        UserError: a setting is unknown or wrong.
    """
    settings = SequenceConfig.from_dict(sequence_config, where="the sequence module's settings")
    layout = module_class.window_layout(settings)
    multi_agent = config.is_multi_agent
    config.rl_module(
        rl_module_spec=RLModuleSpec(
            module_class=module_class,
            model_config={SEQUENCE_CONFIG: dict(sequence_config), **(model_config or {})},
        )
    )
    config.env_runners(
        env_to_module_connector=functools.partial(
            _acting_connectors, layout, multi_agent, tuple(connectors), set_up=set_up
        )
    )
    if multi_agent:
        # RLlib keeps the lookback of a cut multi-agent episode in steps of the environment: an
        # agent that did not act in them would lose its window.
        config.env_runners(batch_mode="complete_episodes")
        if config.num_learners > 1:
            # RLlib cuts the episodes of a batch to share it out; every part keeps its whole past.
            config.env_runners(episode_lookback_horizon=_WHOLE_EPISODE)
    else:
        lookback = max(config.episode_lookback_horizon, layout.window_length)
        config.env_runners(episode_lookback_horizon=lookback)


def sequence_settings(holder: AlgorithmConfig | RLModule) -> SequenceConfig | None:
    """Return the settings of windows, or None if there are none.

    Args:
        holder: a config that `act_on_windows` may have set up, or a module that may come from such
            a config.
    """
    spec = holder._rl_module_spec if isinstance(holder, AlgorithmConfig) else holder
    settings = getattr(spec, "model_config", None)
    if not isinstance(settings, dict) or SEQUENCE_CONFIG not in settings:
        return None
    return SequenceConfig.from_dict(settings[SEQUENCE_CONFIG], SEQUENCE_CONFIG)


def module_windows(module: RLModule) -> WindowLayout | None:
    """Return the windows that a module sees, or None if it sees none."""
    settings = sequence_settings(module)
    if settings is None:
        return None
    windowed = isinstance(module, WindowedRLModule)
    return module.window_layout(settings) if windowed else WindowLayout.of(settings)


def change_sequence_settings(config: AlgorithmConfig, **changes: Any) -> None:
    """Set a config with windows up again, with some settings changed.

    Args:
        config: is changed; `sequence_settings` is not None for it.
        **changes: fields of `SequenceConfig`.

    Raises:
        UserError: a setting is unknown or wrong.
    """
    settings = sequence_settings(config)
    connectors = config._env_to_module_connector
    assert settings is not None and isinstance(connectors, functools.partial)
    connectors.keywords["set_up"](config, **{**dataclasses.asdict(settings), **changes})


def has_own_connectors(config: AlgorithmConfig) -> bool:
    """Return whether a config of the new API stack has connectors that are not from here."""
    return not all(
        connector is None
        or (
            isinstance(connector, functools.partial)
            and connector.func.__module__.startswith("rllib_seq.")
        )
        for connector in (config._env_to_module_connector, config._learner_connector)
    )


def _acting_connectors(
    layout: WindowLayout,
    multi_agent: bool,
    more: tuple[ConnectorV2, ...],
    env: Any,
    spaces: Any,
    device: Any,
    set_up: Any,
) -> list[ConnectorV2]:
    space = env.single_observation_space if env else spaces[INPUT_ENV_SINGLE_SPACES][0]
    refuse_shifted(space, "observations", "TransformObservation")
    flat = all(map(_is_flat, space.values() if multi_agent else [space]))
    # Writes flat observations into the episodes; for flat ones it costs as much as the windows.
    flatten = [] if flat else [FlattenObservations(multi_agent=multi_agent)]
    return [*flatten, EpisodeWindows(config=layout), *copy.deepcopy(more)]


def _is_flat(space: gym.Space) -> bool:
    return isinstance(space, Box) and len(space.shape) == 1


def refuse_what_windows_exclude(config: AlgorithmConfig, caller: str) -> None:
    """Refuse what cannot work with windows, whatever the algorithm.

    Args:
        config: of the user.
        caller: what he called, for the message.

    Raises:
        UserError: one line that says why and what to do.
    """
    if not (config.enable_rl_module_and_learner and config.enable_env_runner_and_connector_v2):
        raise UserError(
            f"{caller} is for RLlib's new API stack, and this config is for the old one; "
            "remove api_stack(...), or set training(model={'custom_model': 'lstm_transformer'})"
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


class WindowedRLModule(TorchRLModule):
    """A module over windows of raw step inputs, which the connectors of `act_on_windows` bring.

    The observation space is that of one step, flat. The settings are in
    `model_config["sequence_config"]`.
    """

    @classmethod
    def window_layout(cls, settings: SequenceConfig) -> WindowLayout:
        """Return the windows that a module with these settings sees."""
        return WindowLayout.of(settings)

    def setup(self) -> None:
        """Read the settings and measure the step inputs; RLlib calls this.

        Raises:
            UserError: a setting is unknown or wrong, observations are not flat, or the previous
                action is an input and its space cannot be encoded.
        """
        settings = self.model_config.get(SEQUENCE_CONFIG, {})
        self.config_of_sequence = SequenceConfig.from_dict(settings, where=SEQUENCE_CONFIG)
        space = self.observation_space
        if not _is_flat(space):
            raise UserError(
                f"the sequence module needs flat observations, not {space}; set it up by "
                "use_sequence_module, which flattens them, and name no spaces in multi_agent"
            )
        self.step_inputs = StepInputs(space, self.action_space, self.config_of_sequence)

    @property
    def acting_network(self) -> torch.nn.Module:
        """What maps windows `[N, L, width]` and masks `[N, L]` to what actions are taken from."""
        raise NotImplementedError

    def windows(self, batch: dict[str, Any], prefix: str = "") -> tuple[Tensor, Tensor]:
        """Put the windows of a batch together.

        Args:
            batch: columns of `windows_of` as tensors, `[N, ...]`.
            prefix: of the columns' names.

        Returns:
            raw step inputs `[N, L, width]` and valid mask `[N, L]`.

        Raises:
            NonFiniteInputError: an observation, previous action or reward is NaN or infinite.
        """
        observation = batch[prefix + Columns.OBS]  # (N, L, obs_dim)
        rows, slots = observation.shape[:2]
        before = batch[prefix + STEPS_BEFORE].reshape(rows, 1)
        age = torch.arange(slots - 1, -1, -1, device=observation.device)  # (L,)
        valid = age <= before  # (N, L)
        action = batch.get(prefix + PREVIOUS_ACTIONS)
        reward = batch.get(prefix + PREVIOUS_REWARDS)
        inputs = self.step_inputs.join(
            observation.flatten(0, 1),
            action.flatten(0, 1) if action is not None else None,
            reward.flatten(0, 1) if reward is not None else None,
            (age == before).flatten(),
        ).view(rows, slots, -1)
        self.step_inputs.refuse_non_finite(inputs, valid)
        return inputs, valid

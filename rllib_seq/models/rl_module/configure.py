"""Setting a config of the new API stack up for modules over windows.

- `configure_windows`: lets a config's environment runners bring windows to a module
- `sequence_settings`, `change_sequence_settings`: what was set up, and once more with a change
- `module_windows`: what windows a module sees
- `has_own_connectors`: whether a config's windows would not be the whole truth
- `check_config`, `refuse_long_sequences`: what a config got after it was set up
- `refuse_what_windows_exclude`: what cannot work with windows
- `OurConnectors`: what this package puts into a config
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES

from rllib_seq.config import SequenceConfig
from rllib_seq.errors import UserError
from rllib_seq.models.observations import refuse_filter
from rllib_seq.models.rl_module.connectors import EpisodeWindows, FlattenSteps
from rllib_seq.models.rl_module.windowed_module import (
    SEQUENCE_CONFIG,
    WindowedRLModule,
    is_flat,
)
from rllib_seq.models.rl_module.windows import WindowLayout
from rllib_seq.models.spaces import refuse_repeated, refuse_shifted

MAX_SEQ_LEN = "max_seq_len"
NO_FILTER, MEAN_STD = "NoFilter", "MeanStdFilter"
_WHOLE_EPISODE = 1_000_000  # steps of the environment


def configure_windows(
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
    ours = RLModuleSpec(
        module_class=module_class,
        model_config={SEQUENCE_CONFIG: dict(sequence_config), **(model_config or {})},
    )
    config.rl_module(rl_module_spec=_beside_others(config._rl_module_spec, ours))
    others = config.callbacks_on_algorithm_init or []
    others = list(others) if isinstance(others, (list, tuple)) else [others]
    if check_setup not in others:
        config.callbacks(on_algorithm_init=[*others, check_setup])
    config.env_runners(
        env_to_module_connector=ActingConnectors(
            layout,
            multi_agent,
            settings.embed_above,
            tuple(connectors),
            set_up,
            config.observation_filter,
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
        holder: a config that `configure_windows` may have set up, or a module that may come from
            such a config.
    """
    found = _model_config(holder)
    return None if found is None else SequenceConfig.from_dict(found[SEQUENCE_CONFIG])


def _model_config(holder: AlgorithmConfig | RLModule) -> dict[str, Any] | None:
    """The model config that holds the settings of windows."""
    spec = holder._rl_module_spec if isinstance(holder, AlgorithmConfig) else holder
    if isinstance(spec, MultiRLModuleSpec):
        specs = spec.rl_module_specs
        several = list(specs.values()) if isinstance(specs, dict) else [specs]
    else:
        several = [spec]
    for each in several:
        found = getattr(each, "model_config", None)
        if isinstance(found, dict) and SEQUENCE_CONFIG in found:
            return found
    return None


def _beside_others(spec: Any, ours: RLModuleSpec) -> RLModuleSpec | MultiRLModuleSpec:
    """Our module for all, or, where a user names several, for those that have no class."""
    if not isinstance(spec, MultiRLModuleSpec) or not isinstance(spec.rl_module_specs, dict):
        return ours
    free = {name for name, each in spec.rl_module_specs.items() if _is_free(each)}
    if not free:
        raise UserError(
            "every module of this config's MultiRLModuleSpec has a class; leave module_class out "
            "where the sequence module is to learn: RLModuleSpec()"
        )
    specs = {
        name: dataclasses.replace(ours) if name in free else each
        for name, each in spec.rl_module_specs.items()
    }
    return MultiRLModuleSpec(rl_module_specs=specs)


def _is_free(spec: RLModuleSpec) -> bool:
    """Whether a module has no class yet, or ours, of an earlier call."""
    return spec.module_class is None or issubclass(spec.module_class, WindowedRLModule)


def check_setup(algorithm: Any, **kwargs: Any) -> None:
    """Refuse what a config got after it was set up; RLlib calls this when it builds an algorithm.

    Raises:
        UserError: one line that names the call.
    """
    check_config(algorithm.config)


def check_config(config: AlgorithmConfig) -> None:
    """Refuse what a config got after it was set up, see `configure_windows`.

    Raises:
        UserError: one line that names the call.
    """
    acting = config._env_to_module_connector
    found = _model_config(config)
    if found is None and not isinstance(acting, ActingConnectors):
        return
    caller = getattr(getattr(acting, "set_up", None), "__name__", "use_sequence_module")
    if found is None:
        raise UserError(
            f"rl_module(rl_module_spec=...) replaced the module of {caller}; call {caller} after it"
        )
    for name, connector in (
        ("env_runners(env_to_module_connector=...)", acting),
        ("learners(learner_connector=...)", config._learner_connector),
    ):
        if not (isinstance(connector, OurConnectors) or connector is None is not acting):
            raise UserError(
                f"{name} replaced a connector of {caller}, without which its module sees nothing; "
                "change observations in the environment (a gymnasium wrapper)"
            )
    if isinstance(acting, ActingConnectors) and (
        acting.observation_filter != config.observation_filter
    ):
        raise UserError(
            f"observation_filter={config.observation_filter!r} came after {caller}; call "
            "env_runners(observation_filter=...) before it"
        )
    longest = found.get(MAX_SEQ_LEN)
    asked = (
        config._model_config.get(MAX_SEQ_LEN) if isinstance(config._model_config, dict) else None
    )
    if longest is not None and asked not in (None, longest):
        raise UserError(
            f"max_seq_len={asked!r} came after {caller}, which took {longest}; call "
            f"rl_module(model_config={{'max_seq_len': {asked!r}}}) before {caller}"
        )
    refuse_long_sequences(longest, getattr(config, "minibatch_size", None))


def refuse_long_sequences(max_seq_len: int | None, minibatch: Any) -> None:
    """Refuse sequences that fit into no minibatch, which RLlib leaves empty.

    Raises:
        UserError: naming both.
    """
    if isinstance(minibatch, int) and minibatch < 1:
        raise UserError(f"minibatch_size={minibatch} must be at least 1")
    if max_seq_len and isinstance(minibatch, int) and max_seq_len > minibatch:
        raise UserError(
            f"max_seq_len={max_seq_len} is above minibatch_size={minibatch}, so no sequence fits "
            f"into a minibatch; set minibatch_size to {max_seq_len} or more, or max_seq_len to "
            f"{minibatch} or less"
        )


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
        UserError: a setting is unknown or wrong, or something replaced what was set up.
    """
    check_config(config)
    settings = sequence_settings(config)
    connectors = config._env_to_module_connector
    assert settings is not None and isinstance(connectors, ActingConnectors)
    connectors.set_up(config, **{**dataclasses.asdict(settings), **changes})


def has_own_connectors(config: AlgorithmConfig) -> bool:
    """Return whether a config of the new API stack has connectors that are not from here."""
    connectors = (config._env_to_module_connector, config._learner_connector)
    return not all(each is None or isinstance(each, OurConnectors) for each in connectors)


class OurConnectors:
    """Base of what this package gives to a config as a function that makes connectors."""


@dataclasses.dataclass(frozen=True)
class ActingConnectors(OurConnectors):
    """Makes the connectors that bring windows to a module that acts; RLlib calls it."""

    layout: WindowLayout
    multi_agent: bool
    embed_above: int
    """See `SequenceConfig`."""
    more: tuple[ConnectorV2, ...]
    """What comes after the windows."""
    set_up: Callable[..., AlgorithmConfig]
    """Sets the config up again, see `configure_windows`."""
    observation_filter: str = NO_FILTER
    """As RLlib's setting of the old stack: `MEAN_STD` normalises observations as they are seen."""

    def __call__(self, env: Any, spaces: Any, device: Any) -> list[ConnectorV2]:
        """Return the connectors.

        Raises:
            UserError: observations do not start at 0.
        """
        space = env.single_observation_space if env else spaces[INPUT_ENV_SINGLE_SPACES][0]
        for part in space.values() if self.multi_agent else [space]:
            refuse_repeated(part)
        refuse_shifted(space, "observations", "TransformObservation")
        several = list(space.values()) if self.multi_agent else [space]
        normalised = self.observation_filter == MEAN_STD
        flat = all(map(is_flat, several))
        if normalised:  # the filter keeps the type of what it gets
            flat = flat and all(part.dtype.kind == "f" for part in several)
        # Writes flat observations into the episodes; for flat ones it costs as much as the windows.
        pieces: list[ConnectorV2] = []
        if not flat:
            pieces.append(FlattenSteps(multi_agent=self.multi_agent, embed_above=self.embed_above))
        if normalised:
            for part in several:
                refuse_filter(part, self.embed_above)
            pieces.append(MeanStdFilter(multi_agent=self.multi_agent))
        return [*pieces, EpisodeWindows(config=self.layout), *copy.deepcopy(self.more)]


def refuse_what_windows_exclude(config: AlgorithmConfig, caller: str) -> None:
    """Refuse what cannot work with windows, whatever the algorithm.

    Args:
        config: of the user.
        caller: what they called, for the message.

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
    if config.observation_filter not in (NO_FILTER, MEAN_STD):
        raise UserError(
            f"observation_filter={config.observation_filter!r} is not known to {caller}; set it to "
            f"{MEAN_STD!r} or {NO_FILTER!r}"
        )
    if has_own_connectors(config):
        raise UserError(
            "this config has connectors of its own, and the windows read the episodes, not what "
            "connectors make of them; change observations in the environment (a gymnasium "
            f"wrapper), or normalise them by env_runners(observation_filter={MEAN_STD!r})"
        )

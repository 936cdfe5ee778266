"""Setting PPO, APPO and IMPALA of the new API stack up for sequences.

- `use_sequence_module`
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.common import AddTimeDimToBatchAndZeroPad
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.learner import AddColumnsFromEpisodesToTrainBatch
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

from rllib_seq.config import SequenceConfig
from rllib_seq.errors import UserError
from rllib_seq.models.auxiliary import EpisodeLabels
from rllib_seq.models.auxiliary_learners import auxiliary_learner
from rllib_seq.models.rl_module.configure import (
    MAX_SEQ_LEN,
    OurConnectors,
    configure_windows,
    refuse_what_windows_exclude,
)
from rllib_seq.models.rl_module.connectors import EpisodeWindows
from rllib_seq.models.rl_module.episode_states import SequenceStates, StatesIn, StatesOut
from rllib_seq.models.rl_module.sequence_module import SequenceRLModule
from rllib_seq.nn import encoder_class


def use_sequence_module(config: AlgorithmConfig, **sequence_config: Any) -> AlgorithmConfig:
    """Let PPO, APPO or IMPALA of the new API stack train the sequence networks.

    Sets the RLModule, the connectors that build its windows (or, for an encoder whose state is not
    data, hand it its states), and how much of a cut episode is kept (or, in a multi-agent config,
    that episodes are not cut). Call it last, at least after `multi_agent`; calling it again
    replaces the settings.

    A module with a state learns from sequences of `max_seq_len` steps, RLlib's setting: call
    `config.rl_module(model_config={"max_seq_len": ...})` before this; RLlib's default is 20. RLlib
    appends a step to every episode for the value of what comes next, so one more than the length of
    a whole episode is better than the length itself.

    Args:
        config: is changed in place and returned.
        **sequence_config: fields of `SequenceConfig`.

    Returns:
        `config`.

    Raises:
        UserError: a setting is unknown or wrong, or the config holds what cannot work with it.

    Examples:
        >>> config = use_sequence_module(PPOConfig().environment("CartPole-v1"), window_length=8)
    """
    refuse_what_windows_exclude(config, "use_sequence_module")
    if not isinstance(config, (PPOConfig, IMPALAConfig)):  # APPOConfig is an IMPALAConfig
        raise UserError(
            f"{type(config).__name__} cannot train the sequence module, whose heads are a policy "
            "and a value; use PPOConfig, APPOConfig or IMPALAConfig (and for DQNConfig "
            "rllib_seq.q_learning.use_sequence_q_learning)"
        )
    settings = SequenceConfig.from_dict(sequence_config, where="use_sequence_module(...)")
    encoder = encoder_class(settings.encoder)
    encoder.check(settings)
    if encoder.reach(settings) is None:
        _carry_states(config, settings, sequence_config)
    else:
        configure_windows(config, SequenceRLModule, sequence_config, use_sequence_module)
        if isinstance(config._module_to_env_connector, StateConnectors):  # of an earlier call
            config.env_runners(module_to_env_connector=None)
        config.learners(learner_connector=LearnerConnectors(settings))
    if settings.auxiliary:
        config.learners(learner_class=auxiliary_learner(config))
    return config


def _carry_states(
    config: AlgorithmConfig, settings: SequenceConfig, sequence_config: dict[str, Any]
) -> None:
    """The same for a module that carries states."""
    longest = config.model_config.get(MAX_SEQ_LEN, DefaultModelConfig().max_seq_len)
    if type(longest) is not int or longest < 1:
        raise UserError(
            f"max_seq_len={longest!r} must be an int of at least 1; set "
            "rl_module(model_config={'max_seq_len': ...})"
        )
    if config.num_learners > 1:
        raise UserError(
            f"num_learners={config.num_learners}: RLlib cuts episodes to share them among "
            f"learners, and encoder={settings.encoder!r} keeps states where they were cut first; "
            "set num_learners=1, or encoder='window'"
        )
    after = config._module_to_env_connector
    if after is not None and not isinstance(after, StateConnectors):
        raise UserError(
            "this config has a module_to_env_connector of its own, and "
            f"encoder={settings.encoder!r} takes its states out there; change actions in the "
            "environment (a gymnasium wrapper), or use encoder='window'"
        )
    configure_windows(
        config,
        SequenceRLModule,
        sequence_config,
        use_sequence_module,
        model_config={MAX_SEQ_LEN: longest},
        connectors=[AddTimeDimToBatchAndZeroPad(), StatesIn()],
    )
    config.env_runners(module_to_env_connector=StateConnectors(longest))
    config.learners(learner_connector=LearnerConnectors(settings, longest))


@dataclasses.dataclass(frozen=True)
class StateConnectors(OurConnectors):
    """Makes the connector that takes states out of what a module returned; RLlib calls it."""

    max_seq_len: int

    def __call__(self, env: Any, spaces: Any) -> list[ConnectorV2]:
        """Return the connector."""
        return [StatesOut(self.max_seq_len)]


@dataclasses.dataclass(frozen=True)
class LearnerConnectors(OurConnectors):
    """Makes the connectors that bring windows, labels and states to a learner; RLlib calls it."""

    settings: SequenceConfig
    max_seq_len: int | None = None
    """None if the module carries no state."""

    def __call__(self, observation_space: Any, action_space: Any) -> list[ConnectorV2]:
        """Return the connectors."""
        heads = self.settings.auxiliary
        windows = SequenceRLModule.window_layout(self.settings)
        pieces: list[ConnectorV2] = [EpisodeWindows(config=windows, as_learner_connector=True)]
        if heads:
            pieces.append(EpisodeLabels(heads=heads))
        if self.max_seq_len is not None:
            # RLlib's own pieces come after these and leave alone what is there; it cuts sequences
            # only if there are no states yet.
            pieces += [
                AddColumnsFromEpisodesToTrainBatch(),
                AddTimeDimToBatchAndZeroPad(as_learner_connector=True),
                SequenceStates(max_seq_len=self.max_seq_len),
            ]
        return pieces

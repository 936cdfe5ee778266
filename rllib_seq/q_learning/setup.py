"""Setting DQN up for sequences.

- `use_sequence_q_learning`
"""

from __future__ import annotations

import functools
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.dqn import DQNConfig

from rllib_seq.config import SequenceConfig
from rllib_seq.errors import UserError
from rllib_seq.models.rl_module.configure import configure_windows, refuse_what_windows_exclude
from rllib_seq.nn import encoder_class
from rllib_seq.q_learning.exploration import EpsilonLadder, StreamExploration
from rllib_seq.q_learning.learner import SequenceDQNLearner
from rllib_seq.q_learning.module import SequenceQRLModule
from rllib_seq.q_learning.replay import SequenceEpisodeReplayBuffer

_BUFFER = f"{SequenceEpisodeReplayBuffer.__module__}.{SequenceEpisodeReplayBuffer.__name__}"
_BUFFER_KEYS = ("capacity", "alpha", "beta")


def use_sequence_q_learning(
    config: AlgorithmConfig,
    epsilon_ladder: EpsilonLadder | None = None,
    *,
    module_class: type[SequenceQRLModule] = SequenceQRLModule,
    learner_class: type[SequenceDQNLearner] = SequenceDQNLearner,
    **sequence_config: Any,
) -> AlgorithmConfig:
    """Let DQN of the new API stack train the sequential Q network, with all of DQN's options.

    They are read from the config: `double_q`, `dueling`, `num_atoms`, `v_min`, `v_max`, `n_step`,
    `noisy`, `sigma0`, `epsilon`, and of `replay_buffer_config` the type (an
    "EpisodeReplayBuffer" draws uniformly, a "PrioritizedEpisodeReplayBuffer" by TD error),
    `capacity`, `alpha` and `beta`. Call it last.

    Args:
        config: is changed in place and returned.
        epsilon_ladder: explore by an epsilon that is constant along a stream, instead of the
            schedule `epsilon`. With `noisy=True` there is no epsilon: the noise is constant along
            a stream.
        module_class: that of all modules, ours or one derived from it.
        learner_class: ours or one derived from it.
        **sequence_config: fields of `SequenceConfig`.

    Returns:
        `config`.

    Raises:
        UserError: a setting is unknown or wrong, or the config holds what cannot work with it.

    Examples:
        >>> config = DQNConfig().environment("CartPole-v1").training(n_step=3, num_atoms=11)
        >>> config = use_sequence_q_learning(config, EpsilonLadder(), window_length=8)
    """
    if not isinstance(config, DQNConfig):
        raise UserError(
            f"use_sequence_q_learning is for DQNConfig, not {type(config).__name__}; use "
            "rllib_seq.models.use_sequence_module for PPO, APPO and IMPALA"
        )
    refuse_what_windows_exclude(config, "use_sequence_q_learning")
    settings = SequenceConfig.from_dict(sequence_config, where="use_sequence_q_learning(...)")
    encoder_class(settings.encoder).check(settings)
    if config.noisy and epsilon_ladder is not None:
        raise UserError(
            "noisy=True explores by noise and epsilon_ladder by random actions; give one of them"
        )
    if sequence_config.get("auxiliary"):
        raise UserError(
            "auxiliary heads learn from the steps just sampled, and DQN's replay keeps no infos; "
            "remove auxiliary, or use PPO, APPO or IMPALA"
        )
    if config.burn_in_len:
        raise UserError(
            f"burn_in_len is {config.burn_in_len}, but windows are exact from the first step on; "
            "set it to 0"
        )
    if not isinstance(config.n_step, int) and config.rollout_fragment_length != "auto":
        raise UserError(  # RLlib compares the two, and a range is no number
            f"with a range of n_step, {config.n_step}, RLlib takes no rollout_fragment_length of "
            f"{config.rollout_fragment_length}; set it to 'auto'"
        )
    connectors = []
    if config.noisy or epsilon_ladder is not None:
        connectors.append(StreamExploration(epsilon_ladder))
    # RLlib adds the rest of DQN's options to the model config by itself.
    options = {**config._model_config_auto_includes, "noisy": config.noisy}
    again = functools.partial(
        use_sequence_q_learning,
        epsilon_ladder=epsilon_ladder,
        module_class=module_class,
        learner_class=learner_class,
    )
    configure_windows(config, module_class, sequence_config, again, options, connectors)
    config.learners(learner_class=learner_class)
    config.replay_buffer_config = _replay(config, sequence_config)
    return config


def _replay(config: DQNConfig, sequence_config: dict[str, Any]) -> dict[str, Any]:
    """The user's replay settings, for the buffer that rebuilds windows."""
    given = dict(config.replay_buffer_config)
    kind = given.pop("type")
    name = kind if isinstance(kind, str) else kind.__name__
    known = {
        "EpisodeReplayBuffer": False,
        "PrioritizedEpisodeReplayBuffer": True,
        "MultiAgentEpisodeReplayBuffer": False,
        "MultiAgentPrioritizedEpisodeReplayBuffer": True,
        _BUFFER: True,
    }
    if name not in known:
        raise UserError(
            f"replay buffer {name!r} cannot rebuild windows; give one of "
            "'PrioritizedEpisodeReplayBuffer' and 'EpisodeReplayBuffer'"
        )
    settings = {key: given[key] for key in _BUFFER_KEYS if key in given}
    if not known[name]:
        settings["alpha"] = 0.0
    return {
        "type": _BUFFER,
        **settings,
        "sequence_config": dict(sequence_config),
        "num_learners": config.num_learners,
        "seed": config.seed,
    }

"""What use_sequence_q_learning reads, and what it refuses before anything is built."""

from typing import Any

import pytest
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig

from rllib_seq.errors import UserError
from rllib_seq.models.rl_module.configure import sequence_settings
from rllib_seq.q_learning import EpsilonLadder, use_sequence_q_learning


def _dqn(**training: Any) -> DQNConfig:
    return DQNConfig().environment("CartPole-v1").training(**training)


def test_the_replay_settings_are_kept() -> None:
    config = _dqn(replay_buffer_config={"capacity": 123, "alpha": 0.7, "beta": 0.2})
    use_sequence_q_learning(config, window_length=5)
    assert sequence_settings(config).window_length == 5
    settings = config.replay_buffer_config
    assert (settings["capacity"], settings["alpha"], settings["beta"]) == (123, 0.7, 0.2)
    uniform = _dqn(replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": 9})
    settings = use_sequence_q_learning(uniform).replay_buffer_config
    assert (settings["capacity"], settings["alpha"]) == (9, 0.0)


@pytest.mark.parametrize(
    ("config", "ladder", "sequence", "message"),
    [
        (PPOConfig(), None, {}, "for DQNConfig, not PPOConfig; use .*use_sequence_module"),
        (SACConfig(), None, {}, "for DQNConfig, not SACConfig"),
        (
            DQNConfig().api_stack(
                enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False
            ),
            None,
            {},
            "use_sequence_q_learning is for RLlib's new API stack",
        ),
        (_dqn(noisy=True), EpsilonLadder(), {}, "give one of them"),
        (_dqn(burn_in_len=4), None, {}, "burn_in_len is 4, .* set it to 0"),
        (_dqn(model={"use_lstm": True}), None, {}, "second memory"),
        (_dqn(), None, {"window": 4}, "unknown key 'window'"),
        (
            _dqn(replay_buffer_config={"type": "MultiAgentReplayBuffer"}),
            None,
            {},
            "'MultiAgentReplayBuffer' cannot rebuild windows",
        ),
        (
            _dqn(n_step=(1, 3)).env_runners(rollout_fragment_length=8),
            None,
            {},
            "range of n_step, .* set it to 'auto'",
        ),
    ],
)
def test_what_cannot_work_is_refused(
    config: Any, ladder: Any, sequence: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        use_sequence_q_learning(config, ladder, **sequence)
    assert "\n" not in str(error.value)

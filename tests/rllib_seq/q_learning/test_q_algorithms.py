"""DQN trains the sequential Q network in every setting in which RLlib's own recurrent DQN fails."""

from typing import Any

import numpy as np
import pytest
from ray.rllib.algorithms.dqn import DQNConfig

import rllib_seq  # noqa: F401, names the environment
from rllib_seq.q_learning import (
    EpsilonLadder,
    SequenceEpisodeReplayBuffer,
    use_sequence_q_learning,
)

SMALL: dict[str, Any] = {
    "window_length": 4,
    "d_model": 8,
    "num_heads": 2,
    "feedforward_dim": 8,
    "head_hidden": 8,
}
UNIFORM = {"type": "EpisodeReplayBuffer", "capacity": 500}


def _cartpole(config: DQNConfig) -> DQNConfig:
    config.environment("CartPole-v1")
    return config.env_runners(rollout_fragment_length=8)


def _auction(config: DQNConfig) -> DQNConfig:
    config.environment("multi_user_ad_auction", env_config={"num_users": 8})
    return config.multi_agent(
        policies={"bidder"}, policy_mapping_fn=lambda agent_id, *args, **kwargs: "bidder"
    )


@pytest.mark.parametrize(
    ("environment", "training", "runners", "exploration"),
    [
        pytest.param(_cartpole, {}, {}, None, id="prioritized"),
        pytest.param(
            _cartpole,
            {"replay_buffer_config": UNIFORM},
            {"num_envs_per_env_runner": 4},
            None,
            id="uniform-4-envs",
        ),
        pytest.param(
            _cartpole,
            {"n_step": 3, "double_q": False, "dueling": False},
            {},
            None,
            id="3-step-single-plain",
        ),
        pytest.param(_cartpole, {"n_step": (1, 4)}, {}, None, id="random-n-step"),
        pytest.param(
            _cartpole,
            {"num_atoms": 11, "v_max": 10.0, "v_min": -10.0, "n_step": 3},
            {"num_envs_per_env_runner": 4},
            EpsilonLadder(),
            id="distributional-ladder",
        ),
        pytest.param(
            _cartpole, {"num_atoms": 11, "dueling": False}, {}, None, id="distributional-plain"
        ),
        pytest.param(_cartpole, {"noisy": True}, {"num_envs_per_env_runner": 2}, None, id="noisy"),
        pytest.param(_auction, {"n_step": 3}, {}, EpsilonLadder(), id="auction"),
        pytest.param(_auction, {"noisy": True, "num_atoms": 11}, {}, None, id="auction-noisy"),
        pytest.param(_cartpole, {}, {"num_env_runners": 1}, None, id="remote-runner"),
    ],
)
@pytest.mark.usefixtures("ray_session")
def test_now_trains(
    environment: Any, training: dict[str, Any], runners: dict[str, Any], exploration: Any
) -> None:
    config = environment(DQNConfig()).env_runners(**{"num_env_runners": 0, **runners})
    config.training(
        train_batch_size=16,
        num_steps_sampled_before_learning_starts=20,
        target_network_update_freq=10,
        **{"replay_buffer_config": {"capacity": 500}, **training},
    )
    config.reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=1)
    config.debugging(seed=0)
    algo = use_sequence_q_learning(config, exploration, **SMALL).build_algo()
    try:
        learned: dict[str, Any] = {}
        for _ in range(20):
            results = algo.train().get("learners", {})
            learned = results.get("bidder", results.get("default_policy", {}))
            if "td_error_mean" in learned:
                break
        assert np.isfinite(learned["qf_loss"])
        buffer = algo.local_replay_buffer
        assert isinstance(buffer, SequenceEpisodeReplayBuffer)
        (memory,) = buffer.memories.values()
        priorities = memory._priorities.get(np.arange(len(memory)))
        if training.get("replay_buffer_config") is UNIFORM:
            assert set(priorities.tolist()) == {0.0, 1.0}
        else:  # TD errors came back
            assert len(set(priorities.tolist())) > 4
    finally:
        algo.stop()

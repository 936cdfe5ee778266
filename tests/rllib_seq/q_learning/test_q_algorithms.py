"""DQN trains the sequential Q network in every setting in which RLlib's own recurrent DQN fails."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.algorithms.dqn import DQNConfig

import rllib_seq  # noqa: F401, names the environment
from rllib_seq.models.rl_module.windows import STEPS_BEFORE
from rllib_seq.q_learning import (
    EpsilonLadder,
    SequenceEpisodeReplayBuffer,
    use_sequence_q_learning,
)
from rllib_seq.q_learning.replay import SampledStepsToBatch

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


class Noise(gym.Env):
    """Random observations and rewards; episodes of nine steps."""

    observation_space = gym.spaces.Box(-9, 9, (3,))
    action_space = gym.spaces.Discrete(4)

    def __init__(self, config: Any) -> None:
        self.rng = np.random.default_rng(0)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.steps = 0
        return self.rng.uniform(-9, 9, 3).astype(np.float32), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        observation = self.rng.uniform(-9, 9, 3).astype(np.float32)
        return observation, self.rng.normal(), self.steps == 9, False, {}


def _noise(config: DQNConfig) -> DQNConfig:
    return config.environment(Noise).env_runners(rollout_fragment_length=7)


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
        pytest.param(
            _cartpole,
            {"n_step": (1, 4)},
            {"rollout_fragment_length": "auto"},
            None,
            id="random-n-step",
        ),
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


@pytest.mark.parametrize("environment", [_noise, _auction])
@pytest.mark.usefixtures("ray_session")
def test_replay_shows_what_acting_saw(environment: Any) -> None:
    """Without exploration, the best action of every replayed window is the one that was taken."""
    config = environment(DQNConfig()).env_runners(num_env_runners=0, num_envs_per_env_runner=2)
    config.training(epsilon=0.0, replay_buffer_config={"capacity": 500})
    algo = use_sequence_q_learning(config, **SMALL).build_algo()
    try:
        learner = algo.learner_group._learner
        (name,) = learner.module.keys()
        module = learner.module[name]
        with torch.no_grad():
            module.q.head.advantage.weight.mul_(1_000.0)
        algo.env_runner_group.sync_weights(from_worker_or_learner_group=algo.learner_group)
        for _ in range(12):  # fragments of two environments that interleave
            algo.local_replay_buffer.add(algo.env_runner.sample())
        (steps,) = algo.local_replay_buffer.sample(300)
        batch = SampledStepsToBatch("cpu")(episodes=[steps])[name]
        actions = module.forward_inference(batch)["actions"]
        assert len(set(actions.tolist())) > 1
        assert torch.equal(actions, batch["actions"])
        batch[STEPS_BEFORE].zero_()  # forget all: the comparison must be able to fail
        assert not torch.equal(module.forward_inference(batch)["actions"], actions)
    finally:
        algo.stop()


@pytest.mark.usefixtures("ray_session")
def test_two_learners_share_a_batch() -> None:
    config = _cartpole(DQNConfig()).env_runners(num_env_runners=0).learners(num_learners=2)
    config.training(
        train_batch_size_per_learner=8,
        num_steps_sampled_before_learning_starts=20,
        replay_buffer_config={"capacity": 500},
    )
    config.reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=1)
    algo = use_sequence_q_learning(config, **SMALL).build_algo()
    try:
        for _ in range(8):
            results = algo.train()
        assert np.isfinite(results["learners"]["default_policy"]["qf_loss"])
        (memory,) = algo.local_replay_buffer.memories.values()
        assert len(set(memory._priorities.get(np.arange(len(memory))).tolist())) > 4
    finally:
        algo.stop()

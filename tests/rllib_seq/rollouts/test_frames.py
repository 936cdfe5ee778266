"""Pixels that must be remembered: learned on both API stacks by array rollouts, and acted with."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from ray.rllib.algorithms.ppo import PPOConfig

import rllib_seq
from rllib_seq.models import use_sequence_module
from rllib_seq.rollouts import ArrayEnvRunner, ArrayRolloutWorker

SMALL = {"encoder": "lstm", "d_model": 16, "num_heads": 2, "lstm_layers": 1, "head_hidden": 16}


class Lamp(gym.Env):
    """One half of the first picture is lit; three dark steps later, naming it pays 1."""

    observation_space = Box(0, 255, (8, 8, 1), np.uint8)
    action_space = Discrete(2)

    def __init__(self, config=None):
        self.side = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.side = 0, int(self.np_random.integers(2))
        picture = np.zeros((8, 8, 1), np.uint8)
        picture[:, 4 * self.side : 4 * self.side + 4] = 255
        return picture, {}

    def step(self, action):
        self.t += 1
        over = self.t == 4
        reward = float(over and action == self.side)
        return np.zeros((8, 8, 1), np.uint8), reward, over, False, {}


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("stack", ["old", "new"])
def test_a_picture_is_remembered(stack, tmp_path):
    config = PPOConfig().environment(Lamp).debugging(seed=0)
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=64, rollout_fragment_length=16)
    config.training(lr=5e-3, minibatch_size=256, num_epochs=4, gamma=0.9, entropy_coeff=0.003)
    if stack == "old":
        model = {"custom_model": "lstm_transformer", "custom_model_config": SMALL}
        config.api_stack(
            enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False
        )
        config.training(train_batch_size=1024, model={**model, "max_seq_len": 5})
        config.env_runners(env_runner_cls=ArrayRolloutWorker)
    else:
        config.training(train_batch_size_per_learner=1024)
        config.rl_module(model_config={"max_seq_len": 5})
        use_sequence_module(config, **SMALL)
        config.env_runners(env_runner_cls=ArrayEnvRunner)
    algorithm, mean = config.build_algo(), 0.0
    try:
        for _ in range(40):
            result = algorithm.train()
            mean = result["env_runners"]["episode_return_mean"]
            if mean > 0.9:
                break
        save = algorithm.save_checkpoint if stack == "old" else algorithm.save_to_path
        save(str(tmp_path))
    finally:
        algorithm.stop()
    assert mean > 0.9  # 0.5 without memory
    played = rllib_seq.evaluate_policy(rllib_seq.load_policy(tmp_path), Lamp(), 50)
    assert played.mean > 0.9

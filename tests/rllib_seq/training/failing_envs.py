"""An environment that fails in every way, each once; for PPO on both API stacks."""

import os
import signal
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
from ray.rllib.algorithms.ppo import PPOConfig
from ray.tune.registry import register_env

from rllib_seq.models import use_sequence_module

# To hang comes first: a worker that was started again and has never answered is given minutes.
FAULTS = ("hangs", "raises", "is_killed", "is_nan")
PATIENCE = 10


class Failing(gym.Env):
    """The first worker meets the faults in order; a file for each says that it has happened."""

    observation_space = gym.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, context):
        self.folder = Path(context["folder"])
        self.fails = context.worker_index == 1
        self.steps = 0

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.t, self.steps = self.t + 1, self.steps + 1
        observation = np.full(3, self.t / 10, np.float32)
        left = [name for name in FAULTS if not (self.folder / name).exists()]
        if self.fails and left and self.steps >= 45:
            self.steps = 0
            (self.folder / left[0]).touch()
            if left[0] == "raises":
                raise OSError("the log server is gone")
            if left[0] == "is_killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if left[0] == "hangs":
                time.sleep(3600)
            observation[1] = np.nan
        return observation, 0.0, self.t == 10, False, {}


register_env("failing", Failing)


def old_stack():
    model = {
        "custom_model": "lstm_transformer",
        "custom_model_config": {"window_length": 2, "d_model": 8, "num_heads": 2},
    }
    config = PPOConfig().api_stack(
        enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False
    )
    config.training(model=model, train_batch_size=64, minibatch_size=64, num_epochs=1)
    return config


def new_stack():
    config = PPOConfig().environment("failing", env_config={"folder": ""})
    config.training(train_batch_size_per_learner=64, minibatch_size=64, num_epochs=1)
    return use_sequence_module(config, window_length=2, d_model=8, num_heads=2)


def failing(config, folder):
    config.environment("failing", env_config={"folder": str(folder)})
    config.env_runners(num_env_runners=2, rollout_fragment_length=32, sample_timeout_s=PATIENCE)
    config.reporting(metrics_episode_collection_timeout_s=2)
    return config.fault_tolerance(
        restart_failed_sub_environments=True, delay_between_env_runner_restarts_s=0.1
    )

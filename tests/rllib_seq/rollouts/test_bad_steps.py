"""NaN in an observation or a reward is named by episode and step, whatever worker plays."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.ppo_torch_policy import PPOTorchPolicy
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.evaluation.rollout_worker import RolloutWorker

import rllib_seq
from rllib_seq.errors import NonFiniteInputError
from rllib_seq.models import use_sequence_module
from rllib_seq.rollouts import (
    ArrayEnvRunner,
    ArrayRolloutWorker,
    FaultReportingSingleAgentEnvRunner,
    FaultReportingWorker,
)

STEPS = 9
SMALL = {
    "window_length": 2,
    "d_model": 8,
    "num_heads": 2,
    "lstm_layers": 1,
    "transformer_layers": 1,
    "feedforward_dim": 8,
    "head_hidden": 8,
}


class Faulty(gym.Env):
    """Episodes of nine steps; the third has a fault in one step."""

    observation_space = Box(-1, 1, (3,), np.float32)
    action_space = Discrete(2)

    def __init__(self, config):
        self.what, self.step_of_fault, self.episode = config["what"], config["step"], 0

    def _seen(self):
        seen = np.full(3, self.t / 10, np.float32)
        if self.what == "observation" and (self.episode, self.t) == (3, self.step_of_fault):
            seen[1] = np.nan
        return seen

    def reset(self, *, seed=None, options=None):
        self.t, self.episode = 0, self.episode + 1
        return self._seen(), {}

    def step(self, action):
        self.t += 1
        reward = 1.0
        if self.what == "reward" and (self.episode, self.t) == (3, self.step_of_fault):
            reward = np.inf
        return self._seen(), reward, self.t == STEPS, False, {}


def config_of(kind, what, step, encoder, prev_reward):
    settings = {**SMALL, "encoder": encoder, "prev_reward": prev_reward}
    config = PPOConfig().environment(Faulty, env_config={"what": what, "step": step})
    config.env_runners(num_env_runners=0, rollout_fragment_length=4, episode_lookback_horizon=2)
    config.training(train_batch_size=4, minibatch_size=4, num_epochs=1)
    if issubclass(kind, RolloutWorker):
        rllib_seq.register()
        model = {"custom_model": "lstm_transformer", "custom_model_config": settings}
        config.api_stack(
            enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False
        )
        config.training(model={**model, "max_seq_len": 4})
    else:
        use_sequence_module(config, **settings)
    return config


def play(kind, config):
    """Samples and, on the old stack, learns, until something is refused."""
    if issubclass(kind, RolloutWorker):
        worker = kind(
            env_creator=lambda context: Faulty(context),
            default_policy_class=PPOTorchPolicy,
            config=config,
        )
        for _ in range(10):
            worker.policy_map["default_policy"].learn_on_batch(
                worker.sample().policy_batches["default_policy"]
            )
    else:
        worker = kind(config=config)
        for _ in range(10):
            worker.sample(num_timesteps=4)


OLD = [RolloutWorker, FaultReportingWorker, ArrayRolloutWorker]
NEW = [SingleAgentEnvRunner, FaultReportingSingleAgentEnvRunner, ArrayEnvRunner]


@pytest.mark.parametrize("kind", OLD + NEW)
@pytest.mark.parametrize(
    ("what", "step", "encoder", "prev_reward"),
    [
        ("observation", 0, "window", True),
        ("observation", 7, "lstm", True),
        ("reward", 5, "lstm", True),
        ("reward", 6, "window", False),
        ("reward", STEPS, "lstm", True),
    ],
)
def test_the_step_is_named(kind, what, step, encoder, prev_reward):
    config = config_of(kind, what, step, encoder, prev_reward)
    with pytest.raises(ValueError) as caught:
        play(kind, config)
    error = caught.value
    if kind is RolloutWorker and not isinstance(error, NonFiniteInputError):
        error = error.__cause__  # RLlib wraps what a loss raises
    assert isinstance(error, NonFiniteInputError), repr(error)
    said = str(error)
    assert "\n" not in said
    found = "observation feature 1 is nan" if what == "observation" else "reward is inf"
    assert f"step {step}: {found}" in said, said
    assert "episode" in said or said.startswith("environment 0"), said

"""What a config holds besides our module: others, and what came too late. Each is one line."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import FlattenObservations
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.rllib.examples.rl_modules.classes.random_rlm import RandomRLModule
from ray.rllib.utils.spaces.repeated import Repeated

from rllib_seq.errors import UserError
from rllib_seq.models import LSTMTransformerModel, SequenceRLModule, use_sequence_module

SMALL = {
    "window_length": 3,
    "d_model": 8,
    "num_heads": 2,
    "lstm_layers": 1,
    "transformer_layers": 1,
    "feedforward_dim": 8,
    "head_hidden": 8,
}


class Two(MultiAgentEnv):
    def __init__(self, config=None):
        super().__init__()
        self.agents = self.possible_agents = ["a", "b"]
        self.observation_spaces = {k: Box(-1, 1, (3,), np.float32) for k in self.agents}
        self.action_spaces = {k: Discrete(2) for k in self.agents}

    def _seen(self):
        return {k: np.full(3, self.t / 20, np.float32) for k in self.agents}

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return self._seen(), {}

    def step(self, actions):
        self.t += 1
        rewards = {k: float(actions[k]) for k in actions}
        return self._seen(), rewards, {"__all__": self.t >= 10}, {"__all__": False}, {}


class OneSpace(gym.Env):
    action_space = Discrete(2)

    def __init__(self, config):
        self.observation_space = config["space"]

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


def ppo(env="CartPole-v1", **env_config):
    config = PPOConfig().environment(env, env_config=env_config).env_runners(num_env_runners=0)
    return config.training(train_batch_size_per_learner=64, minibatch_size=32, num_epochs=1)


def two(trained=("ours", "other")):
    return ppo(Two).multi_agent(
        policies={"ours", "other"},
        policy_mapping_fn=lambda agent, *_, **__: "ours" if agent == "a" else "other",
        policies_to_train=list(trained),
    )


@pytest.mark.parametrize("encoder", ["window", "causal"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("other", [RandomRLModule, None])
def test_other_modules_stay_what_they_are(encoder, when, other, ray_session):
    if when == "before" and other is None:
        pytest.skip("a module without a class is ours then")
    config = two(["ours"] if other else ["ours", "other"])
    spec = RLModuleSpec(module_class=other)
    if other is None:
        spec = RLModuleSpec(model_config=DefaultModelConfig(fcnet_hiddens=[8]))
    if when == "before":
        specs = {"ours": RLModuleSpec(), "other": spec}
        config.rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=specs))
    use_sequence_module(config, **SMALL, encoder=encoder)
    if when == "after":
        specs = {"ours": config._rl_module_spec, "other": spec}
        config.rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=specs))
    algorithm = config.build_algo()
    learned = algorithm.train()["learners"]
    assert type(algorithm.get_module("ours")) is SequenceRLModule
    kept = type(algorithm.get_module("other"))
    assert kept is RandomRLModule if other else kept.__name__ == "DefaultPPOTorchRLModule"
    assert "policy_loss" in learned["ours"]
    assert ("policy_loss" in learned.get("other", {})) == (other is None)
    algorithm.stop()


def refused(config, words):
    with pytest.raises(UserError, match=words) as error:
        config.build_algo()
    assert "\n" not in str(error.value)


def test_what_came_too_late_is_one_line(ray_session):
    def ours(**settings):
        return use_sequence_module(ppo(), **SMALL, **settings)

    mine = lambda *_, **__: FlattenObservations()  # noqa: E731
    refused(
        ours().env_runners(env_to_module_connector=mine),
        "env_to_module_connector.* replaced a connector of use_sequence_module",
    )
    refused(ours().learners(learner_connector=mine), "learner_connector.* replaced a connector")
    refused(
        ours().rl_module(rl_module_spec=RLModuleSpec()), "replaced the module of use_sequence_modu"
    )
    refused(
        ours(encoder="causal").rl_module(model_config={"max_seq_len": 8}),
        "max_seq_len=8 came after use_sequence_module, which took 20",
    )
    refused(
        ours(encoder="lstm").training(minibatch_size=16),
        "max_seq_len=20 is above minibatch_size=16",
    )
    other = two()
    specs = {name: RLModuleSpec(module_class=RandomRLModule) for name in ("ours", "other")}
    other.rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=specs))
    with pytest.raises(UserError, match="every module .* has a class"):
        use_sequence_module(other, **SMALL)


@pytest.mark.parametrize("space", [Repeated(Box(-1, 1, (2,), np.float32), max_len=3)])
def test_observations_without_a_fixed_length_are_one_line(space, ray_session):
    refused(use_sequence_module(ppo(OneSpace, space=space), **SMALL), "have no fixed length")


def test_a_minibatch_without_a_sequence_is_one_line():
    settings = {"custom_model_config": SMALL, "max_seq_len": 20}
    model = LSTMTransformerModel(Box(-1, 1, (3,), np.float32), Discrete(2), 2, settings, "test")
    empty = [part[None][:0] for part in model.get_initial_state()]
    with pytest.raises(UserError, match="no sequence: max_seq_len=20 is above minibatch_size"):
        model.forward({"obs_flat": torch.zeros(4, 3)}, empty, torch.zeros(0))


@pytest.mark.parametrize("length", [0, -3, "20", 2.5, True])
def test_a_wrong_sequence_length_of_the_old_stack_is_one_line(length):
    settings = {"custom_model_config": SMALL, "max_seq_len": length}
    with pytest.raises(UserError, match=f"max_seq_len={length!r} must be an int"):
        LSTMTransformerModel(Box(-1, 1, (3,), np.float32), Discrete(2), 2, settings, "test")

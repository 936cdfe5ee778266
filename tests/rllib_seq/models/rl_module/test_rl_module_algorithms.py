"""Algorithms of the new API stack train the sequence module on exactly what acting saw."""

import time
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from torch import Tensor

import rllib_seq  # noqa: F401, names the environment
from rllib_seq.errors import UserError
from rllib_seq.models import SequenceRLModule, use_sequence_module
from rllib_seq.models.rl_module.windows import STEPS_BEFORE

SMALL: dict[str, Any] = {
    "window_length": 4,
    "d_model": 8,
    "num_heads": 2,
    "feedforward_dim": 8,
    "head_hidden": 8,
}


def _cartpole(config: AlgorithmConfig) -> AlgorithmConfig:
    config.environment("CartPole-v1").env_runners(num_envs_per_env_runner=2)
    return config


def _auction(config: AlgorithmConfig) -> AlgorithmConfig:
    config.environment("multi_user_ad_auction", env_config={"num_users": 12})
    return config.multi_agent(
        policies={"bidder"}, policy_mapping_fn=lambda agent_id, *args, **kwargs: "bidder"
    )


def _logp(module: SequenceRLModule, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        outputs = module.forward_train(batch)[Columns.ACTION_DIST_INPUTS]
    distribution = module.get_train_action_dist_cls().from_logits(outputs)
    return distribution.logp(batch[Columns.ACTIONS])


@pytest.mark.parametrize(
    ("environment", "window_length"),
    [
        pytest.param(_cartpole, 1, id="cartpole-1"),
        pytest.param(_cartpole, 4, id="cartpole-4"),
        pytest.param(_auction, 4, id="auction"),
    ],
)
@pytest.mark.usefixtures("ray_session")
def test_ppo_recomputes_what_it_recorded(environment: Any, window_length: int) -> None:
    """Real rollouts, cut into fragments of episodes: the first ratio of PPO is 1."""
    config = environment(PPOConfig())
    config.env_runners(num_env_runners=0, rollout_fragment_length=11)
    config.training(train_batch_size_per_learner=22, minibatch_size=11, num_epochs=1)
    config.debugging(seed=0)
    use_sequence_module(config, **{**SMALL, "window_length": window_length, "dropout": 0.3})
    algo = config.build_algo()
    try:
        learner = algo.learner_group._learner
        (name,) = learner.module.keys()
        module: SequenceRLModule = learner.module[name]
        acting = algo.env_runner.module
        acting = acting if isinstance(acting, SequenceRLModule) else acting[name]
        assert not hasattr(acting, "value")
        with torch.no_grad():
            module.policy.head.weight.mul_(100.0)
        acting.set_state(module.get_state(inference_only=True))
        seen = 0
        for _ in range(3):  # fragments after the first start in the middle of an episode
            episodes = algo.env_runner.sample()
            batch = learner._learner_connector(
                rl_module=learner.module, batch={}, episodes=episodes, shared_data={}
            )[name]
            real = batch[Columns.LOSS_MASK]
            recorded = batch[Columns.ACTION_LOGP]
            assert torch.allclose(_logp(module, batch)[real], recorded[real], atol=1e-4)
            batch[STEPS_BEFORE].zero_()  # forget all: the comparison above must be able to fail
            assert not torch.allclose(_logp(module, batch)[real], recorded[real], atol=1e-3)
            seen += int(real.sum())
        assert seen >= 33
        assert np.isfinite(algo.train()["learners"][name]["total_loss"])
    finally:
        algo.stop()


@pytest.mark.usefixtures("ray_session")
def test_a_cut_multi_agent_episode_is_refused() -> None:
    """RLlib looks back in steps of the environment; a user's last requests are further away."""
    config = _auction(PPOConfig()).env_runners(num_env_runners=0)
    use_sequence_module(config, **SMALL)
    assert config.batch_mode == "complete_episodes"
    config.env_runners(batch_mode="truncate_episodes", rollout_fragment_length=10)
    config.training(train_batch_size_per_learner=10, minibatch_size=10)
    algo = config.build_algo()
    try:
        with pytest.raises(UserError, match="agent 'user_.*batch_mode='complete_episodes'"):
            for _ in range(10):
                algo.env_runner.sample()
    finally:
        algo.stop()


@pytest.mark.parametrize(
    ("algorithm", "environment"),
    [
        pytest.param(APPOConfig, _cartpole, id="appo-cartpole"),
        pytest.param(IMPALAConfig, _auction, id="impala-auction"),
    ],
)
@pytest.mark.usefixtures("ray_session")
def test_asynchronous_algorithms_learn(algorithm: Any, environment: Any) -> None:
    """In this process; test_causal_algorithms.py has a runner and a learner of their own."""
    config = environment(algorithm()).learners(num_learners=0)
    config.env_runners(num_env_runners=0, rollout_fragment_length=20)
    config.training(train_batch_size_per_learner=40)
    config.reporting(min_time_s_per_iteration=0)
    use_sequence_module(config, **SMALL)
    algo = config.build_algo()
    try:
        deadline = time.monotonic() + 600
        learned: dict[str, Any] = {}
        while "total_loss" not in learned:  # iterations may end without any
            assert time.monotonic() < deadline, "no learner results within ten minutes"
            results = algo.train().get("learners", {})
            for name in ("bidder", "default_policy"):
                learned = results.get(name, learned)
        assert np.isfinite(learned["total_loss"]) and learned["num_module_steps_trained"] > 0
    finally:
        algo.stop()

"""Encoders that carry on what they have made of the past, trained by RLlib's algorithms."""

import time
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.policy.rnn_sequencing import pad_batch_to_sequences_of_same_size
from ray.rllib.policy.sample_batch import SampleBatch
from torch import Tensor

import rllib_seq
from rllib_seq.models import SequenceRLModule, use_sequence_module
from rllib_seq.q_learning import use_sequence_q_learning

OBS, ACTIONS = Box(-np.inf, np.inf, (3,), np.float32), Discrete(4)
SMALL: dict[str, Any] = {
    "encoder": "causal",
    "window_length": 4,
    "d_model": 8,
    "num_heads": 2,
    "feedforward_dim": 8,
    "head_hidden": 8,
    "lstm_layers": 1,
    "transformer_layers": 2,
}

LSTM = {**SMALL, "encoder": "lstm"}


def _cartpole(config: Any) -> Any:
    return config.environment("CartPole-v1").env_runners(num_envs_per_env_runner=2)


def _auction(config: Any) -> Any:
    config.environment("multi_user_ad_auction", env_config={"num_users": 12})
    return config.multi_agent(
        policies={"bidder"}, policy_mapping_fn=lambda agent_id, *args, **kwargs: "bidder"
    )


def _new_stack(algorithm: Any, environment: Any, **settings: Any) -> Any:
    config = environment(algorithm()).env_runners(num_env_runners=0, rollout_fragment_length=11)
    config.training(train_batch_size_per_learner=22).debugging(seed=0)
    config.rl_module(model_config={"max_seq_len": 4}).reporting(min_time_s_per_iteration=0)
    if algorithm is PPOConfig:
        config.training(minibatch_size=11, num_epochs=1)
    return use_sequence_module(config, **{**SMALL, **settings})


@pytest.mark.parametrize("environment", [_cartpole, _auction])
@pytest.mark.usefixtures("ray_session")
def test_ppo_of_the_new_stack_recomputes_what_it_recorded(environment: Any) -> None:
    """Real rollouts, cut into fragments and sequences: the first ratio of PPO is 1."""
    heads = {} if environment is _cartpole else {"won": {"given_action": True}}
    algo = _new_stack(PPOConfig, environment, dropout=0.3, auxiliary=heads).build_algo()
    try:
        learner = algo.learner_group._learner
        (name,) = learner.module.keys()
        module: SequenceRLModule = learner.module[name]
        acting = algo.env_runner.module
        acting = acting if isinstance(acting, SequenceRLModule) else acting[name]
        with torch.no_grad():
            module.policy.head.weight.mul_(100.0)
        acting.set_state(module.get_state(inference_only=True))
        started = set()
        for _ in range(4):  # fragments after the first start in the middle of an episode
            episodes = algo.env_runner.sample()
            for episode in episodes:
                assert Columns.STATE_OUT not in getattr(episode, "extra_model_outputs", {})
            batch = learner._learner_connector(
                rl_module=learner.module, batch={}, episodes=episodes, shared_data={}
            )[name]
            real = batch[Columns.LOSS_MASK]
            assert real.shape[1] == 4
            recorded = batch[Columns.ACTION_LOGP][real]
            assert torch.allclose(_logp(module, batch)[real], recorded, atol=1e-4)
            started |= set(batch[Columns.STATE_IN]["length"].flatten().tolist())
            batch[Columns.STATE_IN]["length"].zero_()  # forget all: the above must be able to fail
            assert not torch.allclose(_logp(module, batch)[real], recorded, atol=1e-3)
        assert {0.0, 3.0} <= started
        learned = algo.train()["learners"][name]
        assert np.isfinite(learned["total_loss"])
        assert not heads or np.isfinite(learned["auxiliary_won_loss"])
    finally:
        algo.stop()


def _logp(module: SequenceRLModule, batch: dict[str, Any]) -> Tensor:
    with torch.no_grad():
        outputs = module.forward_train(batch)[Columns.ACTION_DIST_INPUTS]
    distribution = module.get_train_action_dist_cls().from_logits(outputs)
    return distribution.logp(batch[Columns.ACTIONS])


@pytest.mark.usefixtures("ray_session")
def test_ppo_of_the_old_stack_recomputes_what_it_recorded() -> None:
    rllib_seq.register()
    config = _old_stack(PPOConfig, _cartpole)
    config.env_runners(num_env_runners=0, rollout_fragment_length=37)
    config.training(train_batch_size=74, minibatch_size=37, num_epochs=1)
    algo = config.debugging(seed=0).build_algo()
    try:
        policy: Any = algo.get_policy()
        model = policy.model
        with torch.no_grad():
            model.policy.head.weight.mul_(100.0)
        for _ in range(3):  # fragments after the first start in the middle of an episode
            batch = algo.env_runner.sample()
            batch = getattr(batch, "policy_batches", {"default_policy": batch})["default_policy"]
            pad_batch_to_sequences_of_same_size(
                batch, max_seq_len=5, view_requirements=policy.view_requirements
            )
            real = (np.arange(5) < batch[SampleBatch.SEQ_LENS][:, None]).flatten()
            train_batch = policy._lazy_tensor_dict(batch)
            model.train()
            logits, _ = model(train_batch)
            logp = policy.dist_class(logits, model).logp(train_batch[SampleBatch.ACTIONS])
            recorded = train_batch[SampleBatch.ACTION_LOGP]
            assert recorded[real].std() > 0.02
            assert torch.allclose(logp[real], recorded[real], atol=1e-4)
    finally:
        algo.stop()


def _old_stack(algorithm: Any, environment: Any) -> Any:
    config = environment(algorithm()).api_stack(
        enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False
    )
    model = {"custom_model": "lstm_transformer", "custom_model_config": SMALL, "max_seq_len": 5}
    config.env_runners(num_env_runners=0, rollout_fragment_length=20)
    config.resources(num_gpus=0).reporting(min_time_s_per_iteration=0)
    return config.training(train_batch_size=40, model=model)


def _q_learning(algorithm: Any, environment: Any) -> Any:
    config = environment(algorithm()).env_runners(num_env_runners=0)
    config.training(train_batch_size=16, num_steps_sampled_before_learning_starts=20)
    config.reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=1)
    return use_sequence_q_learning(config, **SMALL)


def _q_learning_lstm(algorithm: Any, environment: Any) -> Any:
    return use_sequence_q_learning(_q_learning(algorithm, environment), **LSTM)


@pytest.mark.parametrize(
    ("stack", "algorithm", "environment", "remote"),
    [
        pytest.param(_q_learning_lstm, DQNConfig, _cartpole, False, id="new-dqn-lstm-cartpole"),
        pytest.param(_new_stack, APPOConfig, _auction, True, id="new-appo-auction-remote"),
        pytest.param(_new_stack, IMPALAConfig, _cartpole, False, id="new-impala-cartpole"),
        pytest.param(_q_learning, DQNConfig, _auction, False, id="new-dqn-auction"),
        pytest.param(_old_stack, APPOConfig, _cartpole, False, id="old-appo-cartpole"),
        pytest.param(_old_stack, IMPALAConfig, _auction, False, id="old-impala-auction"),
    ],
)
@pytest.mark.usefixtures("ray_session")
def test_other_algorithms_learn(stack: Any, algorithm: Any, environment: Any, remote: bool) -> None:
    """One with an auxiliary head, and with runner and learner in processes of their own."""
    rllib_seq.register()
    heads = {"auxiliary": {"won": {"given_action": True}}} if remote else {}
    config = stack(algorithm, environment, **heads)
    if remote:
        config.env_runners(num_env_runners=1).learners(num_learners=1)
    name = "bidder" if environment is _auction else "default_policy"
    algo = config.build_algo()
    try:
        deadline = time.monotonic() + 600
        learned: dict[str, Any] = {}
        while not {"total_loss", "qf_loss"} & learned.keys():  # iterations may end without any
            assert time.monotonic() < deadline, "no learner results within ten minutes"
            result = algo.train()
            time.sleep(0.05)  # leave the core to the runner
            if stack is _old_stack:
                learned = result["info"]["learner"].get(name, {}).get("learner_stats", learned)
            else:
                learned = result.get("learners", {}).get(name, learned)
        assert np.isfinite(learned.get("total_loss", learned.get("qf_loss")))
        assert not remote or np.isfinite(learned["auxiliary_won_loss"])
    finally:
        algo.stop()

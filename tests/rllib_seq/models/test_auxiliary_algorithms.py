"""Algorithms of both API stacks learn auxiliary heads from what really happened."""

import time
from typing import Any

import numpy as np
import pytest
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.policy.sample_batch import SampleBatch

import rllib_seq  # noqa: F401, names model and environment
from rllib_seq.models import AuxiliaryLabels, use_sequence_module
from rllib_seq.models.auxiliary import label_column

SMALL: dict[str, Any] = {
    "window_length": 4,
    "d_model": 8,
    "num_heads": 2,
    "feedforward_dim": 8,
    "head_hidden": 8,
    "prev_reward": False,
    "auxiliary": {"won": {"given_action": True}, "converted": {"horizon": 3}},
}
LOSSES = {"auxiliary_won_loss", "auxiliary_converted_loss"}
LAST_PROFIT = 5  # in an observation: below 0 if the last request was won


def _users(config: AlgorithmConfig) -> AlgorithmConfig:
    """Every user an agent; no one leaves, so labels are probabilities."""
    env_config = {"num_users": 12, "reward": "regret"}
    return config.environment("multi_user_ad_auction", env_config=env_config).multi_agent(
        policies={"bidder"}, policy_mapping_fn=lambda agent_id, *args, **kwargs: "bidder"
    )


def _campaign(config: AlgorithmConfig) -> AlgorithmConfig:
    """One stream, cut again and again."""
    return config.environment("AdAuction-v0", env_config={"num_users": 12})


def _old_stack(config: AlgorithmConfig, **settings: Any) -> AlgorithmConfig:
    config.api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False)
    model = {"custom_model": "lstm_transformer", "custom_model_config": SMALL, "max_seq_len": 10}
    return config.callbacks(AuxiliaryLabels).training(model=model, **settings)


def _check(labels: dict[str, Any], observations: Any, next_of: Any, rewards: Any) -> None:
    """Labels against other traces of the same: what the user's last request cost, or the reward.

    Args:
        labels: of both heads.
        observations: `[N, D]`.
        next_of: `[N]`, row of the same stream's next observation, -1 if there is none.
        rewards: `[N]` of a campaign, in which the next request is another user's; else None.
    """
    now = np.flatnonzero(next_of >= 0)
    won, converted = labels["won"], labels["converted"]
    if rewards is None:
        paid = observations[next_of[now], LAST_PROFIT] < 0
        assert converted[..., 0].any()
    else:  # a conversion is worth 1, and no price is near that
        paid = rewards[now] != np.round(rewards[now])
        np.testing.assert_array_equal(converted[now, 0, 0], np.round(rewards[now]))
    np.testing.assert_array_equal(won[now, 0, 0] > 0, paid)
    assert 0 < paid.sum() < len(paid)
    assert converted.shape == (len(won), 3, 3)
    assert ((converted >= 0) & (converted <= 1)).all()


@pytest.mark.parametrize("environment", [_users, _campaign])
@pytest.mark.usefixtures("ray_session")
def test_ppo_of_the_old_stack_learns_what_happened(environment: Any) -> None:
    config = environment(_old_stack(PPOConfig(), train_batch_size=300, minibatch_size=150))
    config.training(num_epochs=1).env_runners(num_env_runners=0, rollout_fragment_length=100)
    algo = config.build_algo()
    try:
        (name,) = algo.env_runner.policy_map
        batch = algo.env_runner.sample()
        batch = getattr(batch, "policy_batches", {name: batch})[name]
        labels = {head: batch[label_column(head)] for head in ("won", "converted")}
        stream = np.stack([batch[SampleBatch.EPS_ID], batch[SampleBatch.AGENT_INDEX]])
        following = np.append((stream[:, 1:] == stream[:, :-1]).all(0), False)
        next_of = np.where(following, np.arange(len(following)) + 1, -1)
        rewards = batch[SampleBatch.REWARDS] if environment is _campaign else None
        _check(labels, batch[SampleBatch.OBS], next_of, rewards)
        learned = algo.train()["info"]["learner"][name]["model"]
        assert learned.keys() == LOSSES and all(0 < loss < 5 for loss in learned.values())
    finally:
        algo.stop()


@pytest.mark.parametrize("environment", [_users, _campaign])
@pytest.mark.usefixtures("ray_session")
def test_ppo_of_the_new_stack_learns_what_happened(environment: Any) -> None:
    config = environment(PPOConfig()).env_runners(num_env_runners=0, rollout_fragment_length=100)
    config.training(train_batch_size_per_learner=100, minibatch_size=100, num_epochs=1)
    algo = use_sequence_module(config, **SMALL).build_algo()
    try:
        learner = algo.learner_group._learner
        (name,) = learner.module.keys()
        for _ in range(2):  # the second fragment starts in the middle of an episode
            batch = learner._learner_connector(
                rl_module=learner.module,
                batch={},
                episodes=algo.env_runner.sample(),
                shared_data={},
            )[name]
            real = batch[Columns.LOSS_MASK].numpy()
            labels = {head: batch[label_column(head)].numpy() for head in ("won", "converted")}
            assert not labels["won"][~real].any() and not labels["converted"][~real].any()
            assert (labels["won"].sum((1, 2)) > 0)[real].all()
            # The step that is none holds the last observation: all real steps have a next.
            next_of = np.where(real, np.arange(len(real)) + 1, -1)
            rewards = batch[Columns.REWARDS].numpy() if environment is _campaign else None
            _check(labels, batch[Columns.OBS].numpy()[:, -1], next_of, rewards)
        learned = algo.train()["learners"][name]
        assert learned.keys() >= LOSSES and all(0 < learned[loss] < 5 for loss in LOSSES)
    finally:
        algo.stop()


@pytest.mark.parametrize(
    ("algorithm", "environment", "new_stack"),
    [
        pytest.param(APPOConfig, _users, True, id="appo-new"),
        pytest.param(IMPALAConfig, _campaign, True, id="impala-new"),
        pytest.param(APPOConfig, _campaign, False, id="appo-old-remote"),
        pytest.param(IMPALAConfig, _users, False, id="impala-old"),
    ],
)
@pytest.mark.usefixtures("ray_session")
def test_asynchronous_algorithms_learn(algorithm: Any, environment: Any, new_stack: bool) -> None:
    config = environment(algorithm()).env_runners(rollout_fragment_length=20)
    config.reporting(min_time_s_per_iteration=0)
    if new_stack:
        # test_causal_algorithms.py has heads with runner and learner in processes of their own.
        config.env_runners(num_env_runners=0).learners(num_learners=0)
        use_sequence_module(config.training(train_batch_size_per_learner=40), **SMALL)
    else:
        config.env_runners(num_env_runners=int(algorithm is APPOConfig)).resources(num_gpus=0)
        _old_stack(config, train_batch_size=40)
    algo = config.build_algo()
    try:
        deadline = time.monotonic() + 600
        learned: dict[str, Any] = {}
        while not learned.keys() >= LOSSES:  # iterations may end without any
            assert time.monotonic() < deadline, "no learner results within ten minutes"
            results = algo.train()
            time.sleep(0.05)  # leave the core to the runner
            results = results.get("learners", results.get("info", {}).get("learner", {}))
            for name in ("bidder", "default_policy"):
                learned = results.get(name, learned)
            learned = learned if new_stack else learned.get("model", {})
        assert all(np.isfinite(learned[loss]) for loss in LOSSES)
    finally:
        algo.stop()

"""The array worker is RLlib's worker, only faster: same columns, states, advantages, results."""

import time
from typing import Any

import numpy as np
import pytest
import ray
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.callbacks.utils import _make_multi_callbacks as make_multi_callbacks
from ray.rllib.examples.envs.classes.multi_agent import MultiAgentCartPole
from ray.rllib.policy.rnn_sequencing import pad_batch_to_sequences_of_same_size
from ray.rllib.policy.sample_batch import SampleBatch

import rllib_seq  # noqa: F401, names model and environment
from rllib_seq.errors import UserError
from rllib_seq.models import AuxiliaryLabels
from rllib_seq.models.auxiliary import label_column
from rllib_seq.rollouts.array_worker import ArrayRolloutWorker
from rllib_seq.rollouts.worker import FaultReportingWorker

SMALL = {"d_model": 8, "num_heads": 2, "feedforward_dim": 8, "head_hidden": 8, "dropout": 0.0}


def _config(algorithm: Any, worker: Any = ArrayRolloutWorker, **settings: Any) -> Any:
    config = algorithm().api_stack(
        enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False
    )
    config.environment("multi_user_ad_auction", env_config={"num_users": 12, "preset": "display"})
    config.multi_agent(
        policies={"bidder"},
        policy_mapping_fn=lambda agent_id, *args, **kwargs: "bidder",
        count_steps_by="agent_steps",
    )
    config.env_runners(
        num_env_runners=0,
        num_envs_per_env_runner=2,
        rollout_fragment_length=20,
        env_runner_cls=worker,
    )
    config.training(
        train_batch_size=40,
        model={
            "custom_model": "lstm_transformer",
            "custom_model_config": {**SMALL, "window_length": 4, **settings},
            "max_seq_len": 5,
        },
    )
    config.resources(num_gpus=0).reporting(min_time_s_per_iteration=0).debugging(seed=0)
    if algorithm is PPOConfig:
        config.training(minibatch_size=20, num_epochs=1, gamma=0.9, lambda_=0.7)
    return config


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"window_length": 1},
        {"prev_reward": False},
        {"prev_action": False},
        {"encoder": "causal"},
        {"encoder": "causal", "window_length": 12, "prev_reward": False},
        {"encoder": "lstm"},
        {"encoder": "lstm", "share_encoder": True, "prev_reward": False},
        {"share_encoder": True},
    ],
    ids=[
        "window-4",
        "window-1",
        "no-reward",
        "no-action",
        "causal-4",
        "causal-12",
        "lstm",
        "lstm-shared",
        "window-shared",
    ],
)
@pytest.mark.usefixtures("ray_session")
def test_states_lead_to_what_was_recorded(settings: dict[str, Any]) -> None:
    """From the state of every sequence, the model computes again what it acted on."""
    algo = _config(PPOConfig, **settings).build_algo()
    try:
        policy = algo.env_runner.policy_map["bidder"]
        with torch.no_grad():
            policy.model.policy.head.weight.mul_(100.0)
        for _ in range(4):  # fragments after the first start within journeys
            batch = algo.env_runner.sample().policy_batches["bidder"].copy()
            assert batch["seq_lens"].max() <= 5 and (batch["t"] > 0).any()
            pad_batch_to_sequences_of_same_size(
                batch, max_seq_len=5, view_requirements=policy.view_requirements
            )
            lengths = np.array(batch["seq_lens"])
            real = (np.arange(lengths.max()) < lengths[:, None]).ravel()
            inputs = {"obs_flat": batch["obs"], **batch}
            inputs = {k: torch.as_tensor(v) for k, v in inputs.items() if v.dtype != object}
            names = sorted(name for name in batch if name.startswith("state_in_"))
            assert len(names) == len(policy.get_initial_state())
            state = [torch.as_tensor(batch[name]) for name in names]
            with torch.no_grad():
                outputs, _ = policy.model.forward(inputs, state, torch.as_tensor(lengths))
                values = policy.model.value_function()
            recorded = batch["action_dist_inputs"][real]
            assert recorded.std(0).max() > 1e-3
            assert outputs[real] == pytest.approx(recorded, abs=1e-5)
            assert values[real] == pytest.approx(batch["vf_preds"][real], abs=1e-5)
    finally:
        algo.stop()


@pytest.mark.usefixtures("ray_session")
def test_batches_are_those_of_rllibs_worker() -> None:
    """Same columns; and RLlib's own postprocessing of the same journeys gives the same targets."""
    batches, policies = [], []
    for worker in (ArrayRolloutWorker, FaultReportingWorker):
        algo = _config(PPOConfig, worker).build_algo()
        try:
            batches.append(algo.env_runner.sample().policy_batches["bidder"])
            policies.append(algo.env_runner.policy_map["bidder"])
        finally:
            algo.stop()
    arrays, stock = batches
    learned_from = {"obs", "actions", "prev_actions", "prev_rewards", "action_logp"}
    learned_from |= {"action_dist_inputs", "vf_preds", "advantages", "value_targets"}
    learned_from |= {"rewards", "terminateds", "t", "eps_id", "agent_index", "unroll_id"}
    for name in learned_from:
        assert arrays[name].shape[1:] == stock[name].shape[1:], name
        assert arrays[name].dtype == stock[name].dtype or name in ("t",), name
    ended = 0
    for journey in arrays.split_by_episode():
        if not journey["terminateds"][-1]:
            continue
        ended += 1
        again = policies[0].postprocess_trajectory(
            SampleBatch({k: v for k, v in journey.items() if not k.startswith("state")})
        )
        for name in ("advantages", "value_targets"):
            assert again[name] == pytest.approx(journey[name], abs=1e-5)
    assert ended


@pytest.mark.usefixtures("ray_session")
def test_what_follows_a_cut_is_worth_what_the_next_batch_says() -> None:
    algo = _config(PPOConfig).build_algo()
    try:
        algo.env_runner.sample()
        first, second = (algo.env_runner.sample().policy_batches["bidder"] for _ in range(2))
    finally:
        algo.stop()
    ends = np.flatnonzero(np.append(np.diff(first["eps_id"]) != 0, True))
    cut = ends[~first["terminateds"][ends]]
    assert len(cut)
    for step in cut:
        same = second["agent_index"] == first["agent_index"][step]
        (after,) = second["vf_preds"][same & (second["t"] == first["t"][step] + 1)][:1]
        delta = first["rewards"][step] + 0.9 * after - first["vf_preds"][step]
        assert first["advantages"][step] == pytest.approx(delta, abs=1e-5)


@pytest.mark.usefixtures("ray_session")
def test_a_killed_worker_comes_back() -> None:
    """Asynchronous algorithms train with such workers in tests/test_tune_configs.py."""
    config = _config(PPOConfig).env_runners(num_env_runners=1)
    config.fault_tolerance(restart_failed_env_runners=True)
    algo = config.build_algo()
    try:
        learned = algo.train()["info"]["learner"]["bidder"]["learner_stats"]
        assert np.isfinite(learned["total_loss"])
        ray.kill(algo.env_runner_group._worker_manager.actors()[1], no_restart=False)
        deadline = time.monotonic() + 600
        before = after = algo.train()["num_agent_steps_sampled_lifetime"]
        returns = float("nan")
        while after == before or not np.isfinite(returns):  # until a campaign has ended
            assert time.monotonic() < deadline, "the worker is not back within ten minutes"
            result = algo.train()
            after = result["num_agent_steps_sampled_lifetime"]
            returns = result["env_runners"].get("episode_return_mean", returns)
        assert algo.env_runner_group.num_healthy_remote_workers() == 1
    finally:
        algo.stop()


class Notes(RLlibCallback):
    """What a user's callbacks do."""

    def on_episode_end(self, *, worker: Any, episode: Any, env_index: int, **kwargs: Any) -> None:
        assert list(worker.policy_map) == ["bidder"] and env_index in (0, 1)
        assert sum(episode.agent_rewards.values()) == pytest.approx(episode.total_reward)
        episode.custom_metrics["double"] = 2 * episode.total_reward
        episode.hist_data["profits"] = list(episode.agent_rewards.values())

    def on_sample_end(self, *, worker: Any, samples: Any, **kwargs: Any) -> None:
        samples.policy_batches["bidder"]["seen"] = np.ones(samples.agent_steps())


@pytest.mark.usefixtures("ray_session")
def test_callbacks_and_their_metrics_are_reported() -> None:
    config = _config(PPOConfig).callbacks(make_multi_callbacks([Notes, AuxiliaryLabels]))
    config.env_runners(rollout_fragment_length=200).training(train_batch_size=400)
    algo = config.build_algo()
    try:
        assert "seen" in algo.env_runner.sample().policy_batches["bidder"]
        found = algo.train()["env_runners"]
    finally:
        algo.stop()
    assert found["num_episodes"] > 1 and found["episode_len_mean"] > 1
    assert found["custom_metrics"]["double_mean"] == pytest.approx(2 * found["episode_return_mean"])
    assert len(found["hist_stats"]["profits"]) == 12 * found["num_episodes"]
    mean = np.mean(found["hist_stats"]["profits"])
    assert found["policy_reward_mean"]["bidder"] == pytest.approx(mean)


class Steps(RLlibCallback):
    def on_episode_step(self, **kwargs: Any) -> None:
        """Would never be called."""


HEADS = {"won": {"given_action": True}, "converted": {"horizon": 3}}


@pytest.mark.parametrize("reward", ["sampled", "regret"])
@pytest.mark.parametrize("worker", [ArrayRolloutWorker, FaultReportingWorker])
@pytest.mark.usefixtures("ray_session")
def test_labels_of_auxiliary_heads_say_what_happened(worker: Any, reward: str) -> None:
    """Winning costs, which the next observation tells; and a step's next step is the next one's."""
    config = _config(PPOConfig, worker, auxiliary=HEADS, prev_reward=False)
    config.environment(env_config={"num_users": 12, "preset": "display", "reward": reward})
    config.callbacks(AuxiliaryLabels).env_runners(rollout_fragment_length=200)
    algo = config.training(train_batch_size=400).build_algo()
    try:
        batch = algo.env_runner.sample().policy_batches["bidder"]
        learned = algo.train()["info"]["learner"]["bidder"]["model"]
    finally:
        algo.stop()
    assert learned.keys() == {"auxiliary_won_loss", "auxiliary_converted_loss"}
    won, converted = (batch[label_column(name)] for name in ("won", "converted"))
    assert won.shape[1:] == (1, 3) and converted.shape[1:] == (3, 3)
    stream = np.stack([batch["eps_id"], batch["agent_index"]])
    now = np.flatnonzero((stream[:, 1:] == stream[:, :-1]).all(0))
    paid = batch["obs"][now + 1, 5] < 0
    np.testing.assert_array_equal(won[now, 0, 0] > 0, paid)
    assert 0 < paid.sum() < len(paid)
    survival = won.sum((1, 2))
    np.testing.assert_allclose(converted[:, 0].sum(1), survival, rtol=1e-6)
    assert (survival[batch["t"] == 0] == 1).all() and (survival.min() < 1) == (reward == "regret")
    on = converted[now, 0, 2] / survival[now + 1]
    np.testing.assert_allclose(converted[now, 1], on[:, None] * converted[now + 1, 0], atol=1e-6)
    last = batch["terminateds"]
    assert not converted[last, 0, 2].any() and not converted[last, 1:].any() and last.any()


@pytest.mark.usefixtures("ray_session")
def test_heads_for_what_the_auction_does_not_tell_are_refused() -> None:
    algo = _config(PPOConfig, auxiliary={"bought": {}}).build_algo()
    try:
        with pytest.raises(UserError, match="'bought' names no event .* clicked, converted, won"):
            algo.env_runner.sample()
    finally:
        algo.stop()


def _cartpole(config: Any) -> None:
    config.environment(MultiAgentCartPole)
    config.env_config = {"num_agents": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_cartpole, "with a method array_env, and MultiEnv has none"),
        (lambda c: c.env_runners(batch_mode="complete_episodes"), "batch_mode='complete_episodes'"),
        (lambda c: c.callbacks(Steps), "never calls on_episode_step, which Steps defines"),
    ],
    ids=["environment", "batch-mode", "callbacks"],
)
@pytest.mark.usefixtures("ray_session")
def test_what_it_cannot_play_is_refused(change: Any, message: str) -> None:
    config = _config(PPOConfig)
    change(config)
    with pytest.raises(UserError, match=message) as error:
        config.build_algo()
    assert "env_runner_cls" in str(error.value)

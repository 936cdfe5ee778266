"""The array runner is RLlib's runner, only faster: the same episodes, and all algorithms learn."""

import time
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.examples.envs.classes.multi_agent import MultiAgentCartPole

import rllib_seq  # noqa: F401, names the environment
from rllib_seq.config import AuxiliaryHead
from rllib_seq.errors import UserError
from rllib_seq.models import use_sequence_module
from rllib_seq.models.event_labels import labels_from_infos
from rllib_seq.q_learning import EpsilonLadder, use_sequence_q_learning
from rllib_seq.rollouts import ArrayEnvRunner, FaultReportingMultiAgentEnvRunner

SMALL: dict[str, Any] = {
    "window_length": 4,
    "d_model": 8,
    "num_heads": 2,
    "feedforward_dim": 8,
    "head_hidden": 8,
    "dropout": 0.0,
}


def _config(
    algorithm: Any, runner: Any = ArrayEnvRunner, encoder: str = "window", **training: Any
) -> Any:
    config = algorithm().environment(
        "multi_user_ad_auction", env_config={"num_users": 12, "preset": "display"}
    )
    config.multi_agent(
        policies={"bidder"},
        policy_mapping_fn=lambda agent_id, *args, **kwargs: "bidder",
        count_steps_by="agent_steps",
    )
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=2, env_runner_cls=runner)
    config.training(**training).reporting(
        min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=1
    )
    config.debugging(seed=0).rl_module(model_config={"max_seq_len": 5})
    if algorithm is DQNConfig:
        config.training(train_batch_size=16, num_steps_sampled_before_learning_starts=20)
        return use_sequence_q_learning(config, EpsilonLadder(), **SMALL, encoder=encoder)
    config.training(train_batch_size_per_learner=100)
    if algorithm is PPOConfig:
        config.training(minibatch_size=50, num_epochs=1)
    return use_sequence_module(config, **SMALL, encoder=encoder)


def _journeys(episode: Any) -> dict[str, Any]:
    return {
        agent: (
            # What is seen after the end is never acted on nor valued.
            np.asarray(part.get_observations())[:-1].tolist(),
            np.asarray(part.get_actions()).tolist(),
            part.is_terminated,
            part.module_id,
            np.asarray(part.get_rewards()),
        )
        for agent, part in episode.agent_episodes.items()
        if len(part)
    }


@pytest.mark.parametrize("encoder", ["window", "causal", "lstm"])
@pytest.mark.usefixtures("ray_session")
def test_episodes_are_those_of_rllibs_runner(encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same weights, same campaigns, greedy: step for step what RLlib's runner plays."""
    for adapter in (
        "rllib_seq.envs.ad_auction.multi_agent_env",
        "rllib_seq.envs.ad_auction.array_env",
    ):
        monkeypatch.setattr(f"{adapter}.campaign_seed", lambda rng: 123)
    played, weights = [], None
    for runner in (ArrayEnvRunner, FaultReportingMultiAgentEnvRunner):
        algo = _config(PPOConfig, runner, encoder).build_algo()
        try:
            module = algo.env_runner.module["bidder"]
            with torch.no_grad():
                module.policy.head.weight.mul_(300.0)
            weights = weights or module.state_dict()
            module.load_state_dict(weights)
            played.append(algo.env_runner.sample(num_episodes=1, explore=False)[0])
        finally:
            algo.stop()
    arrays, stock = (_journeys(episode) for episode in played)
    assert len({action for journey in arrays.values() for action in journey[1]}) > 1
    assert arrays.keys() == stock.keys()
    for agent, journey in stock.items():
        assert arrays[agent][:-1] == journey[:-1]
        assert arrays[agent][-1] == pytest.approx(journey[-1], abs=1e-6)
    assert len(played[0]) == len(played[1])  # ticks
    assert played[0].agent_steps() == played[1].agent_steps()


@pytest.mark.parametrize("reward", ["sampled", "regret"])
@pytest.mark.usefixtures("ray_session")
def test_labels_of_auxiliary_heads_are_those_of_rllibs_runner(
    reward: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for adapter in (
        "rllib_seq.envs.ad_auction.multi_agent_env",
        "rllib_seq.envs.ad_auction.array_env",
    ):
        monkeypatch.setattr(f"{adapter}.campaign_seed", lambda rng: 123)
    heads = {"won": AuxiliaryHead(), "converted": AuxiliaryHead(3)}
    world = {"num_users": 12, "preset": "display", "reward": reward}
    labels = []
    for runner in (ArrayEnvRunner, FaultReportingMultiAgentEnvRunner):
        config = _config(PPOConfig, runner).environment(env_config=world)
        # The greedy bid of a fresh network: weights are of one seed.
        algo = use_sequence_module(config, **SMALL, auxiliary=heads).build_algo()
        try:
            episode = algo.env_runner.sample(num_episodes=1, explore=False)[0]
            if runner is ArrayEnvRunner:
                learned = algo.train()["learners"]["bidder"]
                assert np.isfinite(learned["auxiliary_converted_loss"])
        finally:
            algo.stop()
        labels.append(
            {
                agent: labels_from_infos(part.get_infos(), part.is_terminated, heads)
                for agent, part in episode.agent_episodes.items()
                if len(part)
            }
        )
    arrays, stock = labels
    assert arrays.keys() == stock.keys()
    for agent, wanted in stock.items():
        for name in heads:
            np.testing.assert_allclose(arrays[agent][name], wanted[name], atol=1e-6)
    assert any(wanted["won"][:, 0, 0].any() for wanted in stock.values())


@pytest.mark.parametrize("encoder", ["window", "causal"])
@pytest.mark.usefixtures("ray_session")
def test_training_recomputes_what_was_recorded(encoder: str) -> None:
    algo = _config(PPOConfig, encoder=encoder).build_algo()
    try:
        learner = algo.learner_group._learner
        module = learner.module["bidder"]
        with torch.no_grad():
            module.policy.head.weight.mul_(100.0)
        algo.env_runner.module["bidder"].load_state_dict(module.state_dict(), strict=False)
        batch = learner._learner_connector(
            rl_module=learner.module, batch={}, episodes=algo.env_runner.sample(), shared_data={}
        )["bidder"]
        with torch.no_grad():
            outputs = module.forward_train(batch)[Columns.ACTION_DIST_INPUTS]
        logp = module.get_train_action_dist_cls().from_logits(outputs).logp(batch["actions"])
        real = batch[Columns.LOSS_MASK]
        assert torch.allclose(logp[real], batch[Columns.ACTION_LOGP][real], atol=1e-4)
        assert logp[real].std() > 1e-3
        if encoder == "causal":
            started = batch[Columns.STATE_IN]["length"].flatten()
            assert set(started.tolist()) == {0.0, 3.0}  # sequences of five steps
            with torch.no_grad():
                values = module.compute_values(batch)[real]
                batch[Columns.STATE_IN]["value_hidden"].zero_()
                assert not torch.allclose(module.compute_values(batch)[real], values)
    finally:
        algo.stop()


@pytest.mark.parametrize(
    ("algorithm", "remote", "encoder"),
    [
        (PPOConfig, 0, "window"),
        (APPOConfig, 0, "window"),
        (DQNConfig, 0, "window"),
        (PPOConfig, 1, "causal"),
        (DQNConfig, 0, "causal"),
    ],
    ids=["ppo", "appo", "dqn", "ppo-causal-remote", "dqn-causal"],
)
@pytest.mark.usefixtures("ray_session")
def test_it_trains(algorithm: Any, remote: int, encoder: str) -> None:
    algo = _config(algorithm, encoder=encoder).env_runners(num_env_runners=remote).build_algo()
    try:
        deadline = time.monotonic() + 600
        learned: dict[str, Any] = {}
        while not {"total_loss", "qf_loss"} & learned.keys():
            assert time.monotonic() < deadline, "no learner results within ten minutes"
            result = algo.train()
            learned = result.get("learners", {}).get("bidder", learned)
            time.sleep(0.02)  # leave the core to runner and learner
        assert np.isfinite(learned.get("qf_loss", learned.get("total_loss")))
        runners = result["env_runners"]
        assert np.isfinite(runners["episode_return_mean"])
        assert runners["num_env_steps_sampled_lifetime"] > 0
    finally:
        algo.stop()


def _note(*, episode: Any, metrics_logger: Any, **kwargs: Any) -> None:
    metrics_logger.log_value("double", 2 * episode.get_return(), reduce="mean", window=100)


@pytest.mark.usefixtures("ray_session")
def test_callbacks_and_their_metrics_are_reported() -> None:
    config = _config(PPOConfig)
    algo = config.callbacks(on_episode_end=_note).build_algo()
    try:
        found = algo.train()["env_runners"]
    finally:
        algo.stop()
    assert found["double"] == pytest.approx(2 * found["episode_return_mean"])
    config = _config(PPOConfig).callbacks(on_episode_start=_note)
    with pytest.raises(UserError, match="never calls on_episode_start, which the config defines"):
        config.build_algo()


@pytest.mark.usefixtures("ray_session")
def test_other_environments_are_refused() -> None:
    config = _config(PPOConfig).environment(MultiAgentCartPole)
    config.env_config = {"num_agents": 2}
    with pytest.raises(UserError, match="a method array_env, and .* has none .*env_runner_cls"):
        config.build_algo()


@pytest.mark.parametrize("model", ["lstm", "mlp"])
@pytest.mark.usefixtures("ray_session")
def test_advertisers_of_one_market_are_played_as_by_rllibs_runner(model: str) -> None:
    """Real-numbered bids, rewards at once; our module and one of RLlib's own."""
    played, weights = [], None
    for runner in (ArrayEnvRunner, FaultReportingMultiAgentEnvRunner):
        config = PPOConfig().environment("shared_market_auction", env_config={"requests": 6})
        config.multi_agent(policies={"one"}, policy_mapping_fn=lambda *args, **kwargs: "one")
        config.env_runners(
            batch_mode="complete_episodes", num_env_runners=0, num_envs_per_env_runner=2
        )
        config.training(train_batch_size_per_learner=24, minibatch_size=12, num_epochs=1)
        config.env_runners(env_runner_cls=runner).debugging(seed=4)
        config.rl_module(model_config={"max_seq_len": 4, "fcnet_hiddens": [8]})
        if model != "mlp":
            use_sequence_module(config, **SMALL, encoder=model)
        made = runner(config=config, worker_index=0)
        weights = weights or made.module["one"].state_dict()
        made.module["one"].load_state_dict(weights)
        played.append(sorted(made.sample(explore=False), key=lambda e: e.get_return()))
        if runner is ArrayEnvRunner:
            algo = config.build_algo()
            try:
                learned = algo.train()["learners"]["one"]
            finally:
                algo.stop()
            assert np.isfinite(learned["total_loss"])
    arrays, stock = played
    assert len(arrays) == len(stock) == 2
    for one, other in zip(arrays, stock, strict=True):
        assert one.is_terminated and len(one) == len(other) == 6
        for agent, part in other.agent_episodes.items():
            same = one.agent_episodes[agent]
            for read in ("get_observations", "get_actions", "get_rewards"):
                left, right = (np.asarray(getattr(e, read)()) for e in (same, part))
                np.testing.assert_allclose(left, right, atol=1e-5)

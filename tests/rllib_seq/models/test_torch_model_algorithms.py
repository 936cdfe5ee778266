"""Algorithms of the old API stack besides PPO train "lstm_transformer"."""

import time
from typing import Any

import numpy as np
import pytest
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.impala import IMPALAConfig

import rllib_seq

SMALL = {"window_length": 4, "d_model": 8, "num_heads": 2, "feedforward_dim": 8, "head_hidden": 8}


@pytest.mark.parametrize("algorithm", [APPOConfig, IMPALAConfig])
@pytest.mark.parametrize("multi_agent", [False, True], ids=["cartpole", "auction"])
@pytest.mark.usefixtures("ray_session")
def test_asynchronous_algorithms_learn(algorithm: Any, multi_agent: bool) -> None:
    rllib_seq.register()
    config = algorithm().api_stack(
        enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False
    )
    if multi_agent:
        config.environment("multi_user_ad_auction", env_config={"num_users": 12}).multi_agent(
            policies={"bidder"}, policy_mapping_fn=lambda agent_id, *args, **kwargs: "bidder"
        )
    else:
        config.environment("CartPole-v1")
    config.env_runners(num_env_runners=1, rollout_fragment_length=20)
    config.resources(num_gpus=0)  # IMPALA asks for one
    config.reporting(min_time_s_per_iteration=0)
    config.training(
        train_batch_size=40,
        model={
            "custom_model": "lstm_transformer",
            "custom_model_config": SMALL,
            "max_seq_len": 10,
        },
    )
    name = "bidder" if multi_agent else "default_policy"
    algo = config.build_algo()
    try:
        deadline = time.monotonic() + 600
        learned: dict[str, Any] = {}
        while "total_loss" not in learned:  # iterations may end without any
            assert time.monotonic() < deadline, "no learner results within ten minutes"
            results = algo.train()["info"]["learner"]
            time.sleep(0.05)  # leave the core to the runner
            learned = results.get(name, {}).get("learner_stats", learned)
        assert np.isfinite(learned["total_loss"])
    finally:
        algo.stop()

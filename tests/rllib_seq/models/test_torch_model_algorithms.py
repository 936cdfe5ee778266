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
@pytest.mark.usefixtures("ray_session")
def test_asynchronous_algorithms_learn(algorithm: Any) -> None:
    """One stream, in this process; tests/test_tune_configs.py has auctions and remote workers."""
    rllib_seq.register()
    config = algorithm().api_stack(
        enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False
    )
    config.environment("CartPole-v1")
    config.env_runners(num_env_runners=0, rollout_fragment_length=20)
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
    algo = config.build_algo()
    try:
        deadline = time.monotonic() + 600
        learned: dict[str, Any] = {}
        while "total_loss" not in learned:  # iterations may end without any
            assert time.monotonic() < deadline, "no learner results within ten minutes"
            results = algo.train()["info"]["learner"]
            learned = results.get("default_policy", {}).get("learner_stats", learned)
        assert np.isfinite(learned["total_loss"])
    finally:
        algo.stop()

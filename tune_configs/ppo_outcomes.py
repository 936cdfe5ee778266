"""PPO from outcomes alone in the multi-user ad auction, with the advantages of all bids at once.

The world of `tune_configs.lift`. A critic learns what a user is worth and what winning adds, and
counts what bids win and pay; the policy follows the mean over all bids instead of the luck of one.
"""

from typing import TypeVar

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

import rllib_seq  # noqa: F401, registers the model and the environment
from rllib_seq.lift import OutcomePPOConfig

Config = TypeVar("Config", bound=AlgorithmConfig)


def from_outcomes(config: Config) -> Config:
    """World, model and boldness: what PPO, APPO and IMPALA from outcomes share."""
    return (
        config.environment(
            "multi_user_ad_auction",
            env_config={
                "preset": "journey",
                "num_users": 128,
                "reward": "sampled",
                "enforce_budget": False,  # see tune_configs.lift
            },
        )
        .env_runners(num_env_runners=2)
        .training(
            model={
                "custom_model": "lstm_transformer",
                "custom_model_config": {
                    "encoder": "lstm",
                    "d_model": 128,
                    "lstm_layers": 1,
                    "head_hidden": 128,
                    "dropout": 0.0,
                    # The critic's features are the policy's, too.
                    "share_encoder": True,
                    "prev_action": False,
                    "prev_reward": False,
                },
            },
            num_epochs=6,
            # By bid requests seen: bold for the first minutes, careful in long runs.
            lr=1e-3,
            lr_schedule=[[0, 1e-3], [1_000_000, 5e-4], [3_000_000, 5e-5]],
            # In units of the highest bid.
            entropy_coeff=0.03,
            entropy_coeff_schedule=[[0, 0.03], [200_000, 0.003]],
        )
        .reporting(metrics_num_episodes_for_smoothing=16)
    )


config = (
    from_outcomes(OutcomePPOConfig())
    .env_runners(num_envs_per_env_runner=2)
    .training(
        train_batch_size=4800,
        minibatch_size=2400,  # a hundred journeys
        clip_param=0.3,
    )
)

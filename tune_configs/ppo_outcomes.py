"""PPO from outcomes alone in the multi-user ad auction, with the advantages of all bids at once.

The world of `tune_configs.lift`. A critic learns what a user is worth and what winning adds, and
counts what bids win and pay; the policy follows the mean over all bids instead of the luck of one.
"""

from typing import TypeVar

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_seq.lift import OutcomePPOConfig
from rllib_seq.tune_configs.lift import LEARNING_RATES, MODEL, WORLD

Config = TypeVar("Config", bound=AlgorithmConfig)


def from_outcomes(config: Config) -> Config:
    """World, model and boldness: what PPO, APPO and IMPALA from outcomes share."""
    return (
        config.environment("multi_user_ad_auction", env_config={**WORLD, "num_users": 128})
        .env_runners(num_env_runners=2)
        .training(
            model={
                "custom_model": "lstm_transformer",
                # The critic's features are the policy's, too.
                "custom_model_config": {**MODEL, "share_encoder": True},
            },
            num_epochs=6,
            lr=1e-3,
            lr_schedule=LEARNING_RATES,
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

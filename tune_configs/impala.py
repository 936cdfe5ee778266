"""IMPALA with the LSTM + Transformer model in the multi-user ad auction.

Asynchronous like `tune_configs.appo`, with the plain policy gradient that V-trace corrects instead
of PPO's clipped one: the cheapest update, for the most workers.
"""

from ray.rllib.algorithms.impala import IMPALAConfig

from rllib_seq.tune_configs.ppo import in_the_auction

config = (
    in_the_auction(IMPALAConfig())
    .env_runners(rollout_fragment_length=96)  # as in tune_configs/appo.py
    .resources(num_gpus=0)  # RLlib's default asks for one
    .training(
        train_batch_size=16,
        grad_clip=200.0,  # of losses that are summed over a batch, all alike
    )
    .reporting(min_time_s_per_iteration=2)
)

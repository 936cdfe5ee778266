"""IMPALA with the LSTM + Transformer model in the multi-user ad auction.

Asynchronous like `tune_configs.appo`, with the plain policy gradient that V-trace corrects instead
of PPO's clipped one: the cheapest update, for the most workers.
"""

from ray.rllib.algorithms.impala import IMPALAConfig

from tune_configs.ppo import in_the_auction

config = (
    in_the_auction(IMPALAConfig())
    .env_runners(rollout_fragment_length=96)  # as in tune_configs/appo.py
    .resources(num_gpus=0)  # RLlib's default asks for one
    .training(
        train_batch_size=16,
        lr=1e-3,
        lr_schedule=[[0, 1e-3], [600_000, 1e-4], [2_000_000, 2e-5]],
        # As in PPO; but here losses are summed over a batch, all alike.
        entropy_coeff=0.6,
        entropy_coeff_schedule=[[0, 0.6], [600_000, 0.1], [2_000_000, 0.05]],
        vf_loss_coeff=0.2,
        grad_clip=200.0,
    )
    .reporting(min_time_s_per_iteration=2)
)

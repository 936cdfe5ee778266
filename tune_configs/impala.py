"""IMPALA with the LSTM + Transformer model in the multi-user ad auction.

Asynchronous like `tune_configs.appo`, with the plain policy gradient that V-trace corrects instead
of PPO's clipped one: the cheapest update, for the most workers.
"""

from ray.rllib.algorithms.impala import IMPALAConfig

from tune_configs.ppo import in_the_auction

config = (
    in_the_auction(IMPALAConfig())
    .env_runners(rollout_fragment_length=384)
    .resources(num_gpus=0)  # RLlib's default asks for one
    .training(
        train_batch_size=1536,
        lr=5e-4,
        # As in tune_configs/appo.py; here losses are summed over a batch, all alike.
        entropy_coeff=3e-3,
        entropy_coeff_schedule=[[0, 3e-3], [600_000, 5e-4], [2_000_000, 2.5e-4]],
        vf_loss_coeff=5.0,
        grad_clip=5.0,
    )
    .reporting(min_time_s_per_iteration=2)
)

"""APPO with the LSTM + Transformer model in the multi-user ad auction.

The same world, model and rollouts as `tune_configs.ppo`, but workers do not wait for the learner
nor the learner for them: for many workers, of which some are slow. On two cores PPO learns more.
"""

from ray.rllib.algorithms.appo import APPOConfig

from tune_configs.ppo import in_the_auction

config = (
    in_the_auction(APPOConfig())
    # Shorter than PPO's: what was sampled by old weights counts for less.
    .env_runners(rollout_fragment_length=384)
    .resources(num_gpus=0)  # RLlib's default asks for one
    .training(
        train_batch_size=1536,
        num_epochs=1,
        lr=5e-4,
        clip_param=0.2,
        use_kl_loss=False,
        # As bold as PPO's: APPO does not scale advantages, and those of regrets are about .005.
        entropy_coeff=3e-3,
        entropy_coeff_schedule=[[0, 3e-3], [600_000, 5e-4], [2_000_000, 2.5e-4]],
        vf_loss_coeff=5.0,
        grad_clip=0.5,
    )
    .reporting(min_time_s_per_iteration=2)
)

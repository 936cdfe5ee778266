"""APPO with the LSTM + Transformer model in the multi-user ad auction.

The same world, model and rollouts as `tune_configs.ppo`, but workers do not wait for the learner
nor the learner for them: for many workers, of which some are slow.
"""

from ray.rllib.algorithms.appo import APPOConfig

from rllib_seq.tune_configs.ppo import in_the_auction

config = (
    in_the_auction(APPOConfig())
    # Shorter than PPO's: what was sampled by old weights counts for less. Every fragment, of 384
    # requests in four campaigns, is a batch; RLlib counts ticks of the auction here, not requests.
    .env_runners(rollout_fragment_length=96)
    .resources(num_gpus=0)  # RLlib's default asks for one
    .training(
        train_batch_size=16,
        num_epochs=2,
        minibatch_buffer_size=4,
        clip_param=0.2,
        use_kl_loss=False,
        grad_clip=0.5,
    )
    .reporting(min_time_s_per_iteration=2)
)

"""The config of `--preset log`, small enough for a test."""

from rllib_seq.tune_configs.ppo_log import config

config = config.copy(copy_frozen=False)
config.env_runners(num_env_runners=0, num_envs_per_env_runner=4, rollout_fragment_length=32)
settings = {**config.model["custom_model_config"], "d_model": 8, "num_heads": 2}
config.training(
    model={**config.model, "custom_model_config": {**settings, "transformer_layers": 1}},
    train_batch_size=128,
    minibatch_size=64,
    num_epochs=1,
)

"""`tune_configs.ppo`, small enough for a test."""

from rllib_seq.tune_configs.ppo import config

config = config.copy(copy_frozen=False)
config.environment(env_config={"preset": "journey", "num_users": 24, "reward": "regret"})
config.env_runners(
    num_env_runners=1, num_envs_per_env_runner=1, rollout_fragment_length=256, env_runner_cls=None
)
config.training(
    model={
        "custom_model": "lstm_transformer",
        "custom_model_config": {
            "window_length": 4,
            "d_model": 8,
            "num_heads": 2,
            "transformer_layers": 1,
            "lstm_layers": 1,
            "prev_reward": False,
            "auxiliary": {"won": {"given_action": True}, "converted": {"horizon": 8}},
        },
        "max_seq_len": 24,
    },
    train_batch_size=256,
    minibatch_size=128,
    num_epochs=1,
)

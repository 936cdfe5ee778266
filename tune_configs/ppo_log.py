"""PPO with the LSTM + Transformer model on a log of real auctions; `rllib-seq train --preset log`.

The campaign's bidding history is one stream: what is learned is how to pace a budget. Clicks are
far too rare to learn from, so a win earns its click probability, estimated from the training days,
and actions are multipliers of the linear bid. See docs/environments/replay.md.
"""

from ray.rllib.algorithms.ppo import PPOConfig

import rllib_seq  # noqa: F401, registers the model and the environment
from rllib_seq.rollouts import ArrayRolloutWorker

config = (
    PPOConfig()
    # TorchModelV2 lives on the old API stack.
    .api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False)
    .framework("torch")
    # The log itself comes from the command line, or as "log": [paths].
    .environment("auction_log", env_config={"reward": "regret"})
    .env_runners(
        num_env_runners=2,
        env_runner_cls=ArrayRolloutWorker,
        # Many episodes at a time, a short piece of each: a batch sees all hours and budgets.
        num_envs_per_env_runner=64,
        rollout_fragment_length=32,
        batch_mode="truncate_episodes",
    )
    .training(
        model={
            "custom_model": "lstm_transformer",
            "custom_model_config": {
                "window_length": 4,
                "d_model": 32,
                "feedforward_dim": 64,
                "head_hidden": 64,
                "lstm_layers": 1,
                "transformer_layers": 1,
                "dropout": 0.0,
            },
            "max_seq_len": 32,
        },
        train_batch_size=4096,
        minibatch_size=1024,
        num_epochs=3,
        lr=1e-3,
        lr_schedule=[[0, 1e-3], [100_000, 1e-3], [400_000, 1e-4]],
        # A regret prices the rest of the budget already: every bid can be learned by itself.
        gamma=0.0,
        lambda_=0.0,
        clip_param=0.2,
        use_kl_loss=False,
        entropy_coeff=0.003,
        entropy_coeff_schedule=[[0, 0.003], [100_000, 0.0]],
        vf_loss_coeff=1.0,
        vf_clip_param=float("inf"),
        grad_clip=0.5,
    )
    .reporting(metrics_num_episodes_for_smoothing=32)
)

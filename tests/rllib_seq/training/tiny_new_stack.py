"""The same for RLlib's new API stack, small enough for a test."""

from ray.rllib.algorithms.ppo import PPOConfig

from rllib_seq.models import use_sequence_module

config = (
    PPOConfig()
    .environment(
        "multi_user_ad_auction",
        env_config={"preset": "journey", "num_users": 24, "reward": "regret"},
    )
    .multi_agent(
        policies={"bidder"},
        policy_mapping_fn=lambda agent_id, *args, **kwargs: "bidder",
        count_steps_by="agent_steps",
    )
    .env_runners(num_env_runners=1)
    .training(
        train_batch_size_per_learner=256,
        minibatch_size=128,
        num_epochs=1,
        gamma=1.0,
        grad_clip=0.5,
    )
)
use_sequence_module(
    config,
    window_length=4,
    d_model=8,
    num_heads=2,
    transformer_layers=1,
    lstm_layers=1,
    prev_reward=False,
    auxiliary={"won": {"given_action": True}, "converted": {"horizon": 8}},
)

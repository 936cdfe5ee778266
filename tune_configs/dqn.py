"""DQN with the sequential Q network in the multi-user ad auction, on RLlib's new API stack.

Every user is an agent; replay stores each request once and rebuilds its window when it is
drawn. Each journey explores in its own way, from its first request to its last.
"""

from typing import Any

from ray.rllib.algorithms.dqn import DQNConfig

import rllib_seq  # noqa: F401, registers the environment
from rllib_seq.q_learning import EpsilonLadder, use_sequence_q_learning
from rllib_seq.rollouts import ArrayEnvRunner

SEQUENCE: dict[str, Any] = {
    "window_length": 8,
    "d_model": 32,
    "feedforward_dim": 64,
    "head_hidden": 64,
    "dropout": 0.0,
    # The training reward would leak the hidden stage, see tune_configs/ppo.py.
    "prev_reward": False,
}


def rainbow() -> DQNConfig:
    """Everything but the sequences and how they explore."""
    return (
        DQNConfig()
        .environment(
            "multi_user_ad_auction",
            env_config={
                "preset": "journey",
                "num_users": 128,
                "reward": "regret",
                "reward_scale": 300.0,  # see tune_configs/ppo.py
            },
        )
        .multi_agent(
            policies={"bidder"},
            policy_mapping_fn=lambda agent_id, *args, **kwargs: "bidder",
            count_steps_by="agent_steps",
        )
        .env_runners(
            num_env_runners=0,
            num_envs_per_env_runner=2,
            # All users of a tick in one forward pass; without it, RLlib's own runner plays.
            env_runner_cls=ArrayEnvRunner,
            # Requests of one campaign (128 users x 24), for `training_intensity` alone: campaigns
            # are played to their end.
            rollout_fragment_length=3072,
        )
        .training(
            lr=1e-3,
            gamma=0.9,  # a regret prices the future already; what is left is what a bid teaches
            n_step=3,
            double_q=True,
            dueling=True,
            train_batch_size=512,
            training_intensity=4,  # every request is learned from four times
            num_steps_sampled_before_learning_starts=3072,
            target_network_update_freq=0,  # every update, a little
            tau=0.01,
            grad_clip=10.0,
            td_error_loss_fn="mse",  # the mean is what counts, and regrets have long tails
            epsilon=[(0, 1.0), (5_000, 0.05)],  # by ticks; where there is no ladder and no noise
            replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": 200_000},
        )
        .reporting(
            min_time_s_per_iteration=0,
            min_sample_timesteps_per_iteration=1,
            metrics_num_episodes_for_smoothing=16,
        )
    )


config = use_sequence_q_learning(rainbow(), EpsilonLadder(), **SEQUENCE)

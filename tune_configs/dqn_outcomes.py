"""DQN from outcomes alone in the multi-user ad auction, with the structure of an auction.

The world of `tune_configs.lift` on RLlib's new API stack. Q of every bid level follows from two
numbers per step and from prices that are counted; replay rebuilds windows as in `tune_configs.dqn`.

    rllib-seq train dqn_outcomes --stop-steps 100000
    rllib-seq train dqn_outcomes --offline records
"""

from rllib_seq.lift.dqn import OutcomeDQNConfig, use_outcome_q_learning
from rllib_seq.q_learning import EpsilonLadder
from rllib_seq.rollouts import ArrayEnvRunner
from rllib_seq.tune_configs.lift import WORLD

config = use_outcome_q_learning(
    OutcomeDQNConfig()
    .environment("multi_user_ad_auction", env_config={**WORLD, "num_users": 128})
    .env_runners(
        num_env_runners=0,
        num_envs_per_env_runner=2,
        env_runner_cls=ArrayEnvRunner,
        rollout_fragment_length=3072,  # see tune_configs.dqn
    )
    .training(
        lr=1e-3,
        n_step=5,
        train_batch_size=512,
        training_intensity=4,
        num_steps_sampled_before_learning_starts=3072,
        target_network_update_freq=0,
        tau=0.01,
        grad_clip=10.0,
        td_error_loss_fn="mse",
    )
    .reporting(
        min_time_s_per_iteration=0,
        min_sample_timesteps_per_iteration=1,
        metrics_num_episodes_for_smoothing=16,
    ),
    EpsilonLadder(),
    window_length=12,
    d_model=32,
    feedforward_dim=64,
    head_hidden=64,
    dropout=0.0,
    prev_action=False,
    prev_reward=False,
)

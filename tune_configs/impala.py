"""IMPALA with the LSTM + Transformer model in the multi-user ad auction.

Asynchronous like `tune_configs.appo`, with the plain policy gradient that V-trace corrects instead
of PPO's clipped one: the cheapest update, for the most workers.
"""

from ray.rllib.algorithms.impala import IMPALAConfig

import tune_configs.ppo as ppo
from rllib_seq.rollouts import ArrayRolloutWorker

config = (
    IMPALAConfig()
    .api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False)
    .framework("torch")
    # Advantages are not scaled to 1 here: the step sizes below are for regrets as they are.
    .environment(ppo.config.env, env_config={**ppo.config.env_config, "reward_scale": 1.0})
    .multi_agent(
        policies={"bidder"},
        policy_mapping_fn=lambda agent_id, *args, **kwargs: "bidder",
        count_steps_by="agent_steps",
    )
    .env_runners(
        num_env_runners=2,
        env_runner_cls=ArrayRolloutWorker,
        num_envs_per_env_runner=4,
        rollout_fragment_length=384,
        batch_mode="truncate_episodes",
    )
    .resources(num_gpus=0)  # RLlib's default asks for one
    .training(
        model=ppo.config.model,
        train_batch_size=1536,
        lr=5e-4,
        gamma=1.0,
        # IMPALA sums over a batch where PPO averages, and does not scale advantages.
        entropy_coeff=2e-4,
        vf_loss_coeff=1.0,
        grad_clip=5.0,
    )
    .reporting(min_time_s_per_iteration=2, metrics_num_episodes_for_smoothing=16)
)

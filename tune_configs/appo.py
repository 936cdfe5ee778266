"""APPO with the LSTM + Transformer model in the multi-user ad auction.

The same world, model and rollouts as `tune_configs.ppo`, but workers do not wait for the learner
nor the learner for them: for many workers, of which some are slow. On two cores PPO learns more.
"""

from ray.rllib.algorithms.appo import APPOConfig

import tune_configs.ppo as ppo
from rllib_seq.rollouts import ArrayRolloutWorker

config = (
    APPOConfig()
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
        # Shorter than PPO's: what was sampled by old weights counts for less.
        rollout_fragment_length=384,
        batch_mode="truncate_episodes",
    )
    .resources(num_gpus=0)  # RLlib's default asks for one
    .training(
        model=ppo.config.model,
        train_batch_size=1536,
        num_epochs=1,
        lr=5e-4,
        gamma=1.0,
        lambda_=0.5,
        clip_param=0.2,
        use_kl_loss=False,
        entropy_coeff=0.6,  # see tune_configs/ppo.py
        entropy_coeff_schedule=[[0, 0.6], [300_000, 0.3], [2_000_000, 0.1]],
        vf_loss_coeff=1000.0,  # regrets per request are about .003
        grad_clip=0.5,
    )
    .reporting(min_time_s_per_iteration=2, metrics_num_episodes_for_smoothing=16)
)

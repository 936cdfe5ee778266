"""APPO from outcomes alone in the multi-user ad auction, with the advantages of all bids at once.

As `tune_configs.ppo_outcomes`, but workers do not wait for the learner nor the learner for them:
for many workers, of which some are slow.
"""

from rllib_seq.lift import OutcomeAPPOConfig
from rllib_seq.tune_configs.ppo_outcomes import from_outcomes

config = (
    from_outcomes(OutcomeAPPOConfig())
    # A batch is what a worker plays in one go: a hundred journeys, as in PPO's minibatches.
    .env_runners(num_envs_per_env_runner=1)
    .training(clip_param=0.3)
    .reporting(min_time_s_per_iteration=2)
)

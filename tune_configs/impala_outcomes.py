"""IMPALA from outcomes alone in the multi-user ad auction, with the advantages of all bids at once.

Asynchronous like `tune_configs.appo_outcomes`, with the policy gradient itself instead of PPO's
clipped objective.
"""

from rllib_seq.lift import OutcomeIMPALAConfig
from rllib_seq.tune_configs.ppo_outcomes import from_outcomes

config = (
    from_outcomes(OutcomeIMPALAConfig())
    .env_runners(num_envs_per_env_runner=1)  # as in tune_configs/appo_outcomes.py
    .reporting(min_time_s_per_iteration=2)
)

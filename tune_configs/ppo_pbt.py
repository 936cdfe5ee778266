"""Population based training of `tune_configs.ppo`: trials that lag take over from the best ones.

    rllib-seq tune tune_configs.ppo_pbt --num-samples 4

A laggard copies weights, optimizer and settings of one of the best and goes on with the settings
a little changed: what comes out is a schedule, which no other search here finds. The first trial
is `config` as it stands, and is left alone.
"""

from ray import tune
from ray.tune.schedulers import PopulationBasedTraining

import rllib_seq.tune_configs.ppo as ppo

config = ppo.config.copy(copy_frozen=False)
config.env_runners(num_env_runners=0)  # a trial is one process
# Constant, for the population to change; schedules would win over them.
config.training(lr_schedule=None, entropy_coeff_schedule=None)

search_space = {
    "lr": tune.loguniform(3e-4, 3e-3),
    "entropy_coeff": tune.uniform(0.1, 0.8),
}

tune_config = tune.TuneConfig(
    metric="validation_profit",
    mode="max",
    num_samples=4,
    scheduler=PopulationBasedTraining(
        time_attr="steps",
        perturbation_interval=24_576,
        burn_in_period=24_576,
        hyperparam_mutations=search_space,
    ),
)

stop = {"steps": 300_000}

"""A sweep around `tune_configs.ppo` that learns from its trials: Optuna's tree-structured search.

    pip install "rllib-seq[optuna]"
    rllib-seq tune tune_configs.ppo_optuna --num-samples 20

For when trials are dear and many; for a handful, random search (`tune_configs.ppo_asha`) does as
well. The first trial is `config` as it stands.
"""

from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

import rllib_seq.tune_configs.ppo_pbt as population
from rllib_seq.training.sweeps.search_space import default_point

STEPS = 73_728

config = population.config.copy(copy_frozen=False)

search_space = {
    **population.search_space,
    "num_epochs": tune.randint(2, 9),
    "sequence_config": {"d_model": tune.choice([32, 48])},
}

tune_config = tune.TuneConfig(
    metric="validation_profit",
    mode="max",
    num_samples=20,
    max_concurrent_trials=4,  # more would be drawn before they can learn from each other
    search_alg=OptunaSearch(points_to_evaluate=[default_point(config, search_space)], seed=1),
    scheduler=ASHAScheduler(
        time_attr="steps", grace_period=STEPS // 3, reduction_factor=3, max_t=STEPS
    ),
)

stop = {"steps": STEPS}

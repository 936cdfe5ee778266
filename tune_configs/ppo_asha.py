"""A sweep around `tune_configs.ppo`: random search, in which ASHA stops early what lags behind.

    rllib-seq tune tune_configs.ppo_asha --num-samples 8

The first trial is `config` as it stands. A trial takes one CPU and samples in its own process, so
that as many trials run side by side as there are cores; the same module runs on a cluster.
"""

from ray import tune
from ray.tune.schedulers import ASHAScheduler

import rllib_seq.tune_configs.ppo as ppo

STEPS = 73_728  # 12 batches of `tune_configs.ppo`

config = ppo.config.copy(copy_frozen=False)
config.env_runners(num_env_runners=0)
# Constant, to be searched: schedules would win over them.
config.training(lr_schedule=None, entropy_coeff_schedule=None)

search_space = {
    "lr": tune.loguniform(3e-4, 4e-3),
    "entropy_coeff": tune.uniform(0.1, 0.8),
    "train_batch_size": tune.choice([3072, 6144]),
    "num_epochs": tune.choice([1, 2, 4]),
    "sequence_config": {"d_model": tune.choice([32, 48])},
}

tune_config = tune.TuneConfig(
    # Greedy bids on campaigns that neither training nor evaluation plays.
    metric="validation_profit",
    mode="max",
    num_samples=8,
    # Before a third of the steps, greedy bids are still the same for everybody: nothing to rank.
    scheduler=ASHAScheduler(
        time_attr="steps", grace_period=STEPS // 3, reduction_factor=3, max_t=STEPS
    ),
    time_budget_s=420,  # so that all of it, with the evaluation of the best, ends in ten minutes
)

stop = {"steps": STEPS}

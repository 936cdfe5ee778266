"""A sweep: search for the learning rate and the width that learn `Recall` fastest.

    rllib-seq tune examples/tutorials/sweep.py --num-samples 6

A sweep is a module with a `config`, a `search_space` and a `tune_config`. The search space, the
scheduler and the search are Ray Tune's own. The first trial has the values of `config`. The command
ends with a table of the trials, and with the run folder of the best one.
"""

from own_environment import config
from ray import tune
from ray.tune.schedulers import ASHAScheduler

config = config.copy(copy_frozen=False)

search_space = {
    "lr": tune.loguniform(3e-4, 1e-2),
    # Settings of the sequence model.
    "sequence_config": {"d_model": tune.choice([16, 32, 64])},
}

stop = {"steps": 16_384}

tune_config = tune.TuneConfig(
    metric="episode_return",
    mode="max",
    num_samples=6,
    # Of the trials that reach 4,096 steps, only the best quarter goes on.
    scheduler=ASHAScheduler(time_attr="steps", grace_period=4_096, max_t=stop["steps"]),
    time_budget_s=600,
)

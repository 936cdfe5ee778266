"""A sweep over the tiny config, small enough for a test."""

import importlib.util
from pathlib import Path

from ray import tune
from ray.tune.schedulers import ASHAScheduler

spec = importlib.util.spec_from_file_location("tiny", Path(__file__).with_name("tiny.py"))
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)

config = tiny.config.copy(copy_frozen=False)
config.env_runners(num_env_runners=0)
config.training(lr_schedule=None)

search_space = {
    "lr": tune.loguniform(1e-4, 1e-2),
    "sequence_config": {"window_length": tune.choice([2, 4])},
}

tune_config = tune.TuneConfig(
    metric="validation_profit",
    mode="max",
    num_samples=2,
    scheduler=ASHAScheduler(time_attr="steps", grace_period=250, reduction_factor=2, max_t=3000),
)

stop = {"steps": 3000}

"""A trial that goes on from another's checkpoint trains with its own settings.

- `own_settings`

Population based training copies checkpoints between trials and changes settings. RLlib's restore
brings the settings of the trial that wrote the checkpoint: on the old API stack all of a policy's
config, on the new one the learning rate of its optimizers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.utils import force_list
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME

_REMEMBERED = "rllib_seq_own_configs"


@contextlib.contextmanager
def own_settings(algorithm: Algorithm) -> Iterator[None]:
    """Restore an algorithm in here; it keeps the settings that it was built with."""
    workers = algorithm.env_runner_group
    if algorithm.config.enable_rl_module_and_learner:
        yield
        steps = algorithm.metrics.peek(
            (ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0
        )
        algorithm.learner_group.foreach_learner(_Rates(int(steps)))
        return
    workers.foreach_env_runner(_remember)
    yield
    workers.foreach_env_runner(_recall)


def _remember(worker: Any) -> None:
    configs = {name: policy.config for name, policy in worker.policy_map.items()}
    setattr(worker, _REMEMBERED, configs)


def _recall(worker: Any) -> None:
    for name, config in getattr(worker, _REMEMBERED).items():
        policy = worker.policy_map[name]
        policy.config = config
        for optimizer in force_list(policy._optimizers):
            for group in optimizer.param_groups:
                group["lr"] = policy.cur_lr


class _Rates:
    """Gives the optimizers of a learner the rates of their schedules."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __call__(self, learner: Any, **kwargs: Any) -> None:
        for optimizer, schedule in learner._optimizer_lr_schedules.items():
            learner._set_optimizer_lr(optimizer, float(schedule.update(timestep=self.steps)))

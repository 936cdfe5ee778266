"""Rollout workers.

- `array_worker`, `array_env_runner`: step environments as arrays, many times faster than RLlib's
  own, on the old and on the new API stack
- `sampler`: how they play, without RLlib
- `worker`: RLlib's workers, which tell the driver why they died
- `faults`: how they tell it
- `watch`: finds those that hang
"""

from rllib_seq.rollouts.array_env_runner import ArrayEnvRunner
from rllib_seq.rollouts.array_worker import ArrayRolloutWorker
from rllib_seq.rollouts.faults import Faults, forget_errors
from rllib_seq.rollouts.watch import WorkerWatch
from rllib_seq.rollouts.worker import (
    STEPS_SAMPLED,
    FaultReportingMultiAgentEnvRunner,
    FaultReportingSingleAgentEnvRunner,
    FaultReportingWorker,
    count_steps,
    fault_reporting_worker,
    raise_worker_errors,
)

__all__ = [
    "STEPS_SAMPLED",
    "ArrayEnvRunner",
    "ArrayRolloutWorker",
    "Faults",
    "FaultReportingMultiAgentEnvRunner",
    "FaultReportingWorker",
    "FaultReportingSingleAgentEnvRunner",
    "WorkerWatch",
    "count_steps",
    "forget_errors",
    "raise_worker_errors",
    "fault_reporting_worker",
]

"""Rollout workers: what RLlib's own lack."""

from rllib_seq.rollouts.worker import (
    STEPS_SAMPLED,
    TellingMultiAgentEnvRunner,
    TellingRolloutWorker,
    TellingSingleAgentEnvRunner,
    count_steps,
    forget_errors,
    heed_workers,
    telling_worker,
)

__all__ = [
    "STEPS_SAMPLED",
    "TellingMultiAgentEnvRunner",
    "TellingRolloutWorker",
    "TellingSingleAgentEnvRunner",
    "count_steps",
    "forget_errors",
    "heed_workers",
    "telling_worker",
]

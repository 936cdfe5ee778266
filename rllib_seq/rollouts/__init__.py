"""Rollout workers: what RLlib's own lack."""

from rllib_seq.rollouts.worker import (
    STEPS_SAMPLED,
    TellingMultiAgentEnvRunner,
    TellingRolloutWorker,
    TellingSingleAgentEnvRunner,
    count_steps,
    error_of_worker,
    telling_worker,
)

__all__ = [
    "STEPS_SAMPLED",
    "TellingMultiAgentEnvRunner",
    "TellingRolloutWorker",
    "TellingSingleAgentEnvRunner",
    "count_steps",
    "error_of_worker",
    "telling_worker",
]

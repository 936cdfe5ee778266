"""Rollout workers: what RLlib's own lack."""

from rllib_seq.rollouts.worker import TellingRolloutWorker, error_of_worker

__all__ = ["TellingRolloutWorker", "error_of_worker"]

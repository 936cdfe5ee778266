"""Rollout workers.

- `array_worker`: plays the ad auction as arrays, many times faster than RLlib's own
- `journeys`: how it plays, without RLlib
- `worker`: RLlib's worker, which tells the driver why it died
"""

from rllib_seq.rollouts.array_worker import ArrayRolloutWorker
from rllib_seq.rollouts.worker import TellingRolloutWorker, error_of_worker

__all__ = ["ArrayRolloutWorker", "TellingRolloutWorker", "error_of_worker"]

"""Finds workers that hang, which RLlib waits for again and again, and has them restarted.

- `WorkerWatch`
"""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.rllib.algorithms.algorithm import Algorithm

__all__ = ["WorkerWatch"]


class WorkerWatch:
    """Asks every remote worker of an algorithm for a sign of life, without waiting for it.

    A worker answers between two fragments. One that has not answered for `sample_timeout_s` of the
    config is killed, and RLlib starts another one in its place.
    """

    def __init__(self, algorithm: Algorithm) -> None:
        self._group: Any = algorithm.env_runner_group
        self._patience = algorithm.config.sample_timeout_s
        self._asked: dict[int, tuple[Any, float]] = {}

    def check(self) -> list[str]:
        """Looks at the answers, asks again, and says which workers it has killed."""
        killed = []
        for index, actor in self._group._worker_manager.actors().items():
            ping, since = self._asked.get(index, (None, 0.0))
            if ping is not None and not ray.wait([ping], timeout=0)[0]:
                if time.monotonic() - since > self._patience:
                    ray.kill(actor, no_restart=False)
                    killed.append(
                        f"rollout worker {index} has not answered for {self._patience:.0f} s "
                        "(sample_timeout_s); it is started anew"
                    )
                    del self._asked[index]
            else:  # the last answer, or the error of a worker that RLlib restarts
                self._asked[index] = (actor.ping.remote(), time.monotonic())
        return killed

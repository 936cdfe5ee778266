"""Finds workers that hang, which RLlib waits for again and again, and has them restarted.

- `WorkerWatch`
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError
from ray.rllib.algorithms.algorithm import Algorithm

_START_SECONDS = 300.0  # for a new worker's first answer: its process has to start


class _Ping(NamedTuple):
    answer: Any
    since: float
    patience: float


class WorkerWatch:
    """Asks every remote worker of an algorithm for a sign of life, without waiting for it.

    A worker answers between two fragments. One that has answered before, and then not for
    `sample_timeout_s` of the config, is killed, and RLlib starts another one in its place.
    """

    def __init__(self, algorithm: Algorithm) -> None:
        self._group: Any = algorithm.env_runner_group
        self._patience = float(algorithm.config.sample_timeout_s)
        self._pings: dict[int, _Ping] = {}

    def check(self) -> list[str]:
        """Looks at the answers, asks again, and says which workers it has killed."""
        killed = []
        for index, actor in self._group._worker_manager.actors().items():
            ping = self._pings.get(index)
            if ping is None:
                self._ask(index, actor, _START_SECONDS)
            elif ray.wait([ping.answer], timeout=0)[0]:
                self._ask(index, actor, self._patience if _came(ping) else _START_SECONDS)
            elif time.monotonic() - ping.since > ping.patience:
                ray.kill(actor, no_restart=False)
                killed.append(
                    f"rollout worker {index} has not answered for {ping.patience:.0f} s "
                    "(sample_timeout_s); it is started again"
                )
                self._ask(index, actor, _START_SECONDS)
        return killed

    def _ask(self, index: int, actor: Any, patience: float) -> None:
        self._pings[index] = _Ping(actor.ping.remote(), time.monotonic(), patience)


def _came(ping: _Ping) -> bool:
    """Whether an answer is one, and not the error of a worker that died and is restarted."""
    try:
        ray.get(ping.answer)
    except RayError:
        return False
    return True

"""A rollout worker that tells the driver why it died.

RLlib ends a remote worker that raises, whatever it raised, and the driver learns only that it is
gone: bad data in a user's environment would look like a crash and be retried for ever.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import ray
from ray.experimental import internal_kv
from ray.rllib.evaluation.rollout_worker import RolloutWorker

from rllib_seq.errors import UserError

__all__ = ["TellingRolloutWorker", "error_of_worker"]


class TellingRolloutWorker(RolloutWorker):
    """RLlib's rollout worker of the old API stack; leaves a note if the user can mend its end."""

    def apply(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Runs a function on this worker; RLlib asks remote workers for everything in this way."""

        def telling(worker: RolloutWorker, *args: Any, **kwargs: Any) -> Any:
            try:
                return func(worker, *args, **kwargs)
            except UserError as error:
                note = f"rollout worker {self.worker_index}: {error}"
                internal_kv._internal_kv_put(_key(), note.encode())
                # RLlib would also end the process, but only after a minute's wait.
                sys.exit(1)

        return super().apply(telling, *args, **kwargs)


def error_of_worker() -> str | None:
    """The note of a worker of this job that met a UserError, or None. Reading it removes it."""
    note = internal_kv._internal_kv_get(_key())
    if note is None:
        return None
    internal_kv._internal_kv_del(_key())
    return str(note.decode())


def _key() -> bytes:
    return f"rllib_seq:user_error:{ray.get_runtime_context().get_job_id()}".encode()

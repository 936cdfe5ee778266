"""A rollout worker that tells the driver why it died.

RLlib ends a remote worker that raises, whatever it raised, and the driver learns only that it is
gone: bad data in a user's environment would look like a crash and be retried for ever.
"""

from __future__ import annotations

from typing import Any

import ray
from ray.experimental import internal_kv
from ray.rllib.evaluation.rollout_worker import RolloutWorker

from rllib_seq.errors import UserError

__all__ = ["TellingRolloutWorker", "error_of_worker"]


class TellingRolloutWorker(RolloutWorker):
    """RLlib's rollout worker of the old API stack that leaves a note when a user can mend it."""

    def sample(self, **kwargs: Any) -> Any:
        """See `RolloutWorker.sample`.

        Raises:
            UserError: as the model or environment raised it; the driver finds it by
                `error_of_worker`.
        """
        try:
            return super().sample(**kwargs)
        except UserError as error:
            note = f"rollout worker {self.worker_index}: {error}"
            internal_kv._internal_kv_put(_key(), note.encode())
            raise


def error_of_worker() -> str | None:
    """The note of a worker of this job that met a UserError, or None. Reading it removes it."""
    note = internal_kv._internal_kv_get(_key())
    if note is None:
        return None
    internal_kv._internal_kv_del(_key())
    return str(note.decode())


def _key() -> bytes:
    return f"rllib_seq:user_error:{ray.get_runtime_context().get_job_id()}".encode()

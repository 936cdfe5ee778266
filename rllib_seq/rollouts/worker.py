"""Rollout workers that tell the driver why they died, and how many steps they took.

RLlib ends a remote worker that raises, whatever it raised, and the driver learns only that it is
gone: bad data in a user's environment would look like a crash and be retried for ever.

- `TellingRolloutWorker`, `TellingSingleAgentEnvRunner`, `TellingMultiAgentEnvRunner`: RLlib's own,
  of the old and of the new API stack; `telling_worker` picks one for a config
- `error_of_worker`: what they told
- `count_steps`, `STEPS_SAMPLED`: the steps of the new stack, counted exactly
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.experimental import internal_kv
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.evaluation.rollout_worker import RolloutWorker

from rllib_seq.errors import UserError

__all__ = [
    "STEPS_SAMPLED",
    "TellingMultiAgentEnvRunner",
    "TellingRolloutWorker",
    "TellingSingleAgentEnvRunner",
    "count_steps",
    "error_of_worker",
    "telling_worker",
]

STEPS_SAMPLED = "steps_sampled_lifetime"
"""Key in the `env_runners` results of the new API stack that `count_steps` fills."""


class _Telling:
    """Leaves a note for the driver if the user can mend what ended this worker."""

    worker_index: int

    def apply(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Runs a function on this worker; RLlib asks remote workers for everything in this way."""

        def telling(worker: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return func(worker, *args, **kwargs)
            except UserError as error:
                note = f"rollout worker {self.worker_index}: {error}"
                internal_kv._internal_kv_put(_key(), note.encode())
                # RLlib would also end the process, but only after a minute's wait.
                sys.exit(1)

        return super().apply(telling, *args, **kwargs)  # type: ignore[misc]


class TellingRolloutWorker(_Telling, RolloutWorker):
    """RLlib's rollout worker of the old API stack."""


class TellingSingleAgentEnvRunner(_Telling, SingleAgentEnvRunner):
    """RLlib's runner of single-agent environments on the new API stack."""


class TellingMultiAgentEnvRunner(_Telling, MultiAgentEnvRunner):
    """RLlib's runner of multi-agent environments on the new API stack."""


def telling_worker(config: AlgorithmConfig) -> type:
    """The worker class here that RLlib's own choice for a config is the base of."""
    if not config.enable_env_runner_and_connector_v2:
        return TellingRolloutWorker
    return TellingMultiAgentEnvRunner if config.is_multi_agent else TellingSingleAgentEnvRunner


def error_of_worker() -> str | None:
    """The note of a worker of this job that met a UserError, or None. Reading it removes it."""
    note = internal_kv._internal_kv_get(_key())
    if note is None:
        return None
    internal_kv._internal_kv_del(_key())
    return str(note.decode())


def count_steps(*, samples: Sequence[Any], metrics_logger: Any, **kwargs: Any) -> None:
    """Callback `on_sample_end` of the new API stack: counts the steps of all agents.

    RLlib's own count takes the observations after the first env step for steps: an agent that
    comes later than the episode's start counts once too often.
    """
    steps = sum(episode.agent_steps() for episode in samples)
    metrics_logger.log_value(STEPS_SAMPLED, steps, reduce="lifetime_sum")


def _key() -> bytes:
    return f"rllib_seq:user_error:{ray.get_runtime_context().get_job_id()}".encode()

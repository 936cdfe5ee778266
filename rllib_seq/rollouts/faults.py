"""What workers leave for the driver to read: why they ended, and what their environments did.

A worker's process ends with what it raises, and the driver learns only that it is gone. So workers
write into the key-value store of the cluster, apart for every algorithm.

- `leave_error`, `error_of_worker`, `forget_errors`: what only the user can fix, and ends the run
- `leave_fault`, `Faults`: what training goes on after
- `name_faults`: makes an environment's exceptions say where they happened
"""

from __future__ import annotations

import itertools
import os
import time
from typing import Any

import gymnasium as gym
import numpy as np
import ray
from ray.experimental import internal_kv
from ray.rllib.env.vector_env import VectorEnv

from rllib_seq.errors import UserError
from rllib_seq.models.observations import MASK

__all__ = [
    "Faults",
    "error_of_worker",
    "forget_errors",
    "leave_error",
    "leave_fault",
    "name_faults",
]

_numbers = itertools.count()


def leave_error(who: str, error: Exception) -> None:
    """Notes an error that the user has to fix."""
    internal_kv._internal_kv_put(_key("error"), f"{who}: {error}".encode())


def error_of_worker() -> str | None:
    """The note of a worker of this algorithm that met a UserError, or None."""
    note = internal_kv._internal_kv_get(_key("error"))
    return None if note is None else str(note.decode())


def forget_errors() -> None:
    """Removes what the workers of a former algorithm of this job left."""
    internal_kv._internal_kv_del(_key("error"))
    Faults().new()


def leave_fault(who: str, error: Exception) -> None:
    """Notes an error after which training goes on."""
    said = f"{who}: {type(error).__name__}: {error}".splitlines()[0]
    name = f"fault:{time.time():.6f}:{os.getpid()}:{next(_numbers)}"
    internal_kv._internal_kv_put(_key(name), said.encode())


class Faults:
    """Reads the faults that workers left, each once."""

    def new(self) -> list[str]:
        """Those since the last call, oldest first; equal ones once, with their number."""
        counts: dict[str, int] = {}
        for key in sorted(internal_kv._internal_kv_list(_key("fault:"))):
            said = internal_kv._internal_kv_get(key)
            internal_kv._internal_kv_del(key)
            if said is not None:
                counts[said.decode()] = counts.get(said.decode(), 0) + 1
        return [f"{said} ({n} times)" if n > 1 else said for said, n in counts.items()]


def name_faults(env: Any, where: str) -> Any:
    """Makes the exceptions of an environment name it, the step, and the agents that acted.

    Args:
        env: of Gymnasium or RLlib, maybe a vector; is changed in place and returned.
        where: e.g. "rollout worker 2, environment 0".

    Its `step` and `reset` raise a UserError if an action mask has another shape than it is to have.
    """
    names = "step", "reset"
    if isinstance(env, VectorEnv):
        names = "vector_step", "vector_reset"
    steps = 0
    masked = _has_masks(env)

    def report(error: Exception, args: Any) -> None:
        agents = sorted(args[0]) if args and isinstance(args[0], dict) else []
        acted = f", with actions of {', '.join(map(str, agents))}" if agents else ""
        place = f"{where}, step {steps} of the episode{acted}"
        error.add_note(place)
        leave_fault(place, error)

    def watched(call: Any, begins: bool) -> Any:
        def call_and_name(*args: Any, **kwargs: Any) -> Any:
            nonlocal steps
            steps = 0 if begins else steps + 1
            try:
                returned = call(*args, **kwargs)
            except Exception as error:
                report(error, args)
                raise
            if masked:
                _refuse_masks(env, returned, f"{where}, step {steps} of the episode")
            return returned

        return call_and_name

    for name, begins in zip(names, (False, True), strict=True):
        setattr(env, name, watched(getattr(env, name), begins))
    return env


def _has_masks(env: Any) -> bool:
    spaces = getattr(env, "observation_spaces", None)  # by agent, of a multi-agent environment
    found = spaces.values() if isinstance(spaces, dict) else [getattr(env, "observation_space", 0)]
    return any(isinstance(space, gym.spaces.Dict) and MASK in space.spaces for space in found)


def _refuse_masks(env: Any, returned: Any, place: str) -> None:
    """Refuses masks of a wrong length, with which vectors of environments fail without a word."""
    seen = returned[0] if isinstance(returned, tuple) else None
    if not isinstance(seen, dict):
        return
    spaces = getattr(env, "observation_spaces", None)  # by agent, of a multi-agent environment
    if isinstance(spaces, dict):
        pairs = [(each, spaces.get(agent)) for agent, each in seen.items()]
    else:
        pairs = [(seen, env.observation_space)]
    for each, space in pairs:
        if isinstance(space, gym.spaces.Dict) and MASK in space.spaces and MASK in each:
            shape, wanted = np.shape(each[MASK]), space[MASK].shape
            if shape != wanted:
                raise UserError(
                    f"{place}: {MASK!r} has shape {shape}, and the observation space says {wanted}"
                )


def _key(name: str) -> bytes:
    # The trials of a sweep share a job, and each has a placement group of its own.
    context = ray.get_runtime_context()
    return f"rllib_seq:{context.get_job_id()}:{context.get_placement_group_id()}:{name}".encode()

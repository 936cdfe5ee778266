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
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import ray
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from ray.experimental import internal_kv
from ray.rllib.env.vector_env import VectorEnv

from rllib_seq.errors import UserError

__all__ = [
    "Faults",
    "error_of_worker",
    "forget_errors",
    "leave_error",
    "leave_fault",
    "name_faults",
]

_numbers = itertools.count()
# What `reset` (True) and `step` return.
_FORMS = {
    True: ("observation", "info"),
    False: ("observation", "reward", "terminated", "truncated", "info"),
}


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

    Its `step` and `reset` raise a UserError if they return something else than Gymnasium asks for,
    or observations of another shape than their space.
    """
    names = "step", "reset"
    if isinstance(env, VectorEnv):
        names = "vector_step", "vector_reset"
    steps = 0
    single = not isinstance(env, VectorEnv)
    shape = getattr(getattr(env, "observation_space", None), "shape", None)

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
            if single and not _as_usual(returned, begins, shape):
                place = f"{where}, step {steps} of the episode"
                _refuse_other_api(returned, begins, place)
                _refuse_shapes(env, returned[0], place)
            return returned

        return call_and_name

    for name, begins in zip(names, (False, True), strict=True):
        setattr(env, name, watched(getattr(env, name), begins))
    return env


def _as_usual(returned: Any, begins: bool, shape: tuple[int, ...] | None) -> bool:
    """Whether a single array or number and a single reward came, as most steps bring them."""
    return (
        isinstance(returned, tuple)
        and len(returned) == len(_FORMS[begins])
        and shape is not None
        and getattr(returned[0], "shape", None) == shape
        and (begins or isinstance(returned[1], float | int | np.number))
    )


def _refuse_other_api(returned: Any, begins: bool, place: str) -> None:
    """Refuses what is not of Gymnasium's form, as environments for the older gym return it."""
    form = _FORMS[begins]
    if not isinstance(returned, tuple) or len(returned) != len(form):
        given = (
            f"{len(returned)} values" if isinstance(returned, tuple) else type(returned).__name__
        )
        raise UserError(
            f"{place}: {'reset' if begins else 'step'}() returned {given}; Gymnasium asks for "
            f"({', '.join(form)})"
        )
    if not begins and not isinstance(returned[1], dict) and np.ndim(returned[1]):
        raise UserError(
            f"{place}: the reward has shape {np.shape(returned[1])}; return a single number"
        )


def _refuse_shapes(env: Any, seen: Any, place: str) -> None:
    """Refuses observations of a wrong shape, with which RLlib fails without a word of where."""
    spaces = getattr(env, "observation_spaces", None)  # by agent, of a multi-agent environment
    if isinstance(spaces, Mapping) and isinstance(seen, Mapping):
        pairs = [(spaces.get(agent), each) for agent, each in seen.items()]
    else:
        pairs = [(getattr(env, "observation_space", None), seen)]
    for space, each in pairs:
        for name, part, value in _parts(space, each, "the observation"):
            shape = np.shape(value)
            numbers = isinstance(part, Discrete) and np.size(value) == 1
            if shape != part.shape and not numbers:
                raise UserError(
                    f"{place}: {name} has shape {shape}, and the observation space says "
                    f"{part.shape}"
                )


def _parts(space: Any, value: Any, name: str) -> Iterator[tuple[str, gym.Space, Any]]:
    """Name, space and value of every part of an observation that has a fixed shape."""
    if isinstance(space, Dict) and isinstance(value, Mapping):
        for key in space.keys() & value.keys():
            yield from _parts(space[key], value[key], repr(key))
    elif isinstance(space, Tuple) and isinstance(value, tuple | list):
        for number, (part, each) in enumerate(zip(space, value, strict=False)):
            yield from _parts(part, each, f"part {number} of {name}")
    elif isinstance(space, Box | Discrete | MultiBinary | MultiDiscrete):
        yield name, space, value


def _key(name: str) -> bytes:
    # The trials of a sweep share a job, and each has a placement group of its own.
    context = ray.get_runtime_context()
    return f"rllib_seq:{context.get_job_id()}:{context.get_placement_group_id()}:{name}".encode()

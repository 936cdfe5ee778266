"""Gymnasium environments for the array rollouts, as RLlib's configs name them.

- `make_arrays`: the environment of a worker of the old stack as an `ArrayEnv`
- `arrays_of_agents`: a multi-agent environment as one
- `InfoArrays`: a vector environment as one, with the infos of every step
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import VectorizeMode
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from rllib_seq.envs.array_env import ArrayEnv, GymArrays
from rllib_seq.errors import UserError
from rllib_seq.models.observations import StepSpace

Array = NDArray[Any]
Ints = NDArray[np.int64]

INFO, INFO_BEFORE = "info", "info_before"


def make_arrays(
    env: Any, make: Callable[[int], gym.Env], count: int, mode: Any, seed: int | None, worker: str
) -> ArrayEnv:
    """Return `count` copies of an environment, side by side.

    Args:
        env: one that RLlib has made.
        make: makes another, by its number.
        count: how many.
        mode: RLlib's `gym_env_vectorize_mode`.
        seed: of the first episodes.
        worker: the class that plays, for the error message.

    Raises:
        UserError: agents of a multi-agent environment cannot be stepped as arrays, or actions are
            no array.
    """
    if isinstance(env.unwrapped, MultiAgentEnv) or hasattr(env.unwrapped, "array_env"):
        return arrays_of_agents(env.unwrapped, count, seed, worker)
    return one_line(lambda: GymArrays(_vectorized(env, make, count, mode), seed))


def arrays_of_agents(env: Any, count: int, seed: int | None, worker: str) -> ArrayEnv:
    """Return `count` copies of a multi-agent environment, side by side; see `make_arrays`."""
    if not hasattr(env, "array_env"):
        raise UserError(
            f"{worker} plays multi-agent environments with a method array_env, and "
            f"{type(env).__name__} has none (see rllib_seq.envs.array_env); remove "
            "env_runner_cls from the config"
        )
    return one_line(lambda: env.array_env(count, seed))


def _vectorized(env: gym.Env, make: Callable[[int], gym.Env], count: int, mode: Any) -> VectorEnv:
    mode = VectorizeMode(getattr(mode, "value", mode).lower())
    if mode is VectorizeMode.VECTOR_ENTRY_POINT:
        if env.spec is None or env.spec.vector_entry_point is None:
            raise ValueError(
                f"{env} has no vector_entry_point; set gym_env_vectorize_mode to 'sync' or 'async'"
            )
        kwargs = {**env.spec.kwargs, "vectorization_mode": mode}
        return gym.make_vec(env.spec, num_envs=count, **kwargs)
    makers = [partial(make, number) for number in range(count)]
    if mode is VectorizeMode.ASYNC:
        return AsyncVectorEnv(makers, autoreset_mode=AutoresetMode.NEXT_STEP)
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED)


def one_line(make: Callable[[], ArrayEnv]) -> ArrayEnv:
    """Return what `make` makes; environments know no UserError, their ValueError is one."""
    try:
        return make()
    except ValueError as error:
        raise UserError(str(error)) from error


class InfoArrays(GymArrays):
    """A `VectorEnv` as arrays whose events are infos, dicts, as RLlib's episodes hold them.

    `INFO` is what a step brought, `INFO_BEFORE` what came with the observation that was acted on.

    Args:
        envs: the environments; they are closed by the caller.
        seed: of the first reset.
        flat: whether observations become vectors, as by RLlib's `FlattenObservations`.
        narrow: what makes vectors of them instead, as `FlattenSteps` does.
    """

    def __init__(
        self, envs: VectorEnv, seed: int | None, flat: bool, narrow: StepSpace | None = None
    ) -> None:
        super().__init__(envs, seed)
        self._flat, self._narrow = flat, narrow
        self._infos = self._before = _no_infos(envs.num_envs)

    def vectors(self, batch: Any, count: int) -> Array:
        """See `GymArrays.vectors`."""
        if self._narrow is None:
            return super().vectors(batch, count)
        return self._narrow.rows(batch, count)

    def observe(self, rows: Ints) -> Array:
        """See `GymArrays.observe`; vectors, if `flat`."""
        observations = super().observe(rows)
        if not self._flat:
            return observations
        width = math.prod(observations.shape[1:])
        return observations.reshape(len(rows), width).astype(np.float32, copy=False)

    def events(self, infos: dict[str, Any], rows: Ints) -> dict[str, Array]:
        """See `GymArrays.events`."""
        before, after = self._before[rows], self._infos[rows]
        if "final_info" in infos:
            for number, row in enumerate(rows.tolist()):
                if self.ended[row]:
                    after[number] = _info_of(infos["final_info"], row)
        return {INFO_BEFORE: before, INFO: after}

    def _reset(self, **options: Any) -> dict[str, Any]:
        infos = super()._reset(**options)
        mask = options.get("options", {}).get("reset_mask", np.ones(len(self._infos), np.bool_))
        for row in np.flatnonzero(mask).tolist():
            self._infos[row] = _info_of(infos, row)
        return infos

    def _step(self) -> dict[str, Any]:
        infos = super()._step()
        self._before, self._infos = self._infos, _no_infos(len(self._infos))
        if infos:
            for row in range(len(self._infos)):
                self._infos[row] = _info_of(infos, row)
        return infos


def _no_infos(count: int) -> Array:
    return np.array([{}] * count, object)


def _info_of(infos: dict[str, Any], row: int) -> dict[str, Any]:
    """The infos of one environment, without what they say of the vector's own resets."""
    found = {}
    for name, column in infos.items():
        there = infos.get(f"_{name}")
        if name.startswith("_") or (there is not None and not there[row]):
            continue
        if name not in ("final_obs", "final_info"):
            found[name] = _info_of(column, row) if isinstance(column, dict) else column[row]
    return found

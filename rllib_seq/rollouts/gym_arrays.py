"""Gymnasium environments for the array rollouts, as RLlib's configs name them.

- `make_arrays`: the environment of a worker as an `ArrayEnv`
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import VectorizeMode
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from rllib_seq.envs.array_env import ArrayEnv, GymArrays
from rllib_seq.errors import UserError

__all__ = ["make_arrays"]


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
    plain = env.unwrapped
    if hasattr(plain, "array_env"):
        return _one_line(lambda: plain.array_env(count, seed))
    if isinstance(plain, MultiAgentEnv):
        raise UserError(
            f"{worker} plays multi-agent environments with a method array_env, and "
            f"{type(plain).__name__} has none (see rllib_seq.envs.array_env); remove "
            "env_runner_cls from the config"
        )
    return _one_line(lambda: GymArrays(_vectorized(env, make, count, mode), seed))


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


def _one_line(make: Callable[[], ArrayEnv]) -> ArrayEnv:
    """Environments know no UserError: what they refuse with a ValueError is one."""
    try:
        return make()
    except ValueError as error:
        raise UserError(str(error)) from error

"""Environments that step many streams as arrays; what the array rollouts play.

- `ArrayEnv`: the protocol
- `GymArrays`: any Gymnasium `VectorEnv` as one

A multi-agent environment is played as arrays if it has a method
`array_env(num_episodes, seed) -> ArrayEnv`; the ad auction, its log and the shared market have one.
"""

from __future__ import annotations

from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

__all__ = ["ArrayEnv", "GymArrays"]

Array = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class ArrayEnv(Protocol):
    """E episodes side by side, each with up to `slots` streams; a stream is a row.

    Row `i * slots + j` is stream `j` of episode `i`. In every step the rows of `pending` act.
    """

    num_episodes: int
    """E."""
    slots: int
    """Streams of an episode."""
    rewards_at_once: bool
    """Whether a step's reward is known as soon as it is served, and only rows that act can end;
    otherwise it is known with the stream's next step or its end."""

    @property
    def pending(self) -> Ints:
        """Rows that have to act now, `[n]`."""

    @property
    def ended(self) -> Bools:
        """Whether a row's stream is over, `[E * slots]`."""

    @property
    def truncated(self) -> Bools:
        """Whether it was cut off by a limit and did not terminate, `[E * slots]`."""

    @property
    def over(self) -> Bools:
        """Whether an episode is over, `[E]`."""

    def observe(self, rows: Ints) -> Array:
        """Current observations of rows, `[n, ...]`; of a row that has ended: the last one."""

    def take_rewards(self, rows: Ints) -> Floats:
        """Rewards of rows since they were last taken, `[n]`."""

    def serve(self, rows: Ints, actions: Array) -> dict[str, Array]:
        """Let the rows of `pending` act.

        Args:
            rows: `pending`, `[n]`.
            actions: `[n, ...]`.

        Returns:
            events of these steps by name, `[n]`, for auxiliary heads; may be empty.
        """

    def begin(self, episodes: Ints) -> None:
        """Start the next episode of each of these: of some that are over, or of all."""


class GymArrays:
    """A Gymnasium `VectorEnv` as an `ArrayEnv`: every environment is one stream.

    Works with all three autoreset modes. Time limits truncate a stream: its last observation is
    kept, so that a learner can value it.

    Args:
        envs: the environments; they are closed by the caller.
        seed: of the first reset.

    Raises:
        ValueError: the actions are a Tuple or a Dict, which have no array.

    Examples:
        >>> envs = gym.make_vec("CartPole-v1", num_envs=3, vectorization_mode="sync")
        >>> arrays = GymArrays(envs, seed=0)
        >>> arrays.begin(np.arange(3))
        >>> arrays.pending.tolist(), arrays.observe(arrays.pending).shape
        ([0, 1, 2], (3, 4))
    """

    slots = 1
    rewards_at_once = True

    def __init__(self, envs: VectorEnv, seed: int | None = None) -> None:
        if isinstance(envs.single_action_space, gym.spaces.Tuple | gym.spaces.Dict):
            raise ValueError(
                f"actions of {envs.single_action_space} are no array; use Discrete, MultiDiscrete, "
                "MultiBinary or Box"
            )
        self.envs, self.num_episodes, self._seed = envs, envs.num_envs, seed
        self._mode = AutoresetMode(envs.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self._actions = np.zeros_like(np.asarray(envs.action_space.sample()))
        self.ended = np.ones(envs.num_envs, np.bool_)
        self.truncated = np.zeros(envs.num_envs, np.bool_)
        self._waiting = np.zeros(envs.num_envs, np.bool_)  # for its reset by the next step
        self._just_ended = np.zeros(envs.num_envs, np.bool_)  # in the last step
        self._rewards = np.zeros(envs.num_envs)
        self._current: Any = None  # what `step` or `reset` returned
        self._last: dict[int, Any] = {}  # last observations of streams that were reset at once

    @property
    def pending(self) -> Ints:
        """See `ArrayEnv`."""
        return np.flatnonzero(~self.ended & ~self._waiting)

    @property
    def over(self) -> Bools:
        """See `ArrayEnv`."""
        return self.ended

    def observe(self, rows: Ints) -> Array:
        """See `ArrayEnv`; observations that are no Box come flat, as float32."""
        observed = self.vectors(self._current, len(self.ended))
        if not self._last:
            return observed[rows]
        observed = observed.copy()
        for row, seen in self._last.items():
            if self.ended[row]:
                one = _batch_of_one(self.envs.single_observation_space, seen)
                observed[row] = self.vectors(one, 1)[0]
        return observed[rows]

    def vectors(self, batch: Any, count: int) -> Array:
        """Return `count` observations as the environments return them as one array."""
        return _flat(self.envs.single_observation_space, batch, count)

    def take_rewards(self, rows: Ints) -> Floats:
        """See `ArrayEnv`."""
        taken = self._rewards[rows]
        self._rewards[rows] = 0.0
        return taken

    def serve(self, rows: Ints, actions: Array) -> dict[str, Array]:
        """See `ArrayEnv`; numbers in the infos are events."""
        self._actions[rows] = actions
        return self.events(self._step(), rows)

    def events(self, infos: dict[str, Any], rows: Ints) -> dict[str, Array]:
        """Return what `serve` returns, made of the infos of a step."""
        numbers = {
            name: column[rows].astype(np.float64)
            for name, column in infos.items()
            if not name.startswith("_") and _is_number(column)
        }
        one = np.ones(len(rows))
        return {"present": one, "survival": one, **numbers}

    def begin(self, episodes: Ints) -> None:
        """See `ArrayEnv`.

        Raises:
            ValueError: some episodes are to begin, and not all of them have just ended.
        """
        if self._current is None or not self._just_ended[episodes].all():
            if len(episodes) < self.num_episodes:
                raise ValueError("begin all episodes at once, or those that ended in the last step")
            self._reset(seed=self._seed if self._current is None else None)
            self._waiting[:] = False
        elif self._mode is AutoresetMode.DISABLED:
            chosen = np.zeros(self.num_episodes, np.bool_)
            chosen[episodes] = True
            self._reset(options={"reset_mask": chosen})
        elif self._mode is AutoresetMode.NEXT_STEP:
            self._waiting[episodes] = True
        self.ended[episodes] = self.truncated[episodes] = False
        self._rewards[episodes] = 0.0
        for episode in episodes.tolist():
            self._last.pop(episode, None)
        if self._waiting.all():
            self._step()

    def _reset(self, **options: Any) -> dict[str, Any]:
        self._current, infos = self.envs.reset(**options)
        return infos

    def _step(self) -> dict[str, Any]:
        waited = self._waiting.copy()
        current, rewards, terminated, truncated, infos = self.envs.step(self._actions)
        self._current, self._waiting[:] = current, False
        acted = ~waited & ~self.ended
        self._rewards += np.where(acted, rewards, 0.0)
        ended = acted & (np.asarray(terminated) | np.asarray(truncated))
        self._just_ended = ended
        self.ended |= ended
        self.truncated |= ended & ~np.asarray(terminated)
        if self._mode is AutoresetMode.SAME_STEP:
            for row in np.flatnonzero(ended).tolist():
                self._last[row] = _final(infos, row)
        return infos


def _final(infos: dict[str, Any], row: int) -> Any:
    """The last observation of a stream that was reset in the same step."""
    final = infos["final_obs"]
    if isinstance(final, dict):  # a custom vector environment may batch it
        return {name: part[row] for name, part in final.items()}
    return final[row]


def _is_number(column: Any) -> bool:
    return isinstance(column, np.ndarray) and column.ndim == 1 and column.dtype.kind in "bif"


def _batch_of_one(space: gym.Space, observation: Any) -> Any:
    if isinstance(space, gym.spaces.Dict):
        return {name: _batch_of_one(part, observation[name]) for name, part in space.items()}
    if isinstance(space, gym.spaces.Tuple):
        return tuple(_batch_of_one(*pair) for pair in zip(space, observation, strict=True))
    return np.asarray(observation)[None]


def _flat(space: gym.Space, batch: Any, count: int) -> Array:
    """A batch of observations as one array: a Box as it is, others flat as RLlib has them."""
    if isinstance(space, gym.spaces.Box):
        return np.asarray(batch)
    return np.concatenate(list(_parts(space, batch, count)), axis=1)


def _parts(space: gym.Space, batch: Any, count: int) -> Any:
    if isinstance(space, gym.spaces.Dict):
        for name in sorted(space):  # RLlib's order
            yield from _parts(space[name], batch[name], count)
    elif isinstance(space, gym.spaces.Tuple):
        for part, rows in zip(space, batch, strict=True):
            yield from _parts(part, rows, count)
    elif isinstance(space, gym.spaces.Discrete):
        yield _one_hot(np.asarray(batch).reshape(count), int(space.n))
    elif isinstance(space, gym.spaces.MultiDiscrete):
        columns = np.asarray(batch).reshape(count, -1)
        for column, size in zip(columns.T, space.nvec.ravel().tolist(), strict=True):
            yield _one_hot(column, size)
    elif isinstance(space, gym.spaces.Box | gym.spaces.MultiBinary):
        yield np.asarray(batch, np.float32).reshape(count, -1)
    else:
        raise ValueError(
            f"observations of {space} are no array; use Box, Discrete, MultiDiscrete, MultiBinary, "
            "or a Dict or Tuple of them"
        )


def _one_hot(numbers: Array, size: int) -> Array:
    return np.eye(size, dtype=np.float32)[numbers.astype(np.int64)]

"""The windows of many streams at once, step by step, without RLlib's episodes.

- `StreamWindows`: the columns that `episode_windows.windows_of` returns, as arrays over streams
- `no_windows`, `next_windows`: the same as functions, for who keeps the windows elsewhere
"""

from __future__ import annotations

from collections.abc import Mapping

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns

from rllib_seq.models.rl_module.episode_windows import (
    PREVIOUS_ACTIONS,
    PREVIOUS_REWARDS,
    STEPS_BEFORE,
    WindowLayout,
)

__all__ = ["StreamWindows", "next_windows", "no_windows"]


class StreamWindows:
    """The last L steps of every stream; L is the window length.

    Examples:
        >>> from gymnasium.spaces import Box, Discrete
        >>> config = WindowLayout(window_length=3, prev_action=True, prev_reward=False)
        >>> windows = StreamWindows(5, Box(0, 1, (2,)), Discrete(4), config)
        >>> rows = windows.push(np.array([1, 4]), np.ones((2, 2)), np.zeros(2, int), np.zeros(2))
        >>> rows["obs"].shape, rows["previous_actions"].shape, rows["steps_before"].tolist()
        ((2, 3, 2), (2, 3), [0, 0])
    """

    def __init__(
        self, streams: int, obs_space: gym.Space, action_space: gym.Space, config: WindowLayout
    ) -> None:
        """Start all streams.

        Args:
            streams: how many.
            obs_space: of one step, a flat Box.
            action_space: of one step.
            config: window length, and whether previous actions and rewards are inputs.
        """
        self._columns = no_windows(streams, obs_space, action_space, config)
        self._steps = np.zeros(streams, np.int64)

    def restart(self, streams: NDArray[np.int64]) -> None:
        """Let other streams begin in the places of these, `[N]`."""
        self._steps[streams] = 0
        for column in self._columns.values():
            column[streams] = 0

    def push(
        self,
        streams: NDArray[np.int64],
        observations: NDArray,
        previous_actions: NDArray,
        previous_rewards: NDArray,
    ) -> dict[str, NDArray]:
        """Add a step to some streams and return their windows.

        Args:
            streams: which, `[N]`, each at most once.
            observations: `[N, obs_dim]`.
            previous_actions: `[N, ...]`, whatever at the first step of a stream.
            previous_rewards: `[N]`, the same.

        Returns:
            the columns of `windows_of`, with N rows.
        """
        past = {name: column[streams] for name, column in self._columns.items()}
        rows = next_windows(
            past, self._steps[streams], observations, previous_actions, previous_rewards
        )
        for name, column in self._columns.items():
            column[streams] = rows[name]
        self._steps[streams] += 1
        return rows


def no_windows(
    streams: int, obs_space: gym.Space, action_space: gym.Space, config: WindowLayout
) -> dict[str, NDArray]:
    """Return the empty windows of streams; see `StreamWindows` for the arguments.

    Returns:
        the columns of `windows_of` but `steps_before`, zeros.
    """
    shape = (streams, config.window_length)
    columns = {Columns.OBS: np.zeros(shape + (obs_space.shape or ()), obs_space.dtype)}
    if config.prev_action:
        columns[PREVIOUS_ACTIONS] = np.zeros(shape + (action_space.shape or ()), action_space.dtype)
    if config.prev_reward:
        columns[PREVIOUS_REWARDS] = np.zeros(shape, np.float32)
    return columns


def next_windows(
    past: Mapping[str, NDArray],
    before: NDArray[np.int64],
    observations: NDArray,
    previous_actions: NDArray | None,
    previous_rewards: NDArray,
) -> dict[str, NDArray]:
    """Return the windows of streams after a step.

    Args:
        past: windows before it, as `no_windows` or this function returned them, N rows.
        before: steps that the streams have behind them, `[N]`.
        observations: `[N, obs_dim]`.
        previous_actions: `[N, ...]`, whatever at the first step of a stream.
        previous_rewards: `[N]`, the same.

    Returns:
        the columns of `windows_of`.
    """
    news = {
        Columns.OBS: observations,
        PREVIOUS_ACTIONS: previous_actions,
        PREVIOUS_REWARDS: previous_rewards,
    }
    rows = {STEPS_BEFORE: np.minimum(before, past[Columns.OBS].shape[1])}
    for name, column in past.items():
        new = np.asarray(news[name], column.dtype)
        if name != Columns.OBS:
            new = np.where((before == 0).reshape(-1, *[1] * (new.ndim - 1)), 0, new)
        rows[name] = np.concatenate([column[:, 1:], new[:, None]], axis=1)
    return rows

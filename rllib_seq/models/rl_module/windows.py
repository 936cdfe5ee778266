"""The last L steps of streams, as columns of arrays that are never stored with a step.

- `windows_of`: of the steps of one of RLlib's episodes
- `no_windows`, `next_windows`: of many streams at once, step by step, without episodes
- `WindowLayout`: what is in a window
- `stream_of`: the name of an episode in messages

An episode keeps every observation, action and reward once. A chunk of a cut episode keeps some of
what came before it (its lookback). With L = 4 and a chunk that starts at step 5:

    observations   o1 o2 o3 o4 | o5 o6 o7        window of o5: [o2 o3 o4 o5]
    actions        a1 a2 a3 a4 | a5 a6           previous:     [a1 a2 a3 a4]

One step more than the window is long is looked back on, for the previous action of its oldest slot.
What a network reads, the module joins from these columns (`WindowedRLModule.windows`): numbers stay
as narrow as the episode has them until then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_seq.config import SequenceConfig
from rllib_seq.errors import UserError

PREVIOUS_ACTIONS = "previous_actions"
PREVIOUS_REWARDS = "previous_rewards"
STEPS_BEFORE = "steps_before"


class WindowLayout(NamedTuple):
    """What is in a window: a part of `SequenceConfig`."""

    window_length: int
    prev_action: bool
    prev_reward: bool

    @classmethod
    def of(cls, settings: SequenceConfig, length: int | None = None) -> WindowLayout:
        """Return the windows of some settings; `length` replaces their length."""
        length = settings.window_length if length is None else length
        return cls(length, settings.prev_action, settings.prev_reward)


def windows_of(
    episode: SingleAgentEpisode, start: int, stop: int, config: WindowLayout
) -> dict[str, np.ndarray]:
    """Return the windows that end at the steps `start..stop-1` of an episode (chunk).

    Args:
        episode: one stream, with flat observations `[obs_dim]`.
        start: step, counted from the start of the chunk.
        stop: step, at most one after the last observation.
        config: window length L, and whether previous actions and rewards are inputs.

    Returns:
        with N = stop - start rows, oldest slot first and zeros where there was no step:

        - `obs`: `[N, L, obs_dim]`
        - `previous_actions`: `[N, L, ...]`, as the episode holds them, if they are inputs
        - `previous_rewards`: `[N, L]`, if they are inputs
        - `steps_before`: steps of the stream before the current one, at most L, `[N]`

    Raises:
        UserError: the episode was cut and does not look back far enough.
    """
    length = config.window_length
    behind = min(length, episode.t_started + start)
    known = episode.observations.lookback + start
    if known < behind:
        raise UserError(
            f"{stream_of(episode)} was cut at step {episode.t_started} and looks back {known} "
            f"steps, but its windows need {behind}; call use_sequence_module after everything "
            f"else, or set batch_mode='complete_episodes' (or episode_lookback_horizon={length} "
            "if single-agent)"
        )
    step = slice(start - behind, stop)
    # The previous action of step t is action t-1, so these end one earlier.
    previous = slice(start - behind, stop - 1)
    observations = episode.get_observations(step, neg_index_as_lookback=True)
    columns = {
        Columns.OBS: _windows(np.asarray(observations), stop - start, length),
        STEPS_BEFORE: np.minimum(episode.t_started + np.arange(start, stop), length),
    }
    if config.prev_action:
        space = episode.action_space  # gives shape and type where no action was taken yet
        actions = np.asarray(
            episode.get_actions(previous, neg_index_as_lookback=True), space.dtype
        ).reshape(-1, *space.shape)
        columns[PREVIOUS_ACTIONS] = _windows(actions, stop - start, length)
    if config.prev_reward:
        rewards = episode.get_rewards(previous, neg_index_as_lookback=True)
        columns[PREVIOUS_REWARDS] = _windows(np.asarray(rewards, np.float32), stop - start, length)
    return columns


def no_windows(
    streams: int, obs_space: gym.Space, action_space: gym.Space, config: WindowLayout
) -> dict[str, NDArray]:
    """Return the windows of streams that have no step.

    Args:
        streams: how many.
        obs_space: of one step, a flat Box.
        action_space: of one step.
        config: window length, and whether previous actions and rewards are inputs.

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
        past: windows before it, as `no_windows` or this function returned them, N rows; whatever at
            the first step of a stream.
        before: steps that the streams have behind them, `[N]`.
        observations: `[N, obs_dim]`.
        previous_actions: `[N, ...]`, whatever at the first step of a stream.
        previous_rewards: `[N]`, the same.

    Returns:
        the columns of `windows_of`.

    Examples:
        >>> from gymnasium.spaces import Box, Discrete
        >>> layout = WindowLayout(window_length=3, prev_action=True, prev_reward=False)
        >>> past = no_windows(2, Box(0, 1, (2,)), Discrete(4), layout)
        >>> nothing = np.zeros(2, int)
        >>> rows = next_windows(past, nothing, np.ones((2, 2)), nothing, nothing)
        >>> rows["obs"].shape, rows["previous_actions"].shape, rows["steps_before"].tolist()
        ((2, 3, 2), (2, 3), [0, 0])
    """
    news = {
        Columns.OBS: observations,
        PREVIOUS_ACTIONS: previous_actions,
        PREVIOUS_REWARDS: previous_rewards,
    }
    rows = {STEPS_BEFORE: np.minimum(before, past[Columns.OBS].shape[1])}
    begins = before == 0
    for name, column in past.items():
        new = np.asarray(news[name], column.dtype)
        rows[name] = np.concatenate([column[:, 1:], new[:, None]], axis=1)
        rows[name][begins, : -1 if name == Columns.OBS else None] = 0
    return rows


def stream_of(episode: SingleAgentEpisode) -> str:
    """Return the name of a stream for messages."""
    if episode.agent_id is None:
        return f"episode {episode.id_}"
    return f"agent {episode.agent_id!r} of episode {episode.multi_agent_episode_id}"


def _windows(rows: np.ndarray, count: int, length: int) -> np.ndarray:
    """The last `count` windows `[count, length, ...]` of `rows`, zeros before the first row."""
    padded = np.zeros((count + length - 1, *rows.shape[1:]), rows.dtype)
    kept = min(len(rows), len(padded))
    padded[len(padded) - kept :] = rows[len(rows) - kept :]
    # A view; numpy's checked sliding_window_view takes longer than all the rest of this function.
    return np.lib.stride_tricks.as_strided(
        padded, (count, length, *rows.shape[1:]), (padded.strides[0], *padded.strides)
    )

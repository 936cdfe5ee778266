"""Windows rebuilt from RLlib's episodes, so that no window is ever stored.

- `EpisodeWindows`: connector that puts the window of every step into a batch, when acting and when
  training alike
- `windows_of`: the same for one episode, as arrays
- `WindowLayout`: what is in a window
- `stream_of`: the name of an episode in messages

An episode keeps every observation, action and reward once. A chunk of a cut episode keeps some of
what came before it (its lookback). With L = 4 and a chunk that starts at step 5:

    observations   o1 o2 o3 o4 | o5 o6 o7        window of o5: [o2 o3 o4 o5]
    actions        a1 a2 a3 a4 | a5 a6           previous:     [a1 a2 a3 a4]

One step more than the window is long is looked back on, for the previous action of its oldest slot.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_seq.config import SequenceConfig
from rllib_seq.errors import UserError
from rllib_seq.models.step_inputs import refuse_bad_step

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


class EpisodeWindows(ConnectorV2):
    """Adds windows to a batch, as the columns that `windows_of` returns.

    It stands in the env-to-module pipeline (one window per acting agent) and in the learner
    pipeline (one per step), so that training sees exactly what acting saw. It has no state.
    """

    def __init__(
        self,
        input_observation_space: gym.Space | None = None,
        input_action_space: gym.Space | None = None,
        *,
        config: WindowLayout,
        as_learner_connector: bool = False,
    ) -> None:
        """Build the connector.

        Args:
            input_observation_space: RLlib sets it.
            input_action_space: RLlib sets it.
            config: window length, and whether previous actions and rewards are inputs.
            as_learner_connector: windows of all steps, not of the last one alone.
        """
        super().__init__(input_observation_space, input_action_space)
        self.config = config
        self.as_learner_connector = as_learner_connector

    def __call__(
        self, *, batch: dict[str, Any], episodes: list[Any], rl_module: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Add the columns to `batch`; RLlib calls this.

        Modules that see no windows get the observations of their steps, as from RLlib.

        Raises:
            NonFiniteInputError: when acting, an observation or a reward is NaN or infinite.
            UserError: an episode was cut and does not look back far enough.
        """
        for episode in self.single_agent_episode_iterator(
            episodes, agents_that_stepped_only=not self.as_learner_connector
        ):
            if not self.as_learner_connector:  # every step passes here once, the last one too
                reward = episode.rewards[-1] if len(episode) else 0.0
                refuse_bad_step(stream_of(episode), episode.t, episode.observations[-1], reward)
            steps = len(episode)
            start, stop = (0, steps) if self.as_learner_connector else (steps, steps + 1)
            if sees_windows(rl_module, episode):
                columns = windows_of(episode, start, stop, self.config)
            else:
                columns = {Columns.OBS: episode.get_observations(slice(start, stop))}
            for column, rows in columns.items():
                if self.as_learner_connector:
                    self.add_n_batch_items(batch, column, rows, steps, episode)
                else:
                    self.add_batch_item(batch, column, rows[0], episode)
        return batch


def sees_windows(rl_module: Any, episode: SingleAgentEpisode) -> bool:
    """Return whether the module that acts in an episode is one of this package.

    Args:
        rl_module: of a connector's call, one or several; None means that all are.
        episode: of one agent.
    """
    if rl_module is None:
        return True
    module = rl_module.unwrapped()
    if isinstance(module, MultiRLModule):
        name = DEFAULT_MODULE_ID if episode.module_id is None else episode.module_id
        module = module[name].unwrapped()
    return hasattr(module, "window_layout")


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

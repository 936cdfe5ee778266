"""What brings the steps of RLlib's episodes to a module of this package.

- `FlattenSteps`: observations as vectors
- `EpisodeWindows`: the window of every step, when acting and when training alike
- `StreamColumns`: what a stream draws at its first step and keeps to its end
- `sees_windows`: whose modules get them
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from numpy.typing import NDArray
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_seq.models.observations import StepSpace, allows_nothing, refuse_empty_mask
from rllib_seq.models.rl_module.windows import WindowLayout, stream_of, windows_of
from rllib_seq.models.step_inputs import refuse_bad_step

_DRAWN = "stream_columns"


class FlattenSteps(ConnectorV2):
    """Writes observations into the episodes as vectors that stay narrow, see `StepSpace`.

    RLlib's own makes a number of n values n features wide, and bytes of pixels floats: four times
    as much memory in every episode.
    """

    def __init__(
        self,
        input_observation_space: gym.Space | None = None,
        input_action_space: gym.Space | None = None,
        *,
        multi_agent: bool,
        embed_above: int,
    ) -> None:
        """Build the connector.

        Args:
            input_observation_space: RLlib sets it.
            input_action_space: RLlib sets it.
            multi_agent: whether the space is a Dict by agent.
            embed_above: numbers of more values are one feature.
        """
        self.multi_agent = multi_agent
        self.embed_above = embed_above
        super().__init__(input_observation_space, input_action_space)

    def recompute_output_observation_space(
        self, input_observation_space: gym.Space, input_action_space: gym.Space
    ) -> gym.Space:
        """Return the flat space; RLlib calls this."""
        if not self.multi_agent:
            return StepSpace(input_observation_space, self.embed_above)
        spaces = input_observation_space.items()  # type: ignore[attr-defined]
        return gym.spaces.Dict(
            {agent: StepSpace(space, self.embed_above) for agent, space in spaces}
        )

    def __call__(
        self, *, batch: dict[str, Any], episodes: list[Any], **kwargs: Any
    ) -> dict[str, Any]:
        """Flatten the last observation of every episode; RLlib calls this.

        Raises:
            UserError: an observation does not fit its space, or no action is allowed.
        """
        for episode in self.single_agent_episode_iterator(episodes, agents_that_stepped_only=True):
            space, actions = self.observation_space, self.input_action_space
            if self.multi_agent:
                space, actions = space[episode.agent_id], actions[episode.agent_id]
            flat = space.rows(episode.get_observations(-1), 1)[0]
            mask = space.mask
            if mask and not episode.is_done and allows_nothing(flat[mask], actions):
                refuse_empty_mask(stream_of(episode), episode.t)
            episode.set_observations(at_indices=-1, new_data=flat)
            episode.observation_space = space
        return batch


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


class StreamColumns(ConnectorV2):
    """Adds to a batch what `draw` drew for each acting stream at its first step.

    It stays with the episode, so it survives the end of a fragment and goes when the stream ends.
    """

    def draw(self, count: int) -> dict[str, NDArray[Any]]:
        """Draw for `count` streams that begin: columns `[count]`."""
        raise NotImplementedError

    def __call__(
        self, *, batch: dict[str, Any], episodes: list[Any], **kwargs: Any
    ) -> dict[str, Any]:
        """Add the columns; RLlib calls this."""
        for episode in self.single_agent_episode_iterator(episodes, agents_that_stepped_only=True):
            drawn = episode.custom_data.get(_DRAWN)
            if drawn is None:
                drawn = {name: column[0] for name, column in self.draw(1).items()}
                episode.custom_data[_DRAWN] = drawn
            for name, value in drawn.items():
                self.add_batch_item(batch, name, value, episode)
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

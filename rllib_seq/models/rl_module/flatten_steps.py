"""Observations of the new API stack as vectors that stay narrow.

- `FlattenSteps`: the connector

RLlib's own makes a number of n values n features wide, and bytes of pixels floats: four times as
much memory in every episode.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from ray.rllib.connectors.connector_v2 import ConnectorV2

from rllib_seq.models.observations import StepSpace, allows_nothing, refuse_empty_mask
from rllib_seq.models.rl_module.episode_windows import stream_of


class FlattenSteps(ConnectorV2):
    """Writes flat observations into the episodes, see `StepSpace`."""

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

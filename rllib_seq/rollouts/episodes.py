"""What streams did, as RLlib's episodes.

- `EpisodeChunks`: episodes of one agent, cut where a batch ends
- `campaign_episodes`: whole episodes of several agents
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from rllib_seq.rollouts.acting.carried_states import COPY
from rllib_seq.rollouts.acting.module_actor import ModuleActor
from rllib_seq.rollouts.gym_arrays import INFO, INFO_BEFORE
from rllib_seq.rollouts.pieces import RolloutBatch
from rllib_seq.rollouts.sampler import Campaign

__all__ = ["EpisodeChunks", "campaign_episodes"]

Array = NDArray[Any]


class _Past(NamedTuple):
    """What the next chunk of a stream looks back on, k steps."""

    episode: str
    observations: Array
    """`[k, ...]`, without the one that the chunk begins with."""
    columns: dict[str, Array]
    """`[k, ...]`."""
    infos: list[Any]


class EpisodeChunks:
    """Makes chunks of episodes, each of which looks back on the one before.

    Args:
        horizon: steps that a chunk looks back on at most, RLlib's `episode_lookback_horizon`.
        observation_space: of a step, as the module sees it.
        action_space: of a step.
    """

    def __init__(self, horizon: int, observation_space: gym.Space, action_space: gym.Space) -> None:
        self._horizon = horizon
        self._spaces = observation_space, action_space
        self._past: dict[int, _Past] = {}

    def chunks(
        self, batch: RolloutBatch, actor: ModuleActor, weights: int
    ) -> list[SingleAgentEpisode]:
        """Return a chunk for every piece, those that ended first.

        Args:
            batch: of streams with the infos of `gym_arrays.InfoArrays`.
            actor: that acted in it.
            weights: RLlib's number of its weights.
        """
        columns = dict(actor.finish(batch).columns)
        observations, copies = columns.pop("obs"), columns.pop(COPY, None)
        columns[WEIGHTS_SEQ_NO] = np.full(len(observations), weights)
        before, after = batch.infos[INFO_BEFORE], batch.infos[INFO]
        made = []
        for piece, steps in enumerate(_slices(batch)):
            row = int(batch.rows[piece])
            started = int(batch.starts[piece])
            ends = bool(batch.terminated[piece]), bool(batch.truncated[piece])
            seen = np.concatenate([observations[steps], batch.next_observations[piece][None]])
            found = {name: column[steps] for name, column in columns.items()}
            infos = [before[steps.start], *after[steps]]
            chunk = self._chunk(row, started, ends, seen, found, infos, actor)
            if copies is not None:
                actor.keep_states(chunk, piece, row, copies[steps])
            made.append(chunk)
        return [e for e in made if e.is_done] + [e for e in made if not e.is_done]

    def _chunk(
        self,
        row: int,
        started: int,
        ends: tuple[bool, bool],
        observations: Array,
        columns: dict[str, Array],
        infos: list[Any],
        actor: ModuleActor,
    ) -> SingleAgentEpisode:
        past, lookback = self._past.pop(row, None), 0
        if started == 0:  # what came before was not played to its end
            past = None
        if past is not None:
            lookback = len(past.infos)
            observations = np.concatenate([past.observations, observations])
            columns = {n: np.concatenate([past.columns[n], c]) for n, c in columns.items()}
            infos = past.infos + infos
        terminated, truncated = ends
        episode = _episode(
            observations,
            columns,
            infos,
            self._spaces,
            actor,
            lookback,
            id_=None if past is None else past.episode,
            t_started=started,
            terminated=terminated,
            truncated=truncated,
        )
        if not episode.is_done:
            first = max(0, len(observations) - 1 - self._horizon)
            self._past[row] = _Past(
                episode.id_,
                observations[first:-1],
                {name: column[first:] for name, column in columns.items()},
                infos[first:-1],
            )
        return episode


def campaign_episodes(
    batch: RolloutBatch,
    campaigns: Sequence[Campaign],
    env: Any,
    actor: ModuleActor,
    spaces: tuple[gym.Space, gym.Space],
    mapping: Callable[..., Any],
) -> list[MultiAgentEpisode]:
    """Return an episode for every campaign that was played from its start to its end.

    Args:
        batch: pieces are whole journeys.
        campaigns: in it.
        env: RLlib's multi-agent environment; its `possible_agents` are the streams.
        actor: that acted.
        spaces: of observations and actions of a step, as the module sees them.
        mapping: RLlib's `policy_mapping_fn`.
    """
    slots = len(env.possible_agents)
    columns = dict(actor.finish(batch).columns)
    observations, copies = columns.pop("obs"), columns.pop(COPY, None)
    slices = _slices(batch)
    episodes = []
    for campaign in campaigns:
        episode = MultiAgentEpisode(
            observation_space=env.observation_spaces,
            action_space=env.action_spaces,
            agent_to_module_mapping_fn=mapping,
        )
        pieces = np.flatnonzero(batch.rows // slots == campaign.number)
        for piece in pieces.tolist():
            row, steps = int(batch.rows[piece]), slices[piece]
            agent = env.possible_agents[row % slots]
            part = episode.agent_episodes[agent] = _episode(
                np.concatenate([observations[steps], batch.next_observations[piece][None]]),
                {name: column[steps] for name, column in columns.items()},
                _infos(batch, steps),
                spaces,
                actor,
                agent_id=agent,
                module_id=actor.name,
                multi_agent_episode_id=episode.id_,
                terminated=bool(batch.terminated[piece]),
                truncated=bool(batch.truncated[piece]),
            )
            if copies is not None:
                actor.keep_states(part, piece, row, copies[steps])
            episode._agent_to_module_mapping[agent] = actor.name
        episode.env_t = campaign.ticks
        episode.is_truncated = bool(batch.truncated[pieces].any())
        episode.is_terminated = not episode.is_truncated
        episodes.append(episode)
    return episodes


def _episode(
    observations: Array,
    columns: dict[str, Array],
    infos: list[Any],
    spaces: tuple[gym.Space, gym.Space],
    actor: ModuleActor,
    lookback: int = 0,
    **more: Any,
) -> SingleAgentEpisode:
    outputs = actor.nest_states(columns)
    actions, rewards = outputs.pop("actions"), outputs.pop("rewards")
    return SingleAgentEpisode(
        observations=InfiniteLookbackBuffer(observations, lookback),
        actions=InfiniteLookbackBuffer(actions, lookback),
        rewards=InfiniteLookbackBuffer(rewards, lookback),
        infos=InfiniteLookbackBuffer(infos, lookback),
        extra_model_outputs={
            name: InfiniteLookbackBuffer(column, lookback) for name, column in outputs.items()
        },
        observation_space=spaces[0],
        action_space=spaces[1],
        len_lookback_buffer=lookback,
        **more,
    )


def _slices(batch: RolloutBatch) -> list[slice]:
    """The steps of every piece."""
    pairs = zip(batch.first.tolist(), batch.lengths.tolist(), strict=True)
    return [slice(first, first + steps) for first, steps in pairs]


def _infos(batch: RolloutBatch, steps: slice) -> list[dict[str, Any]]:
    """Those of a journey: none with the first observation, then what each step brought."""
    infos = batch.infos
    brought: Iterable[list[Any]] = [infos[name][steps].tolist() for name in infos]
    if not infos:
        return [{}] * (steps.stop - steps.start + 1)
    return [{}, *(dict(zip(infos, row, strict=True)) for row in zip(*brought, strict=True))]

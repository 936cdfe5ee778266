"""Learning from trajectories that a bid server has recorded.

- `RecordedEnvRunner`, `RecordedOutcomeWorker`: hand them to DQN and to Lift instead of playing.
- `learn_offline`: sets a config up for it.

What the policy that was served never did is not in its records: let the server explore
(`--explore`), or Q-learning will believe in actions that no one has tried. Lift needs less of it:
prices alone decide whether a bid wins, so every level tells of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.policy.policy import Policy
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from rllib_seq.errors import UserError
from rllib_seq.lift import LiftConfig
from rllib_seq.lift.dqn import OutcomeDQNConfig
from rllib_seq.lift.worker import OutcomeArrays, OutcomeWorker
from rllib_seq.rollouts import ArrayEnvRunner
from rllib_seq.rollouts.array_worker import JourneyReader
from rllib_seq.rollouts.sampler import VectorSampler
from rllib_seq.training.config.checks import auction_config
from rllib_seq.training.run.records import (
    Stream,
    read_records,
    refuse_other_values,
    served_world,
)

_KEY = "trajectories"  # in config.input_config


class RecordedEnvRunner(ArrayEnvRunner):
    """Returns recorded streams, all of them in turn, shuffled again every time.

    Each is an agent of an episode, as if users of the environment had been played. The module does
    not act.

    Raises:
        UserError: the records are of another world than the environment.
    """

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        if self.env is None:
            return
        self._streams = _records_of(self.config)
        self._order = np.zeros(0, np.int64)
        self._random = np.random.default_rng(self.config.seed)

    def _sample(self, **kwargs: Any) -> list[MultiAgentEpisode]:
        """One episode of as many streams as the environment has users."""
        agents = self._env.possible_agents
        if len(self._order) < len(agents):
            drawn = self._random.permutation(len(self._streams))
            self._order = np.concatenate([self._order, drawn])
        taken, self._order = self._order[: len(agents)], self._order[len(agents) :]
        streams = [self._streams[i] for i in taken]
        episode = MultiAgentEpisode(
            observation_space=self._env.observation_spaces,
            action_space=self._env.action_spaces,
            agent_to_module_mapping_fn=self.config.policy_mapping_fn,
        )
        for agent, stream in zip(agents, streams, strict=False):
            steps = len(stream.actions)
            episode.agent_episodes[agent] = SingleAgentEpisode(
                agent_id=agent,
                module_id=self._actor.name,
                multi_agent_episode_id=episode.id_,
                observations=list(stream.observations),
                actions=list(stream.actions),
                rewards=stream.rewards.tolist(),
                infos=[{}] * (steps + 1),
                observation_space=self._env.observation_spaces[agent],
                action_space=self._env.action_spaces[agent],
                terminated=stream.ended,
                truncated=not stream.ended,
                len_lookback_buffer=0,
            )
            episode._agent_to_module_mapping[agent] = self._actor.name
        lengths = [len(stream.actions) for stream in streams]
        episode.env_t, episode.is_terminated = max(lengths), True
        self._count(max(lengths), sum(lengths), 1)
        self._done_episodes_for_metrics.append(episode)
        return [episode]


class RecordedOutcomeWorker(OutcomeWorker):
    """Returns recorded journeys that have ended, all of them in turn, shuffled every time.

    Raises:
        UserError: the records are of another world than the environment, or no journey has ended.
    """

    def make_reader(self, name: str, env: Any) -> JourneyReader:
        """See `ArrayRolloutWorker.make_reader`."""
        arrays = OutcomeArrays(env.simulator.config, self.config.num_envs_per_env_runner, 0)
        return _RecordReader(name, self.policy_map[name], arrays, self)


class _RecordReader(JourneyReader):
    def __init__(
        self, name: str, policy: Policy, arrays: OutcomeArrays, worker: RecordedOutcomeWorker
    ) -> None:
        super().__init__(name, policy, VectorSampler(arrays), worker)
        self._streams = _records_of(worker.config)
        self._cost = 1.0 + arrays.simulator.preset.shadow_price
        self._random = np.random.default_rng(worker.config.seed)
        self._order = np.zeros(0, np.int64)

    def next(self) -> MultiAgentBatch:
        """Return as many journeys as there are users in a round of campaigns."""
        count = min(self.sampler.rows, len(self._streams))
        if len(self._order) < count:
            drawn = self._random.permutation(len(self._streams))
            self._order = np.concatenate([self._order, drawn])
        taken, self._order = self._order[:count], self._order[count:]
        streams = [self._streams[number] for number in taken]
        payment = np.concatenate([stream.payments for stream in streams])
        columns = {
            "obs": np.concatenate([stream.observations[:-1] for stream in streams]),
            "actions": np.concatenate([stream.actions for stream in streams]),
            "rewards": np.concatenate([stream.rewards for stream in streams]).astype(np.float32),
            "won": payment > 0,
            "paid": (payment / self._cost).astype(np.float32),
            SampleBatch.SEQ_LENS: np.array([len(stream.actions) for stream in streams]),
        }
        return MultiAgentBatch({self.name: SampleBatch(columns)}, env_steps=len(payment))


def learn_offline(config: AlgorithmConfig, paths: Sequence[Path]) -> AlgorithmConfig:
    """Lets a config learn from records instead of playing.

    Args:
        config: of Lift, or of DQN with users as agents; is changed in place and returned.
        paths: see `read_records`; they are read once here, so that mistakes show at once.

    Raises:
        UserError: the algorithm learns only from what it does itself, or the records are bad.
    """
    lift = isinstance(config, LiftConfig)
    if not lift and not (isinstance(config, DQNConfig) and config.is_multi_agent):
        raise UserError(
            f"--offline needs an algorithm that learns from others' actions, and "
            f"{type(config).__name__.removesuffix('Config')} does not (or its users are not "
            "agents); give lift or dqn"
        )
    if lift and config.informed:
        raise UserError("informed is True, and records hold no hidden stage; remove it")
    world = auction_config(config)
    if world is None:
        raise UserError(
            f"--offline learns from records of a bid server, in 'multi_user_ad_auction'; this "
            f"config's environment is {config.env!r}"
        )
    if world.actions == "levels":  # as many as the server could choose from
        levels = len(served_world(paths)["bid_levels"]) - 1
        config.environment(env_config={**config.env_config, "num_bid_levels": levels})
    worker = RecordedOutcomeWorker if lift else RecordedEnvRunner
    config.env_runners(env_runner_cls=worker, num_env_runners=0)
    config.offline_data(input_config={_KEY: [str(path.resolve()) for path in paths]})
    streams = _records_of(config)
    if isinstance(config, OutcomeDQNConfig):
        refuse_other_values(streams, world.build_preset())
    return config


def _records_of(config: AlgorithmConfig) -> list[Stream]:
    world = auction_config(config)
    assert world is not None
    paths = [Path(path) for path in config.input_config[_KEY]]
    return read_records(paths, world, whole=isinstance(config, LiftConfig))

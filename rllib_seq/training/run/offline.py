"""Learning from trajectories that a bid server has recorded.

- `read_trajectories`: files to streams.
- `RecordedEnvRunner`, `RecordedOutcomeWorker`: hand them to DQN and to Lift instead of playing.
- `learn_offline`: sets a config up for it.

What the policy that was served never did is not in its records: let the server explore
(`--explore`), or Q-learning will believe in actions that no one has tried. Lift needs less of it:
prices alone decide whether a bid wins, so every level tells of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.policy.policy import Policy
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig, Preset
from rllib_seq.errors import UserError
from rllib_seq.lift import LiftConfig
from rllib_seq.lift.dqn import OutcomeDQNConfig
from rllib_seq.lift.worker import OutcomeArrays, OutcomeWorker
from rllib_seq.rollouts import ArrayEnvRunner
from rllib_seq.rollouts.array_worker import JourneyReader
from rllib_seq.rollouts.sampler import VectorSampler
from rllib_seq.serving.trajectories import ACTIONS, SCHEMA

_KEY = "trajectories"  # in config.input_config
_SILENCE_HOURS = 24.0


class Stream(NamedTuple):
    """Steps of one user without a gap."""

    observations: NDArray[np.float32]
    """`[T + 1, D]`; the last is what came after the last step, or (if it ended) its own again."""
    actions: NDArray[np.int64]
    """`[T]`."""
    rewards: NDArray[np.float64]
    """`[T]`."""
    payments: NDArray[np.float64]
    """`[T]`, what the rewards hold of prices; 0 where no impression was paid."""
    ended: bool
    """The user has not come back for a day; else there is more of them that was not recorded."""


def read_trajectories(paths: Sequence[Path]) -> list[Stream]:
    """Puts recorded rows together.

    Args:
        paths: Parquet files, or folders of them.

    Raises:
        UserError: there are none, one cannot be read, or they hold no step.
    """
    table = pa.concat_tables([_read(file) for path in paths for file in _files(path)])
    steps = table.filter(pa.compute.is_valid(table["action"])).sort_by(
        [("episode", "ascending"), ("step", "ascending")]
    )
    if steps.num_rows == 0:
        raise UserError(f"{', '.join(map(str, paths))} hold rewards alone and no step")
    episode, step, hour, action = (
        steps[name].to_numpy() for name in ("episode", "step", "hour", "action")
    )
    observation = np.stack(steps["observation"].to_numpy(zero_copy_only=False))
    reward, spend = _rewards_and_spend(table, episode, step)
    last_hour = float(table["hour"].to_numpy().max())
    new = np.ones(len(step), np.bool_)
    new[1:] = (episode[1:] != episode[:-1]) | (step[1:] != step[:-1] + 1)
    bounds = np.append(np.flatnonzero(new), len(step))
    streams = []
    for start, end in zip(bounds[:-1], bounds[1:], strict=True):
        goes_on = end < len(step) and episode[end] == episode[start]
        ended = not goes_on and last_hour - hour[end - 1] > _SILENCE_HOURS
        seen, done = observation[start:end], slice(start, end if ended else end - 1)
        if done.stop > done.start:
            after = [seen, seen[-1:]] if ended else [seen]
            streams.append(
                Stream(np.concatenate(after), action[done], reward[done], spend[done], bool(ended))
            )
    if not streams:
        raise UserError(
            f"{', '.join(map(str, paths))} hold no two steps of one user; record for longer"
        )
    return streams


def _files(path: Path) -> list[Path]:
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise UserError(f"no *.parquet in {str(path)!r}; give what `serve --record` wrote")
    return files


def _read(file: Path) -> pa.Table:
    try:
        return pq.read_table(file).select(SCHEMA.names).cast(SCHEMA)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        line = " ".join(str(error).split())
        raise UserError(f"cannot read trajectories from {str(file)!r}: {line}") from error


def _rewards_and_spend(table: pa.Table, episode: Any, step: Any) -> NDArray[np.float64]:
    """What each step brought, all rows of it added up, and what it paid, `[2, T]`.

    A row is what was paid or what a conversion is worth, so rows below 0 are payments.
    """
    spend = pa.compute.negate(pa.compute.min_element_wise(table["reward"], 0.0))
    summed = (
        table.append_column("spend", spend)
        .group_by(["episode", "step"])
        .aggregate([("reward", "sum"), ("spend", "sum")])
    )
    names = "episode", "step", "reward_sum", "spend_sum"
    columns = [summed[name].to_pylist() for name in names]
    place = {(e, s): both for e, s, *both in zip(*columns, strict=True)}
    return np.array([place[key] for key in zip(episode.tolist(), step.tolist(), strict=True)]).T


class RecordedEnvRunner(ArrayEnvRunner):
    """Returns recorded streams, all of them in turn, shuffled again every time.

    Each is an agent of an episode, as if users of the environment had been played. The module does
    not act.

    Raises:
        UserError: the records are of other spaces than the environment.
    """

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        if self.env is None:
            return
        self._streams = read_trajectories([Path(p) for p in self.config.input_config[_KEY]])
        agent = self._env.possible_agents[0]
        width = self._env.observation_spaces[agent].shape[0]
        _refuse_others(self._streams, width, int(self._actor.module.action_space.n))
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
        UserError: the records are of other spaces than the environment, or no journey has ended.
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
        streams = read_trajectories([Path(p) for p in worker.config.input_config[_KEY]])
        preset = arrays.simulator.preset
        _refuse_others(streams, arrays.simulator.observation_space.shape[0], len(preset.bid_levels))
        self._streams = [stream for stream in streams if stream.ended]
        if not self._streams:
            raise UserError(
                "no recorded journey has ended (a user is silent for a day); record for longer"
            )
        self._cost = 1.0 + preset.shadow_price
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


def _refuse_others(streams: Sequence[Stream], width: int, actions: int) -> None:
    """Refuses streams of other spaces."""
    for stream in streams:
        found = stream.observations.shape[1], int(stream.actions.max())
        if found[0] != width or found[1] >= actions:
            raise UserError(
                f"the trajectories have {found[0]} observed numbers and actions up to "
                f"{found[1]}; this config's world has {width} and up to {actions - 1}: train "
                "with the preset and observation that were served"
            )


def _take_levels(config: AlgorithmConfig, paths: Sequence[Path]) -> None:
    """Chooses among as many bid levels as the server did, if its records say how many."""
    files = [file for path in paths for file in _files(path)]
    said = {(pq.read_schema(file).metadata or {}).get(ACTIONS, b"").decode() for file in files}
    said.discard("")
    if len(said) > 1:
        counts = " and ".join(sorted(said))
        raise UserError(
            f"the trajectories are of policies with {counts} actions; give those of one"
        )
    if said and config.env_config.get("actions", "levels") == "levels":
        config.environment(env_config={"num_bid_levels": int(said.pop()) - 1})


def _refuse_other_values(streams: Sequence[Stream], preset: Preset) -> None:
    """Refuses conversions that are not worth what the preset says."""
    brought = np.concatenate([stream.rewards + stream.payments for stream in streams])
    count = brought / preset.value
    odd = np.abs(count - np.round(count)) > 1e-4
    if odd.any():
        raise UserError(
            f"the trajectories hold a conversion worth {brought[odd][0]:g}, and those of the world "
            f"are worth {preset.value:g}: OutcomeDQN takes from that value what the last bid of a "
            "journey has paid; use Lift (rllib-seq train lift --offline ...)"
        )


def learn_offline(config: AlgorithmConfig, paths: Sequence[Path]) -> AlgorithmConfig:
    """Lets a config learn from records instead of playing.

    Args:
        config: of Lift, or of DQN with users as agents; is changed in place and returned.
        paths: see `read_trajectories`; they are read once here, so that mistakes show at once.

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
    streams = read_trajectories(paths)
    _take_levels(config, paths)
    if isinstance(config, OutcomeDQNConfig):
        _refuse_other_values(streams, AuctionConfig.from_dict(config.env_config).build_preset())
    worker = RecordedOutcomeWorker if lift else RecordedEnvRunner
    config.env_runners(env_runner_cls=worker, num_env_runners=0)
    config.offline_data(input_config={_KEY: [str(path.resolve()) for path in paths]})
    return config

"""Rollout workers that step auctions as arrays, for RLlib's old API stack.

- `ArrayRolloutWorker`: plugged in by `config.env_runners(env_runner_cls=ArrayRolloutWorker)`

RLlib's own worker handles every request of every user by itself, in Python. This one asks the model
once per tick for all users that act, in all campaigns, and hands over whole sequences.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from ray.rllib.evaluation.metrics import RolloutMetrics
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.offline import InputReader
from ray.rllib.policy.policy import Policy
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.filter import NoFilter

from rllib_seq.errors import UserError
from rllib_seq.models import LSTMTransformerModel
from rllib_seq.models.auxiliary import label_column
from rllib_seq.models.event_labels import event_labels
from rllib_seq.rollouts.acting.memories import OF_MEMORY
from rllib_seq.rollouts.acting.policy_actor import PolicyActor
from rllib_seq.rollouts.acting.stock_models import refuse_model
from rllib_seq.rollouts.callbacks import CampaignEpisode, refuse_callbacks
from rllib_seq.rollouts.checks import CheckedArrays
from rllib_seq.rollouts.filters import FilteredArrays
from rllib_seq.rollouts.gym_arrays import make_arrays
from rllib_seq.rollouts.pieces import RolloutBatch, generalized_advantages
from rllib_seq.rollouts.sampler import VectorSampler
from rllib_seq.rollouts.worker import FaultReportingWorker

__all__ = ["ArrayRolloutWorker"]

Array = NDArray[Any]

# Settings of RLlib's sampler that change what is played or learned, and what is plain for each.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "batch_mode": ("truncate_episodes",),
    "clip_rewards": (None, False),
    "compress_observations": (False,),
    "explore": (True,),
}
Ints = NDArray[np.int64]


class ArrayRolloutWorker(FaultReportingWorker):
    """RLlib's rollout worker with another way to play.

    For any Gymnasium environment (its vector form is chosen by `gym_env_vectorize_mode`) and for
    multi-agent environments with a method `array_env`, such as `multi_user_ad_auction` and
    `auction_log`. It plays `num_envs_per_env_runner` episodes side by side with the policy's
    "lstm_transformer", or with RLlib's own MLP or LSTM, and gives PPO, APPO and IMPALA the same
    columns as RLlib's worker would.
    Weights, observation filters and checkpoints are RLlib's.

    Raises:
        UserError: the environment cannot be stepped as arrays, there are several policies, or
            a model that reads more than the observations and the state of the step before.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.env is None:  # a worker without an environment only holds the weights
            return
        for name, plain in _PLAIN.items():
            if getattr(self.config, name) not in plain:
                raise UserError(
                    f"ArrayRolloutWorker does not know {name}={getattr(self.config, name)!r}; "
                    f"set it to {plain[0]!r}, or remove env_runner_cls from the config"
                )
        names = list(self.policy_map)
        if len(names) != 1:
            raise UserError(
                f"ArrayRolloutWorker plays one policy for all users, and this config has {names}; "
                "remove env_runner_cls from it"
            )
        refuse_callbacks(self.config, "ArrayRolloutWorker")
        self._journeys = self.make_reader(names[0], self.env.unwrapped)
        self.input_reader = self._journeys

    def make_reader(self, name: str, env: Any) -> JourneyReader:
        """Return where batches come from.

        Args:
            name: of the policy.
            env: one that this worker plays.
        """
        seed = None if self.config.seed is None else self.config.seed + self.worker_index
        count = self.config.num_envs_per_env_runner
        arrays = make_arrays(
            self.env,
            self._make_env,
            count,
            self.config.gym_env_vectorize_mode,
            seed,
            "ArrayRolloutWorker",
        )
        model = self.policy_map[name].model
        names = getattr(env, "possible_agents", [None])
        arrays = CheckedArrays(arrays, names, getattr(model, "step_inputs", None))
        if not isinstance(self.filters[name], NoFilter):
            arrays = FilteredArrays(arrays, lambda: [self.filters[name]] * arrays.slots)
        return _FragmentReader(name, self.policy_map[name], VectorSampler(arrays), self)

    def _make_env(self, number: int) -> gym.Env:
        context = self.env_context.copy_with_overrides(vector_index=number)
        return self.env_creator(context)

    def get_metrics(self) -> list[RolloutMetrics]:
        """Return the campaigns that ended since the last call."""
        return [] if self.env is None else self._journeys.take_metrics()


class JourneyReader(InputReader):
    """Where the worker's `sample` gets its batches from: a base class; `next` is to be defined."""

    def __init__(
        self, name: str, policy: Policy, sampler: VectorSampler, worker: ArrayRolloutWorker
    ) -> None:
        refuse_model(policy)
        self.name, self.policy, self.sampler = name, policy, sampler
        self._worker = worker
        self._ended: list[CampaignEpisode] = []
        self._agents = getattr(worker.env.unwrapped, "possible_agents", ["agent0"])
        self._episodes = 0

    def take_metrics(self) -> list[RolloutMetrics]:
        """See `ArrayRolloutWorker.get_metrics`."""
        ended, self._ended = self._ended, []
        return [
            RolloutMetrics(
                episode.length,
                episode.total_reward,
                episode.agent_rewards,
                custom_metrics=episode.custom_metrics,
                hist_data=episode.hist_data,
                media=episode.media,
            )
            for episode in ended
        ]

    def end_campaigns(self) -> None:
        """Call, for campaigns that ended, what users let RLlib call at the end of an episode."""
        campaigns, self.sampler.campaigns = self.sampler.campaigns, []
        for campaign in campaigns:
            episode = CampaignEpisode.of(campaign, self._episodes, self.name, self._agents)
            self._episodes += 1
            self._worker.callbacks.on_episode_end(
                worker=self._worker,
                base_env=self._worker.async_env,
                policies=self._worker.policy_map,
                episode=episode,
                env_index=campaign.number,
            )
            self._ended.append(episode)


class _FragmentReader(JourneyReader):
    """Fragments of journeys, with the columns of RLlib's on-policy learners."""

    def __init__(
        self, name: str, policy: Policy, sampler: VectorSampler, worker: ArrayRolloutWorker
    ) -> None:
        super().__init__(name, policy, sampler, worker)
        ours = isinstance(policy.model, LSTMTransformerModel)
        self._heads = policy.model.config.auxiliary if ours else {}
        sampler.with_infos = bool(self._heads)
        self._steps = worker.total_rollout_fragment_length
        longest = policy.config["model"]["max_seq_len"]
        self._bidder = PolicyActor(policy, sampler.rows, longest)
        self._unroll = 0

    def next(self) -> MultiAgentBatch:
        """Play the next batch."""
        self.policy.model.eval()  # not in every tick: that walks all layers
        open_rows = self.sampler.open_rows
        self.sampler.store(open_rows, self._bidder.memory.begin(open_rows))
        journeys = self.sampler.sample(self._steps, self._bidder)
        batch = self._columns(journeys) | self._sequences(journeys)
        self.end_campaigns()
        return MultiAgentBatch({self.name: SampleBatch(batch)}, env_steps=journeys.ticks)

    def _columns(self, journeys: RolloutBatch) -> dict[str, Array]:
        config = self.policy.config
        values, next_values = self._bidder.memory.values(journeys)
        columns = {name: rows for name, rows in journeys.columns.items() if name not in OF_MEMORY}
        columns |= self._labels(journeys)
        piece, ends = journeys.piece, np.cumsum(journeys.lengths)
        terminateds, truncateds = np.zeros((2, len(values)), np.bool_)
        terminateds[ends - 1], truncateds[ends - 1] = journeys.terminated, journeys.truncated
        columns |= {
            SampleBatch.VF_PREDS: values,
            SampleBatch.TERMINATEDS: terminateds,
            SampleBatch.TRUNCATEDS: truncateds,
            SampleBatch.T: journeys.starts[piece] + journeys.place,
            SampleBatch.EPS_ID: self._unroll + piece,
            SampleBatch.UNROLL_ID: self._unroll + piece,
            SampleBatch.AGENT_INDEX: journeys.rows[piece],
        }
        self._unroll += len(ends)
        if config.get("vtrace"):
            bootstrapped = np.zeros(len(values), np.float32)
            bootstrapped[ends - 1] = next_values
            columns[SampleBatch.VALUES_BOOTSTRAPPED] = bootstrapped
        else:
            advantages, targets = generalized_advantages(
                columns[SampleBatch.REWARDS].astype(np.float64),
                values.astype(np.float64),
                next_values.astype(np.float64),
                journeys.lengths,
                config["gamma"],
                config["lambda"] if config["use_gae"] else 1.0,
            )
            columns[Postprocessing.ADVANTAGES] = advantages.astype(np.float32)
            columns[Postprocessing.VALUE_TARGETS] = targets.astype(np.float32)
        return columns

    def _labels(self, journeys: RolloutBatch) -> dict[str, Array]:
        """Labels of the auxiliary heads, by column."""
        labels, infos = {}, journeys.infos
        for name, head in self._heads.items():
            if name not in infos:
                raise UserError(
                    f"auxiliary head {name!r} names no event of the ad auction; choose from "
                    f"{', '.join(sorted(infos.keys() - {'present', 'survival'}))}"
                )
            labels[label_column(name)] = event_labels(
                infos[name].astype(np.float64),
                infos["present"],
                infos["survival"],
                journeys.lengths,
                journeys.terminated,
                head.horizon,
            )
        return labels

    def _sequences(self, journeys: RolloutBatch) -> dict[str, Array]:
        """Sequences of at most `max_seq_len` steps and the states in which they begin."""
        if not self.policy.is_recurrent():
            return {}
        longest = self.policy.config["model"]["max_seq_len"]
        count = -(-journeys.lengths // longest)  # sequences of each piece
        piece = np.repeat(np.arange(len(count)), count)
        begin = longest * (np.arange(len(piece)) - (np.cumsum(count) - count)[piece])
        states = self._bidder.memory.states(journeys, piece, begin)
        return {
            **{f"state_in_{number}": state for number, state in enumerate(states)},
            SampleBatch.SEQ_LENS: np.minimum(journeys.lengths[piece] - begin, longest),
        }

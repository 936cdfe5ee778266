"""Rollout workers that step auctions as arrays, for RLlib's old API stack.

- `ArrayRolloutWorker`: plugged in by `config.env_runners(env_runner_cls=ArrayRolloutWorker)`

RLlib's own worker handles every request of every user by itself, in Python. This one asks the model
once per tick for all users that act, in all campaigns, and hands over whole sequences.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.evaluation.metrics import RolloutMetrics
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.offline import InputReader
from ray.rllib.policy.policy import Policy
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from envs.ad_auction.multi_agent_env import MultiUserAdAuctionEnv
from envs.ad_auction.replay_env import AuctionLogEnv
from envs.ad_auction.replay_users_env import AuctionLogUsersEnv
from rllib_seq.errors import UserError
from rllib_seq.models import LSTMTransformerModel
from rllib_seq.models.auxiliary import label_column
from rllib_seq.models.event_labels import event_labels
from rllib_seq.rollouts.journeys import (
    Acts,
    Journeys,
    JourneySampler,
    ReplaySampler,
    generalized_advantages,
)
from rllib_seq.rollouts.worker import TellingRolloutWorker

__all__ = ["ArrayRolloutWorker"]

Array = NDArray[Any]

# Settings of RLlib's sampler that change what is played or learned, and what is plain for each.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "batch_mode": ("truncate_episodes",),
    "observation_filter": ("NoFilter",),
    "clip_rewards": (None, False),
    "compress_observations": (False,),
    "explore": (True,),
}
Ints = NDArray[np.int64]


class ArrayRolloutWorker(TellingRolloutWorker):
    """RLlib's rollout worker with another way to play.

    For `multi_user_ad_auction` and `auction_log`. It samples `num_envs_per_env_runner` campaigns
    (of a log: episodes) side by side with the policy's "lstm_transformer", and gives PPO, APPO and
    IMPALA the same columns as RLlib's worker would. Weights, filters of faults and checkpoints are
    RLlib's.

    Raises:
        UserError: the environment is another, there are several policies, or another model.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.env is None:  # a worker without an environment only holds the weights
            return
        env = self.env.unwrapped
        if not isinstance(env, MultiUserAdAuctionEnv | AuctionLogEnv | AuctionLogUsersEnv):
            raise UserError(
                "ArrayRolloutWorker plays multi_user_ad_auction and auction_log, not "
                f"{type(env).__name__}; remove env_runner_cls from the config"
            )
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
        seed = None if self.config.seed is None else self.config.seed + self.worker_index
        count = self.config.num_envs_per_env_runner
        sampler = (
            JourneySampler(env.simulator.config, count, seed)
            if isinstance(env, MultiUserAdAuctionEnv)
            else ReplaySampler(env.replay.world, count, seed)
        )
        self._journeys = _JourneyReader(names[0], self.policy_map[names[0]], sampler, self)
        self.input_reader = self._journeys

    def get_metrics(self) -> list[RolloutMetrics]:
        """Return the campaigns that ended since the last call."""
        return [] if self.env is None else self._journeys.take_metrics()


class _JourneyReader(InputReader):
    """Where the worker's `sample` gets its batches from."""

    def __init__(
        self, name: str, policy: Policy, sampler: JourneySampler, worker: ArrayRolloutWorker
    ) -> None:
        if not isinstance(policy.model, LSTMTransformerModel):
            raise UserError(
                f"ArrayRolloutWorker plays 'lstm_transformer', not {type(policy.model).__name__}; "
                "remove env_runner_cls from the config"
            )
        self._name, self._policy, self._sampler = name, policy, sampler
        sampler.with_infos = bool(policy.model.config.auxiliary)
        self._steps = worker.total_rollout_fragment_length
        self._bidder = _WindowBidder(policy, sampler.rows)
        self._unroll = 0

    def next(self) -> MultiAgentBatch:
        """Play the next batch."""
        past = self._bidder.windows[:, :-1].numpy().copy()
        journeys = self._sampler.sample(self._steps, self._bidder)
        batch = self._columns(journeys)
        batch.update(self._sequences(journeys, batch.pop("inputs"), past))
        return MultiAgentBatch({self._name: SampleBatch(batch)}, env_steps=journeys.ticks)

    def take_metrics(self) -> list[RolloutMetrics]:
        """See `ArrayRolloutWorker.get_metrics`."""
        campaigns, self._sampler.campaigns = self._sampler.campaigns, []
        return [
            RolloutMetrics(
                campaign.ticks,
                campaign.profit,
                {
                    (f"user_{user}", self._name): profit
                    for user, profit in enumerate(campaign.per_user.tolist())
                },
            )
            for campaign in campaigns
        ]

    def _columns(self, journeys: Journeys) -> dict[str, Array]:
        config, columns = self._policy.config, dict(journeys.columns)
        values = columns.pop("values")
        columns |= self._labels(journeys)
        pieces = len(journeys.lengths)
        piece = np.repeat(np.arange(pieces), journeys.lengths)
        ends = np.cumsum(journeys.lengths)
        terminateds = np.zeros(len(values), np.bool_)
        terminateds[ends - 1] = journeys.terminated
        place = np.arange(len(values)) - (ends - journeys.lengths)[piece]
        columns |= {
            SampleBatch.VF_PREDS: values,
            SampleBatch.TERMINATEDS: terminateds,
            SampleBatch.TRUNCATEDS: np.zeros(len(values), np.bool_),
            SampleBatch.T: journeys.starts[piece] + place,
            SampleBatch.EPS_ID: self._unroll + piece,
            SampleBatch.UNROLL_ID: self._unroll + piece,
            SampleBatch.AGENT_INDEX: journeys.rows[piece],
        }
        self._unroll += pieces
        if config.get("vtrace"):
            bootstrapped = np.zeros(len(values), np.float32)
            bootstrapped[ends - 1] = journeys.next_values
            columns[SampleBatch.VALUES_BOOTSTRAPPED] = bootstrapped
        else:
            advantages, targets = generalized_advantages(
                columns[SampleBatch.REWARDS].astype(np.float64),
                values.astype(np.float64),
                journeys.next_values,
                journeys.lengths,
                config["gamma"],
                config["lambda"] if config["use_gae"] else 1.0,
            )
            columns[Postprocessing.ADVANTAGES] = advantages.astype(np.float32)
            columns[Postprocessing.VALUE_TARGETS] = targets.astype(np.float32)
        return columns

    def _labels(self, journeys: Journeys) -> dict[str, Array]:
        """Labels of the auxiliary heads, by column."""
        labels, infos = {}, journeys.infos
        for name, head in self._bidder.model.config.auxiliary.items():
            if name not in infos:
                raise UserError(
                    f"auxiliary head {name!r} names no event of the ad auction; choose from "
                    f"{', '.join(sorted(infos.keys() - {'present', 'presence'}))}"
                )
            labels[label_column(name)] = event_labels(
                infos[name].astype(np.float64),
                infos["present"],
                infos["presence"],
                journeys.lengths,
                journeys.terminated,
                head.horizon,
            )
        return labels

    def _sequences(self, journeys: Journeys, inputs: Array, past: Array) -> dict[str, Array]:
        """Sequences of at most `max_seq_len` steps and the states in which they begin.

        Args:
            journeys: what was played.
            inputs: step inputs of all steps, `[N, W]`.
            past: step inputs before what was played, of all rows, `[rows, L-1, W]`.
        """
        longest = self._policy.config["model"]["max_seq_len"]
        count = -(-journeys.lengths // longest)  # sequences of each piece
        piece = np.repeat(np.arange(len(count)), count)
        begin = longest * (np.arange(len(piece)) - (np.cumsum(count) - count)[piece])
        steps_before = journeys.starts[piece] + begin

        slots = past.shape[1]
        state = np.zeros((len(piece), self._bidder.model.state_rows, inputs.shape[1]), np.float32)
        if slots:
            place = begin[:, None] + np.arange(-slots, 0)  # in the piece; negative: before it
            offset = (np.cumsum(journeys.lengths) - journeys.lengths)[piece]
            played = inputs[np.maximum(offset[:, None] + place, 0)]
            earlier = past[journeys.rows[piece][:, None], place % slots]
            real = np.arange(-slots, 0) >= -steps_before[:, None]
            state[real] = np.where((place < 0)[..., None], earlier, played)[real]
        filled = np.minimum(steps_before, state.shape[1]).astype(np.float32)
        return {
            "state_in_0": state,
            "state_in_1": filled[:, None],
            SampleBatch.SEQ_LENS: np.minimum(journeys.lengths[piece] - begin, longest),
        }


class _WindowBidder:
    """Acts for many users at once, and keeps the window of each."""

    def __init__(self, policy: Policy, rows: int) -> None:
        self.policy, self.model = policy, policy.model
        self.windows = torch.zeros(rows, self.model.config.window_length, self.model.input_dim)
        self._filled = torch.zeros(rows, dtype=torch.long)
        self._actions = torch.zeros(rows, dtype=torch.long)

    def __call__(self, rows: Ints, new: Array, observations: Array, rewards: Array) -> Acts:
        who, first = torch.from_numpy(rows), torch.from_numpy(new)
        previous = self._actions[who].masked_fill(first, 0)
        rewards = np.where(new, 0.0, rewards).astype(np.float32)
        inputs = self.model.step_inputs.join(
            torch.from_numpy(observations), previous, torch.from_numpy(rewards), first
        )  # (n, W)
        self.model.step_inputs.refuse_non_finite(
            inputs[:, None], torch.ones(len(rows), 1, dtype=torch.bool)
        )
        slots = self.windows.shape[1]
        windows = torch.cat([self.windows[who, 1:], inputs[:, None]], dim=1)  # (n, L, W)
        filled = (self._filled[who].masked_fill(first, 0) + 1).clamp(max=slots)
        valid = torch.arange(slots) >= slots - filled[:, None]  # (n, L)
        with torch.no_grad():
            self.model.eval()
            outputs = self.model.policy(windows, valid)
            values = self.model.value(windows, valid).squeeze(1)
            distribution = self.policy.dist_class(outputs, self.model)
            actions = distribution.sample()
            logp = distribution.logp(actions)
        self.windows[who], self._filled[who], self._actions[who] = windows, filled, actions
        columns = {
            SampleBatch.ACTION_DIST_INPUTS: outputs.numpy(),
            SampleBatch.ACTION_LOGP: logp.numpy(),
            "values": values.numpy(),
            "inputs": inputs.numpy(),
        }
        if self.model.config.prev_action:
            columns[SampleBatch.PREV_ACTIONS] = previous.numpy()
        if self.model.config.prev_reward:
            columns[SampleBatch.PREV_REWARDS] = rewards
        return Acts(actions.numpy(), columns)

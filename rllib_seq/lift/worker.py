"""Rollout workers that play whole campaigns and bring back what their bidder received.

- `OutcomeWorker`: plugged in by `LiftConfig`
- `OutcomeArrays`: campaigns as arrays, with what was won and paid beside the rewards
- `CampaignBidder`: acts for their users, and carries the state of each
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.policy.policy import Policy
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from rllib_seq.envs.ad_auction.array_env import AuctionArrays
from rllib_seq.lift.exploration import JourneyExploration
from rllib_seq.rollouts.array_worker import ArrayRolloutWorker, JourneyReader
from rllib_seq.rollouts.sampler import ActionBatch, VectorSampler

__all__ = ["CampaignBidder", "OutcomeArrays", "OutcomeWorker"]

Array = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class OutcomeArrays(AuctionArrays):
    """Campaigns as arrays whose events are those that a bidder receives: won, and what was paid.

    Attributes:
        informed: whether the hidden stage before the request is an event, too; no bidder sees it.
    """

    informed = False

    def serve(self, rows: Ints, actions: Array) -> dict[str, Array]:
        """See `ArrayEnv`."""
        stage = self.simulator.stage[rows] if self.informed else None
        outcome = self.step(rows, actions)
        # Of an outcome, nothing else is for training: the rest knows the hidden stage.
        events = {"won": outcome.won, "paid": outcome.paid.astype(np.float32)}
        return events if stage is None else events | {"stage": stage.astype(np.int8)}


class _CampaignReader(JourneyReader):
    """Campaigns, from start to end."""

    def __init__(
        self, name: str, policy: Policy, arrays: OutcomeArrays, worker: OutcomeWorker
    ) -> None:
        sampler = VectorSampler(arrays)
        super().__init__(name, policy, sampler, worker)
        sampler.with_infos = True
        config = worker.config
        seed = None if config.seed is None else config.seed + worker.worker_index
        levels = arrays.simulator.preset.bid_levels
        self._bidder = _Bidder(
            policy, sampler.rows, JourneyExploration(levels, sampler.rows, config.bid_spread, seed)
        )
        self._exploring = np.transpose(config.exploring_share)

    def next(self) -> MultiAgentBatch:
        """Play the next campaigns."""
        self.policy.model.eval()
        self._bidder.explores.share = float(
            np.interp(self.policy.global_timestep, *self._exploring)
        )
        journeys = self.sampler.sample_campaigns(self._bidder)
        columns = {**journeys.columns, **journeys.infos, SampleBatch.SEQ_LENS: journeys.lengths}
        self.end_campaigns()
        return MultiAgentBatch({self.name: SampleBatch(columns)}, env_steps=journeys.ticks)


class OutcomeWorker(ArrayRolloutWorker):
    """RLlib's rollout worker with another way to play, see `ArrayRolloutWorker`.

    It plays `num_envs_per_env_runner` campaigns from their starts to their ends and returns the
    whole journeys of their users: observations, bid levels, rewards, `won` and `paid`.
    """

    def make_reader(self, name: str, env: Any) -> JourneyReader:
        """See `ArrayRolloutWorker.make_reader`."""
        seed = None if self.config.seed is None else self.config.seed + self.worker_index
        count = self.config.num_envs_per_env_runner
        arrays = OutcomeArrays(env.simulator.config, count, seed)
        arrays.informed = self.config.informed
        return _CampaignReader(name, self.policy_map[name], arrays, self)


class CampaignBidder:
    """Acts for many users at once by a policy, and carries the state of each; `choose` is open."""

    def __init__(self, policy: Policy, rows: int) -> None:
        self._model = policy.model
        self._state = self._model.policy.encoder.initial_state(rows)
        self._actions = torch.zeros(rows, dtype=torch.long)

    def choose(self, rows: Ints, new: Bools, outputs: torch.Tensor) -> ActionBatch:
        """Decide for streams, see `sampler.StreamActor`, by outputs of the head `[n, A]`."""
        raise NotImplementedError

    def __call__(self, rows: Ints, new: Bools, observations: Array, rewards: Floats) -> ActionBatch:
        """See `sampler.StreamActor`."""
        model = self._model
        who, first = torch.from_numpy(rows), torch.from_numpy(new)
        for part in self._state.values():
            part[who[first]] = 0.0
        inputs = model.step_inputs.join(
            torch.from_numpy(observations),
            self._actions[who],
            torch.from_numpy(rewards.astype(np.float32)),
            first,
        )  # (n, W)
        model.step_inputs.refuse_non_finite(
            inputs[:, None], torch.ones(len(rows), 1, dtype=torch.bool)
        )
        network = model.policy
        with torch.inference_mode():
            before = {name: part[who] for name, part in self._state.items()}
            features, after = network.encoder.sequence(before, inputs[:, None])
            outputs = network.head(features[:, 0])
        for name, part in after.items():
            self._state[name][who] = part
        acts = self.choose(rows, new, outputs)
        self._actions[who] = torch.from_numpy(acts.actions)
        return acts

    def value_after(self, rows: Ints, observations: Array, rewards: Floats) -> Floats:
        """See `sampler.StreamActor`; no limit cuts journeys off here."""
        return np.zeros(len(rows))


class _Bidder(CampaignBidder):
    """Bids the best level, moved by exploration."""

    def __init__(self, policy: Policy, rows: int, explores: JourneyExploration) -> None:
        super().__init__(policy, rows)
        self.explores = explores

    def choose(self, rows: Ints, new: Bools, outputs: torch.Tensor) -> ActionBatch:
        """See `CampaignBidder.choose`."""
        self.explores.begin(rows[new])
        return ActionBatch(self.explores.choose(rows, outputs.argmax(-1).numpy()), {})

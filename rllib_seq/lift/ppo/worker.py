"""Rollout workers of `OutcomePPO`: whole campaigns, bid for as the policy says, or at random.

- `OutcomePPOWorker`: plugged in by `OutcomePPOConfig`
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.policy.policy import Policy
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from rllib_seq.lift.exploration import JourneyExploration
from rllib_seq.lift.worker import CampaignBidder, OutcomeArrays
from rllib_seq.rollouts.array_worker import ArrayRolloutWorker, JourneyReader
from rllib_seq.rollouts.sampler import ActionBatch, VectorSampler

__all__ = ["OutcomePPOWorker"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class OutcomePPOWorker(ArrayRolloutWorker):
    """RLlib's rollout worker with another way to play, see `ArrayRolloutWorker`.

    It plays `num_envs_per_env_runner` campaigns from their starts to their ends and returns the
    whole journeys of their users: observations, bid levels and what they were drawn from, rewards,
    `won` and `paid`.
    """

    def make_reader(self, name: str, env: Any) -> JourneyReader:
        """See `ArrayRolloutWorker.make_reader`."""
        seed = None if self.config.seed is None else self.config.seed + self.worker_index
        arrays = OutcomeArrays(env.simulator.config, self.config.num_envs_per_env_runner, seed)
        return _JourneyReader(name, self.policy_map[name], arrays, self)


class _JourneyReader(JourneyReader):
    """Whole journeys, with the columns of PPO's policy."""

    def __init__(
        self, name: str, policy: Policy, arrays: OutcomeArrays, worker: OutcomePPOWorker
    ) -> None:
        super().__init__(name, policy, VectorSampler(arrays), worker)
        self.sampler.with_infos = True
        config = worker.config
        levels = arrays.simulator.preset.bid_levels
        seed = None if config.seed is None else config.seed + worker.worker_index
        explores = JourneyExploration(levels, self.sampler.rows, 0.0, seed)
        self._bidder = _Bidder(policy, self.sampler.rows, explores)
        self._exploring = np.transpose(config.exploring_share)
        self._unroll = 0

    def next(self) -> MultiAgentBatch:
        """Play the next campaigns."""
        self.policy.model.eval()
        self._bidder.explores.share = float(
            np.interp(self.policy.global_timestep, *self._exploring)
        )
        journeys = self.sampler.sample_campaigns(self._bidder)
        pieces = len(journeys.lengths)
        number = self._unroll + np.repeat(np.arange(pieces), journeys.lengths)
        self._unroll += pieces
        states = self.policy.get_initial_state()
        columns = {
            **journeys.columns,
            **journeys.infos,
            SampleBatch.EPS_ID: number,
            SampleBatch.UNROLL_ID: number,
            SampleBatch.AGENT_INDEX: np.repeat(journeys.rows, journeys.lengths),
            SampleBatch.SEQ_LENS: journeys.lengths,
            **{
                f"state_in_{part}": np.zeros((pieces, *state.shape), np.float32)
                for part, state in enumerate(states)
            },
        }
        self.end_campaigns()
        return MultiAgentBatch({self.name: SampleBatch(columns)}, env_steps=journeys.ticks)


class _Bidder(CampaignBidder):
    """Draws bid levels from the policy, but for journeys that are bid for at random."""

    def __init__(self, policy: Policy, rows: int, explores: JourneyExploration) -> None:
        super().__init__(policy, rows)
        self.explores = explores

    def choose(self, rows: Ints, new: Bools, outputs: torch.Tensor) -> ActionBatch:
        """See `CampaignBidder.choose`."""
        self.explores.begin(rows[new])
        drawn = torch.distributions.Categorical(logits=outputs).sample().numpy()
        columns = {SampleBatch.ACTION_DIST_INPUTS: outputs.numpy()}
        return ActionBatch(self.explores.choose(rows, drawn), columns)

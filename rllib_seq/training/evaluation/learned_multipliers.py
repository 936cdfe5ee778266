"""A policy that was trained on `AdCampaign-v0` beside the baselines of tick mode.

- `LearnedMultipliers`: plays a checkpoint
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.tick.requests import Requests
from rllib_seq.envs.ad_auction.tick.simulator import TickOutcome, TickSimulator
from rllib_seq.envs.ad_auction.tick.steering import Steering
from rllib_seq.errors import UserError
from rllib_seq.training.acting.loading import load_policy
from rllib_seq.training.acting.policy import State, TrainedPolicy


class LearnedMultipliers:
    """Bids as a trained policy steers, greedily; see `TickPolicy`.

    Args:
        policy: for the observations of `Steering`.
    """

    name = "learned"

    def __init__(self, policy: TrainedPolicy) -> None:
        self._policy = policy

    @classmethod
    def from_checkpoint(cls, place: Path) -> LearnedMultipliers:
        """Loads the only policy of a run of `tune_configs.campaign` or of one of its checkpoints.

        Raises:
            UserError: there is none.
        """
        return cls(load_policy(place))

    def start(self, simulator: TickSimulator) -> None:
        """See `TickPolicy.start`.

        Raises:
            UserError: the policy was trained on other observations.
        """
        self._simulator, self._steering = simulator, Steering(simulator)
        seen, trained_on = self._steering.observe().shape, self._policy.observation_space.shape
        if seen != trained_on:
            raise UserError(
                f"the policy was trained on observations {trained_on}, and this campaign has "
                f"{seen}; give the actions and the world that it was trained with"
            )
        self._state: State | None = None

    def bids(self, requests: Requests) -> NDArray[np.float64]:
        """See `TickPolicy.bids`."""
        action, self._state = self._policy.predict(self._steering.observe(), self._state)
        self._requests, self._action = requests, np.clip(action, -1.0, 1.0)
        return self._steering.bids(self._action)

    def update(self, outcome: TickOutcome) -> None:
        """See `TickPolicy.update`."""
        self._steering.update(self._requests, outcome, self._action)

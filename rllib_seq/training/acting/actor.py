"""A policy with the states of many streams.

- `Actor`: acts for some of them at a time
- `PolicyActor`: with a `TrainedPolicy`
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import tree
from numpy.typing import NDArray

from rllib_seq.config import AuxiliaryHead
from rllib_seq.training.acting.policy import TrainedPolicy

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Actor(Protocol):
    """Takes the likeliest action of every stream, and keeps the state of each."""

    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]

    def start(self, streams: int) -> None:
        """So many streams begin."""

    def act(self, streams: Ints, observations: NDArray[Any], rewards: Floats) -> Ints:
        """Acts for some streams.

        Args:
            streams: which, `[N]`, each at most once.
            observations: `[N, D]`.
            rewards: since the streams acted last, `[N]`.

        Returns:
            Actions, `[N]`.
        """

    @property
    def heads(self) -> Mapping[str, AuxiliaryHead]:
        """Its auxiliary heads, by name of the event."""

    def forecasts(self) -> dict[str, Floats]:
        """What the heads say of the last `act`: probabilities, `[N]`, by name of the event."""

    def fork(self) -> Actor:
        """A copy that remembers the same."""


class PolicyActor:
    """A trained policy, see `Actor`."""

    def __init__(self, policy: TrainedPolicy) -> None:
        self.policy = policy
        self.observation_space = policy.observation_space
        self.action_space = policy.action_space

    def start(self, streams: int) -> None:
        """See `Actor.start`."""
        self._state = self.policy.initial_state(streams)

    def act(self, streams: Ints, observations: NDArray[Any], rewards: Floats) -> Ints:
        """See `Actor.act`."""
        past = tree.map_structure(lambda rows: None if rows is None else rows[streams], self._state)
        actions, after, self._said = self.policy.advance(observations, past, None, True, rewards)
        for rows, new in zip(tree.flatten(self._state), tree.flatten(after), strict=True):
            if rows is not None:
                rows[streams] = new
        return np.asarray(actions)

    @property
    def heads(self) -> Mapping[str, AuxiliaryHead]:
        """See `Actor.heads`."""
        return self.policy.network.heads

    def forecasts(self) -> dict[str, Floats]:
        """See `Actor.forecasts`."""
        return self._said.forecasts()

    def fork(self) -> PolicyActor:
        """See `Actor.fork`."""
        other = copy.copy(self)
        other._state = copy.deepcopy(self._state)
        return other

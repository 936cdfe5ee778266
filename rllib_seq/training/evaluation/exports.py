"""Exported policies as bidders in the simulator, run by ONNX Runtime as a server runs them.

- `ExportedActor`: an `Actor`, see `acting.actor`.
- `evaluate_export`: what `rllib-seq evaluate EXPORT` does.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from rllib_seq.config import AuxiliaryHead
from rllib_seq.envs.ad_auction.simulator.step import AuctionSimulator
from rllib_seq.errors import UserError
from rllib_seq.journeys.store import SequenceStore
from rllib_seq.serving.exported.policy import Policy, load_policy
from rllib_seq.training.evaluation.comparison import (
    Contender,
    EvaluationProtocol,
    compare,
    world_of,
)
from rllib_seq.training.evaluation.policies import TrainedBids
from rllib_seq.training.evaluation.results import CampaignEvaluation

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class ExportedActor:
    """An exported policy, see `acting.actor.Actor`.

    Args:
        policy: with one block of actions.
    """

    def __init__(self, policy: Policy) -> None:
        simulator = AuctionSimulator(policy.spec.config)
        self.observation_space: gym.Space[Any] = simulator.observation_space
        self.action_space: gym.Space[Any] = policy.spec.config.build_actions(simulator.preset).space
        self._policy = policy

    def start(self, streams: int) -> None:
        """See `Actor.start`."""
        spec = self._policy.spec
        self._steps = SequenceStore(streams, spec.steps_kept, len(spec.facts["observation"]))
        self._steps.claim(np.arange(streams), 0.0)
        self._memory = np.zeros((streams, spec.memory_size), np.float32)

    def act(self, streams: Ints, observations: NDArray[Any], rewards: Floats) -> Ints:
        """See `Actor.act`."""
        rows, _ = self._steps.claim(streams, 0.0)
        self._steps.credit(rows, rewards)
        observations = observations.astype(np.float32)
        past = self._steps.fetch_claimed(rows)
        actions, self._memory[streams] = self._policy.act(observations, past, self._memory[streams])
        nothing = np.zeros(len(rows))
        self._steps.append_claimed(rows, observations, actions, nothing, nothing)
        return actions

    @property
    def heads(self) -> Mapping[str, AuxiliaryHead]:
        """None: an export is what bids."""
        return {}

    def forecasts(self) -> dict[str, Floats]:
        """None."""
        return {}

    def fork(self) -> ExportedActor:
        """See `Actor.fork`."""
        other = copy.copy(self)
        other._steps, other._memory = copy.deepcopy((self._steps, self._memory))
        return other


def evaluate_export(
    folder: Path,
    preset: str | None,
    protocol: EvaluationProtocol,
    console: Console,
    world_seed: int | None,
) -> CampaignEvaluation:
    """Plays an export where it was trained, or in another preset, and prints the table.

    Args:
        folder: of the export.
        preset: None: that of the training.
        protocol: seeds and numbers.
        console: where progress and the table go.
        world_seed: of preset drawn.

    Raises:
        UserError: the export is damaged, or the preset is unknown or has other spaces.
    """
    policy = load_policy(folder)
    spec = policy.spec
    if len(spec.action_sizes) > 1:
        raise UserError(f"{str(folder)!r} has actions of several parts; evaluate its checkpoint")
    one_stream, trained_in = spec.stream == "campaign", spec.config
    world = world_of(str(folder), trained_in, preset, world_seed)
    world = world.with_users(trained_in.num_users if one_stream else protocol.num_users)
    signal = spec.source.get("signal", "unknown")
    contender = Contender(TrainedBids(ExportedActor(policy), one_stream), signal, str(folder))
    return compare(contender, world, protocol, console)

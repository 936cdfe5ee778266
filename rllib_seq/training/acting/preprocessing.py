"""What RLlib does to observations before a network sees them, from a checkpoint of either stack.

- `Preprocessing`: spaces of the environment, and the steps between them and the network
- `old_stack`, `new_stack`: read it from a policy, or from the connectors beside a module
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from ray.rllib.connectors.agent.mean_std_filter import MeanStdObservationFilterAgentConnector
from ray.rllib.connectors.common import (
    AddObservationsFromEpisodesToBatch,
    AddStatesFromEpisodesToBatch,
    AddTimeDimToBatchAndZeroPad,
    AgentToModuleMapping,
    BatchIndividualItems,
    NumpyToTensor,
)
from ray.rllib.connectors.common.flatten_observations import FlattenObservations
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.connectors.module_to_env import NormalizeAndClipActions
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.models.catalog import ModelCatalog
from ray.rllib.models.preprocessors import (
    DictFlatteningPreprocessor,
    NoPreprocessor,
    OneHotPreprocessor,
    Preprocessor,
    TupleFlatteningPreprocessor,
)
from ray.rllib.policy.policy import Policy
from ray.rllib.utils.filter import MeanStdFilter as RunningFilter
from ray.rllib.utils.filter import RunningStat

from rllib_seq.errors import UserError
from rllib_seq.models.observations import StepSpace, flat_rows
from rllib_seq.models.rl_module.connectors import FlattenSteps
from rllib_seq.training.acting.spaces import rows_of

Step = Callable[[Any, int], Any]
"""Observations `[N, ...]`, maybe nested, and N to what comes of them."""

_FILL_BATCHES = {
    AddObservationsFromEpisodesToBatch,
    AddStatesFromEpisodesToBatch,
    AddTimeDimToBatchAndZeroPad,
    AgentToModuleMapping,
    BatchIndividualItems,
    NumpyToTensor,
}


@dataclass
class Preprocessing:
    """Between an environment and a network."""

    observation_space: gym.Space[Any]
    """Of the environment."""
    action_space: gym.Space[Any]
    flatten: bool = False
    """Parts become one vector `[N, D]`, numbers of Discrete ones one-hot."""
    narrow: StepSpace | None = None
    """The same without one-hot of large numbers, and with bytes of frames as they are."""
    pixels: Step | None = None
    """What RLlib's preprocessor of Atari's observations does instead."""
    filters: Sequence[RunningFilter] = ()
    """RLlib's running means and deviations, as they stood."""
    normalize_actions: bool = False
    clip_actions: bool = False
    clip_rewards: bool | float = False

    def observations(self, batch: Any, rows: int) -> Any:
        """Return what the network sees of observations `[N, ...]`."""
        if self.pixels is not None:
            batch = self.pixels(batch, rows)
        elif self.narrow is not None:
            batch = self.narrow.rows(batch, rows)
        elif self.flatten:
            batch = flat_rows(self.observation_space, batch, rows, sys.maxsize)
        for running in self.filters:
            batch = np.asarray(running(batch, update=False), np.float32)
        return batch

    def rewards(self, rewards: np.ndarray) -> np.ndarray:
        """Return what the network sees of rewards `[N]`."""
        if self.clip_rewards is True:
            return np.sign(rewards)
        if self.clip_rewards:
            return np.clip(rewards, -self.clip_rewards, self.clip_rewards)
        return rewards


def old_stack(policy: Policy) -> Preprocessing:
    """Return what workers of the old API stack do around a policy."""
    config = policy.config
    original = getattr(policy.observation_space, "original_space", policy.observation_space)
    around = Preprocessing(
        original,
        policy.action_space,
        normalize_actions=config["normalize_actions"],
        clip_actions=config["clip_actions"],
        clip_rewards=config.get("clip_rewards") or False,
    )
    if not config.get("_disable_preprocessor_api"):
        preprocessor = ModelCatalog.get_preprocessor_for_space(original, config["model"])
        around.flatten = not isinstance(preprocessor, NoPreprocessor)
        if not _flattens(preprocessor):
            around.pixels = lambda batch, n: np.stack(
                [preprocessor.transform(row) for row in rows_of(batch, n)]
            )
    connectors = policy.agent_connectors.connectors if policy.agent_connectors else ()
    around.filters = [
        each.filter
        for each in connectors
        if isinstance(each, MeanStdObservationFilterAgentConnector)
    ]
    return around


def _flattens(preprocessor: Preprocessor) -> bool:
    """Whether a preprocessor of the old stack flattens and encodes numbers, and does no more."""
    if isinstance(preprocessor, DictFlatteningPreprocessor | TupleFlatteningPreprocessor):
        return all(map(_flattens, preprocessor.preprocessors))
    return isinstance(preprocessor, NoPreprocessor | OneHotPreprocessor)


def new_stack(module: RLModule, connectors: Path) -> Preprocessing:
    """Return what environment runners of the new API stack do around a module.

    Args:
        module: the only one that acts.
        connectors: the folder `env_runner` of the checkpoint.

    Raises:
        UserError: a connector does what this cannot repeat.
    """
    if not (connectors / "env_to_module_connector").is_dir():
        return Preprocessing(module.observation_space, module.action_space)
    (spaces, actions), before = _pipeline(connectors / "env_to_module_connector")
    flatten, narrow, filters = False, None, []
    space, agent = spaces, None
    by_agent = _is_by_agent(module, spaces, actions)
    if by_agent:
        agent = _agent_of(module, spaces, actions)
        space, actions = spaces[agent], actions[agent]
    for kind, options in before:
        if kind is FlattenObservations and not options.get("keys_to_remove"):
            flatten = True
        elif kind is FlattenSteps:
            flatten, narrow = True, StepSpace(space, options["embed_above"])
        elif kind is MeanStdFilter:
            folder = connectors / "env_to_module_connector" / kind.__name__
            states = pickle.loads((folder / "state.pkl").read_bytes())
            filters.append(_running_filter(states[agent if by_agent else None]))
        elif kind not in _FILL_BATCHES and not kind.__module__.startswith("rllib_seq."):
            raise UserError(
                f"the policy was trained with connector {kind.__name__}, which predict cannot "
                "repeat; change observations in the environment (a gymnasium wrapper) instead"
            )
    _, after = _pipeline(connectors / "module_to_env_connector")
    bounds = next((options for kind, options in after if kind is NormalizeAndClipActions), {})
    return Preprocessing(
        space,
        actions,
        flatten,
        narrow,
        filters=filters,
        normalize_actions=bounds.get("normalize_actions", False),
        clip_actions=bounds.get("clip_actions", False),
    )


def _pipeline(folder: Path) -> tuple[Any, list[tuple[type, dict[str, Any]]]]:
    """Spaces of the environment, and kind and options of every connector."""
    made_by = pickle.loads((folder / "class_and_ctor_args.pkl").read_bytes())
    spaces, options = made_by["ctor_args_and_kwargs"]
    return spaces, [(kind, options) for kind, _, options in options["connectors"]]


def _is_by_agent(module: RLModule, spaces: Any, actions: Any) -> bool:
    return (
        isinstance(spaces, gym.spaces.Dict)
        and isinstance(actions, gym.spaces.Dict)
        and spaces.keys() == actions.keys()
        and module.action_space != actions
    )


def _agent_of(module: RLModule, spaces: Any, actions: Any) -> Any:
    """An agent that a module can act for; all of one module have the same spaces."""
    seen = module.observation_space
    for agent, space in spaces.items():
        if isinstance(seen, StepSpace):
            fits = space == seen.unflattened
        else:
            fits = gym.spaces.flatdim(space) == gym.spaces.flatdim(seen)
        if fits and actions[agent] == module.action_space:
            return agent
    raise UserError(f"no agent of the environment has the spaces of {module.observation_space}")


def _running_filter(state: dict[str, Any]) -> RunningFilter:
    running = RunningFilter(
        state["shape"],
        demean=state["de_mean_to_zero"],
        destd=state["de_std_to_one"],
        clip=state["clip_by_value"],
    )
    (running.running_stats,) = [RunningStat.from_state(each) for each in state["running_stats"]]
    return running

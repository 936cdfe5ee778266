"""The policies of checkpoints as bidders in the simulator.

- `TrainedBids`: bids greedily, exactly as RLlib's workers do without exploration
- `OldStackActor`: an RLlib Policy for many streams at once, recurrent or not
- `NewStackActor`: an RLModule the same
- `load_actor`: the only policy of a checkpoint, as one of the two
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
import tree
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.policy.policy import Policy

from rllib_seq.config import AuxiliaryHead
from rllib_seq.envs.ad_auction.simulator.step import AuctionSimulator, Outcome
from rllib_seq.errors import UserError
from rllib_seq.models.rl_module.configure import module_windows
from rllib_seq.models.rl_module.stream_windows import StreamWindows
from rllib_seq.training.storage.files import check_seal
from rllib_seq.training.storage.run_folder import UNREADABLE_PICKLE, modules_folder

__all__ = ["Actor", "NewStackActor", "OldStackActor", "TrainedBids", "load_actor"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Actor(Protocol):
    """Takes the greedy action of every stream, and keeps what it has to remember of each."""

    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    model: Any
    """What RLlib calls a model (old API stack) or a module (new)."""

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


class OldStackActor:
    """A policy of the old API stack, see `Actor`."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.model = policy.model
        self.observation_space = policy.observation_space
        self.action_space = policy.action_space

    def start(self, streams: int) -> None:
        """See `Actor.start`."""
        self._state = [_repeated(part, streams) for part in self._policy.get_initial_state()]
        self._action = np.zeros(streams, np.int64)

    def act(self, streams: Ints, observations: NDArray[Any], rewards: Floats) -> Ints:
        """See `Actor.act`."""
        actions, state, _ = self._policy.compute_actions(
            observations,
            state_batches=[part[streams] for part in self._state],
            prev_action_batch=self._action[streams],
            prev_reward_batch=rewards.astype(np.float32),
            explore=False,
        )
        for part, new in zip(self._state, state, strict=True):
            part[streams] = new
        self._action[streams] = self._taken = np.asarray(actions)
        return self._taken

    @property
    def heads(self) -> Mapping[str, AuxiliaryHead]:
        """See `Actor.heads`."""
        return getattr(getattr(self._policy.model, "auxiliary", None), "heads", {})

    def forecasts(self) -> dict[str, Floats]:
        """See `Actor.forecasts`."""
        with torch.no_grad():
            said = self._policy.model.auxiliary_probabilities(torch.as_tensor(self._taken))
        return _numbers(said)

    def fork(self) -> OldStackActor:
        """See `Actor.fork`."""
        other = copy.copy(self)
        other._state, other._action = copy.deepcopy((self._state, self._action))
        return other


class NewStackActor:
    """A module of the new API stack, see `Actor`.

    A sequence module (one with `sequence_config` in its model config) sees the windows that the
    connectors of `use_sequence_module` would bring; any other one sees observations. Either one
    gets its recurrent state, if it has one.
    """

    def __init__(self, module: RLModule) -> None:
        self._module = self.model = module
        self.observation_space = module.observation_space
        self.action_space = module.action_space

    def start(self, streams: int) -> None:
        """See `Actor.start`."""
        self._windows: StreamWindows | None = None
        settings = module_windows(self._module)
        if settings is not None:
            spaces = self.observation_space, self.action_space
            self._windows = StreamWindows(streams, *spaces, settings)
        state = self._module.get_initial_state() if self._module.is_stateful() else {}
        self._state = tree.map_structure(lambda part: _repeated(part, streams), state)
        self._action = np.zeros(streams, np.int64)

    def act(self, streams: Ints, observations: NDArray[Any], rewards: Floats) -> Ints:
        """See `Actor.act`."""
        if self._windows is not None:
            batch = self._windows.push(streams, observations, self._action[streams], rewards)
        else:
            batch = {Columns.OBS: observations}
        if self._state:
            batch = {name: column[:, None] for name, column in batch.items()}  # (N, 1, ...)
            batch[Columns.STATE_IN] = tree.map_structure(lambda part: part[streams], self._state)
        self._batch = batch
        with torch.no_grad():
            outputs = self._module.forward_inference(tree.map_structure(torch.as_tensor, batch))
        if self._state:
            for part, new in zip(
                tree.flatten(self._state), tree.flatten(outputs[Columns.STATE_OUT]), strict=True
            ):
                part[streams] = new
        actions = self._greedy(outputs).reshape(len(streams))
        self._action[streams] = self._taken = actions
        return actions

    @property
    def heads(self) -> Mapping[str, AuxiliaryHead]:
        """See `Actor.heads`."""
        return getattr(getattr(self._module, "auxiliary", None), "heads", {})

    def forecasts(self) -> dict[str, Floats]:
        """See `Actor.forecasts`."""
        batch, actions = tree.map_structure(torch.as_tensor, (self._batch, self._taken))
        with torch.no_grad():
            return _numbers(self._module.auxiliary_probabilities(batch, actions))

    def fork(self) -> NewStackActor:
        """See `Actor.fork`."""
        other = copy.copy(self)
        memory = self._windows, self._state, self._action
        other._windows, other._state, other._action = copy.deepcopy(memory)
        return other

    def _greedy(self, outputs: dict[str, Any]) -> Ints:
        if Columns.ACTIONS in outputs:  # of Q networks
            return np.asarray(outputs[Columns.ACTIONS])
        distribution = self._module.get_inference_action_dist_cls()
        likeliest = distribution.from_logits(outputs[Columns.ACTION_DIST_INPUTS])
        return np.asarray(likeliest.to_deterministic().sample())


def load_actor(checkpoint: Path) -> Actor:
    """Loads the only policy of a checkpoint.

    Args:
        checkpoint: a checkpoint folder, of either API stack.

    Raises:
        UserError: it is damaged, it cannot be read, or it holds several policies.
    """
    folder = modules_folder(checkpoint)
    check_seal(checkpoint)
    names = sorted(child.name for child in folder.iterdir() if child.is_dir())
    if len(names) != 1:
        raise UserError(
            f"checkpoint {str(checkpoint)!r} holds the policies {names}; need exactly one"
        )
    try:
        if folder.name == "policies":
            return OldStackActor(Policy.from_checkpoint(str(folder / names[0])))
        return NewStackActor(_load_module(folder / names[0]))
    except UNREADABLE_PICKLE as error:
        raise UserError(f"cannot read checkpoint {str(checkpoint)!r}: {error!r}") from error


class TrainedBids:
    """A trained policy as a bidder, see `BidPolicy`.

    Args:
        actor: for the observations and bid levels of the ad auction.
        one_stream: the whole campaign is one stream, and requests are served one by one, as in
            `AdAuction-v0`; else every user is a stream of their own.
    """

    name = "trained"

    def __init__(self, actor: Actor, one_stream: bool = False) -> None:
        self._actor = actor
        self.one_stream = one_stream

    @classmethod
    def from_checkpoint(cls, checkpoint: Path, one_stream: bool = False) -> TrainedBids:
        """Loads the only policy of a checkpoint.

        Args:
            checkpoint: a checkpoint folder, of either API stack.
            one_stream: see the class.

        Raises:
            UserError: it cannot be read, or it holds several policies.
        """
        return cls(load_actor(checkpoint), one_stream)

    def start(self, simulator: AuctionSimulator) -> None:
        """See `BidPolicy.start`.

        Raises:
            UserError: the policy was trained on other spaces.
        """
        levels, space = simulator.preset.bid_levels, simulator.observation_space
        trained_on = (self._actor.observation_space.shape, self._actor.action_space)
        wanted: tuple[Any, Any] = (space.shape, gym.spaces.Discrete(len(levels)))
        if trained_on != wanted:
            raise UserError(
                f"the checkpoint was trained on observations {trained_on[0]} and actions "
                f"{trained_on[1]}; this preset has {wanted[0]} and {wanted[1]}"
            )
        self._simulator, self._levels = simulator, levels
        self._actor.start(1 if self.one_stream else simulator.num_users)

    def bids(self, users: Ints) -> Floats:
        """See `BidPolicy.bids`; if the campaign is one stream, for the first user alone."""
        simulator, streams = self._simulator, users
        if self.one_stream:
            users, streams = users[:1], np.zeros(1, np.int64)
            rewards = simulator.take_rewards(np.arange(simulator.num_users)).sum(keepdims=True)
        else:
            rewards = simulator.take_rewards(users)
        return self._levels[self._actor.act(streams, simulator.observe(users), rewards)]

    def update(self, users: Ints, outcome: Outcome) -> None:
        """The next observation tells."""

    @property
    def heads(self) -> Mapping[str, AuxiliaryHead]:
        """The auxiliary heads of the policy, by name of the event."""
        return self._actor.heads

    def forecasts(self) -> dict[str, Floats]:
        """What the heads say of the last `bids`: probabilities, `[n]`, by name of the event."""
        return self._actor.forecasts()

    def fork(self, simulator: AuctionSimulator) -> TrainedBids:
        """A copy that remembers the same of every user, to go on in a copy of the simulator."""
        other = copy.copy(self)
        other._simulator, other._actor = simulator, self._actor.fork()
        return other


def _load_module(folder: Path) -> RLModule:
    # RLlib only warns about a class that it cannot import, and builds a module without networks.
    saved = pickle.loads((folder / RLModule.CLASS_AND_CTOR_ARGS_FILE_NAME).read_bytes())["class"]
    module = RLModule.from_checkpoint(str(folder))
    assert type(module) is saved, f"{folder} holds a {saved}, and RLlib made a {type(module)} of it"
    module.eval()
    return module


def _numbers(said: dict[str, torch.Tensor]) -> dict[str, Floats]:
    return {name: rows.numpy().astype(np.float64) for name, rows in said.items()}


def _repeated(part: Any, streams: int) -> NDArray[Any]:
    return np.repeat(np.asarray(part)[None], streams, axis=0)

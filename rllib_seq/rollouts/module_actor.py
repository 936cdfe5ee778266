"""An RLModule that acts for many streams at once.

- `ModuleActor`: with windows, with a state that streams carry, or with neither
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tree
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.spaces.space_utils import (
    clip_action,
    get_base_struct_from_space,
    unsquash_action,
)
from torch import Tensor

from rllib_seq.models import SequenceRLModule
from rllib_seq.models.rl_module import episode_states
from rllib_seq.models.rl_module.configure import module_windows
from rllib_seq.models.rl_module.stream_columns import StreamColumns
from rllib_seq.models.rl_module.stream_windows import StreamWindows
from rllib_seq.rollouts.memories import COPY, CarriedStates
from rllib_seq.rollouts.sampler import ActionBatch

__all__ = ["ModuleActor"]

Array = NDArray[Any]
Ints = NDArray[np.int64]

_STATE = f"{Columns.STATE_OUT}/"  # in front of a number: a column of steps


class ModuleActor:
    """Acts for many streams at once with a module, and keeps the window or the state of each.

    Args:
        name: of the module.
        module: from RLlib's runner.
        rows: how many streams.
        drawn: connectors with columns that a stream draws at its first step.
        normalize_actions: whether Box actions are learned in units of their own, RLlib's setting.
        clip_actions: whether they are clipped for the environment, RLlib's setting.
    """

    def __init__(
        self,
        name: str,
        module: Any,
        rows: int,
        drawn: Sequence[StreamColumns],
        normalize_actions: bool,
        clip_actions: bool,
    ) -> None:
        self.name, self.module = name, module
        self.explore: bool | None = True
        """None acts at random."""
        self.step = 0
        """Of all environments, for schedules of exploration."""
        self._drawn = drawn
        self._kept: dict[str, Array] = {}
        space = self._space = module.action_space
        self._actions = np.zeros((rows, *(space.shape or ())), space.dtype)
        self._serve = None
        if isinstance(space, gym.spaces.Box) and (normalize_actions or clip_actions):
            self._serve = unsquash_action if normalize_actions else clip_action
        self._struct = get_base_struct_from_space(space)
        settings = module_windows(module)
        self._windows = None
        if settings is not None:
            self._windows = StreamWindows(rows, module.observation_space, space, settings)
        self._carried: CarriedStates | None = None
        self._cut: defaultdict[int, deque[dict[str, Array]]] = defaultdict(deque)
        if module.is_stateful():
            self._nest = module.get_initial_state()
            initial = {name: torch.as_tensor(part) for name, part in _flat(self._nest).items()}
            longest = module.model_config["max_seq_len"]
            self._carried = CarriedStates(initial, rows, longest)
        # RLlib's learners read the states of its own modules from every step.
        self._in_steps = not isinstance(module, SequenceRLModule)

    def begin(self) -> None:
        """Begin a batch."""
        self._cut.clear()
        if self._carried is not None:
            self._carried.restart()

    def nest_states(self, columns: dict[str, Array]) -> dict[str, Any]:
        """Return columns of steps with states, if there are any, as the module has them."""
        parts = {name for name in columns if name.startswith(_STATE)}
        nested = {name: column for name, column in columns.items() if name not in parts}
        if parts:
            flat = [columns[f"{_STATE}{number}"] for number in range(len(parts))]
            nested[Columns.STATE_OUT] = tree.unflatten_as(self._nest, flat)
        return nested

    def keep_states(self, episode: SingleAgentEpisode, row: int, copies: Ints) -> None:
        """Keep with an episode the states in which its sequences begin.

        Args:
            episode: of a piece; those of a row in their order.
            row: whose it is.
            copies: column `COPY` of its steps, `[n]`.
        """
        assert self._carried is not None
        numbers = copies[copies >= 0]
        parts = self._carried.copies(numbers)
        states = [{name: part[i] for name, part in parts.items()} for i in range(len(numbers))]
        # What comes after a stream's end is not valued.
        now = states[-1] if episode.is_terminated else self._cut[row].popleft()
        episode_states.keep_states(episode, [self._nested(s) for s in states], self._nested(now))

    def _nested(self, parts: dict[str, Array]) -> Any:
        return tree.unflatten_as(self._nest, list(parts.values()))

    def __call__(self, rows: Ints, new: Array, observations: Array, rewards: Array) -> ActionBatch:
        """See `sampler.StreamActor`."""
        batch = self._batch(rows, rows[new], observations, rewards)
        if self.explore is None:
            return ActionBatch(np.stack([self._space.sample() for _ in rows]), {})
        tensors = {name: torch.as_tensor(column) for name, column in batch.items()}
        with torch.no_grad():
            if self._carried is None:
                actions, columns = self._act(self._forward(tensors))
            else:
                who, first = torch.from_numpy(rows), torch.from_numpy(new)
                tensors = {name: column[:, None] for name, column in tensors.items()}  # (n, 1, ..)
                before, copies = self._carried.before(who, first)
                nested = tree.unflatten_as(self._nest, list(before.values()))
                outputs = self._forward({**tensors, Columns.STATE_IN: nested})
                after = _flat(outputs.pop(Columns.STATE_OUT))
                self._carried.set(who, after)
                actions, columns = self._act({k: v.squeeze(1) for k, v in outputs.items()})
                if self._in_steps:
                    columns |= {_STATE + name: part.numpy() for name, part in after.items()}
                else:
                    columns[COPY] = copies
        self._actions[rows] = actions
        served = None
        if self._serve is not None:
            served = self._serve(actions, self._struct)
        return ActionBatch(actions, columns, served)

    def value_after(self, rows: Ints, observations: Array, rewards: Array) -> Array:
        """See `sampler.StreamActor`; on this stack the learner values, from the state then."""
        if self._carried is not None and not self._in_steps:
            parts = self._carried.of(torch.from_numpy(rows))
            for number, row in enumerate(rows.tolist()):
                self._cut[row].append({n: part[number].numpy() for n, part in parts.items()})
        return np.zeros(len(rows))

    def _batch(
        self, rows: Ints, fresh: Ints, observations: Array, rewards: Array
    ) -> dict[str, Array]:
        if self._windows is None:
            batch: dict[str, Array] = {Columns.OBS: observations}
        else:
            self._windows.restart(fresh)
            batch = self._windows.push(rows, observations, self._actions[rows], rewards)
        for piece in self._drawn:
            for name, column in piece.draw(len(fresh)).items():
                kept = self._kept.setdefault(name, np.zeros(len(self._actions), column.dtype))
                kept[fresh] = column
                batch[name] = kept[rows]
        return batch

    def _forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        if self.explore:
            return self.module.forward_exploration(batch, t=self.step)
        return self.module.forward_inference(batch)

    def _act(self, outputs: dict[str, Any]) -> tuple[Array, dict[str, Array]]:
        module = self.module
        if Columns.ACTIONS in outputs:
            return outputs[Columns.ACTIONS].numpy(), {}
        logits = outputs[Columns.ACTION_DIST_INPUTS]
        distribution = module.get_exploration_action_dist_cls().from_logits(logits)
        if not self.explore:
            distribution = distribution.to_deterministic()
        actions = distribution.sample()
        columns = {Columns.ACTION_DIST_INPUTS: logits.numpy()}
        if self.explore:
            columns[Columns.ACTION_LOGP] = distribution.logp(actions).numpy()
        return actions.numpy(), columns


def _flat(state: Any) -> dict[str, Tensor]:
    """Parts of a state by number."""
    return {str(number): part for number, part in enumerate(tree.flatten(state))}

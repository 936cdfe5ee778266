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
from ray.rllib.core.distribution.torch.torch_distribution import TorchCategorical
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
from rllib_seq.models.rl_module.connectors import StreamColumns
from rllib_seq.models.rl_module.windows import next_windows, no_windows
from rllib_seq.rollouts.acting.carried_states import COPY, CarriedStates
from rllib_seq.rollouts.acting.memories import INPUTS
from rllib_seq.rollouts.acting.value_states import ValueReader
from rllib_seq.rollouts.pieces import RolloutBatch
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
        self._categorical = (
            hasattr(module, "get_exploration_action_dist_cls")
            and module.get_exploration_action_dist_cls() is TorchCategorical
        )
        self._struct = get_base_struct_from_space(space)
        layout = module_windows(module)
        self._windows: dict[str, Array] | None = None
        if layout is not None:
            self._windows = no_windows(rows, module.observation_space, space, layout)
        self._steps = np.zeros(rows, np.int64)  # that streams have behind them, for their windows
        self._carried: CarriedStates | None = None
        self._reader: ValueReader | None = None  # of values that have an encoder of their own
        self._cut: defaultdict[int, deque[dict[str, Array]]] = defaultdict(deque)
        self._ours = isinstance(module, SequenceRLModule)
        # A recurrent module of ours, unless a subclass forwards otherwise.
        self._steps_alone = self._ours and type(module)._forward is SequenceRLModule._forward
        if module.is_stateful():
            self._nest = module.get_initial_state()
            longest = module.model_config["max_seq_len"]
            initial = {name: torch.as_tensor(part) for name, part in self._flat(self._nest).items()}
            if self._steps_alone:
                shapes = module.networks.policy.encoder.state_shapes
                initial = {name: torch.zeros(shape) for name, shape in shapes.items()}
                encoder = module.networks.own_value_encoder
                if encoder is not None:
                    self._reader = ValueReader(encoder, rows, longest)
            self._carried = CarriedStates(initial, rows, longest)
        else:
            self._steps_alone = False
        self._states: list[dict[str, Array]] = []  # of the batch that ended, by copy
        self._value_begins: list[dict[str, Array]] = []
        self._value_after: dict[str, Array] = {}

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

    def finish(self, batch: RolloutBatch) -> RolloutBatch:
        """Read what is only needed once a batch is played; `keep_states` reads it.

        Returns:
            the batch without the columns that are read here.
        """
        columns = dict(batch.columns)
        inputs = columns.pop(INPUTS, None)
        if self._carried is not None and self._ours:
            self._states = self._carried.all_copies()
        if self._reader is not None and inputs is not None:
            reading = self._reader.read(batch, inputs, values=False)
            self._value_begins = [_arrays(state) for state in reading.begins]
            self._value_after = _arrays(reading.after)
        return batch._replace(columns=columns)

    def keep_states(self, episode: SingleAgentEpisode, piece: int, row: int, copies: Ints) -> None:
        """Keep with an episode the states in which its sequences begin.

        Args:
            episode: of a piece.
            piece: its number in the batch; those of a row in their order.
            row: whose it is.
            copies: column `COPY` of its steps, `[n]`.
        """
        states = [self._states[number] for number in copies[copies >= 0].tolist()]
        if self._reader is not None:
            pairs = zip(states, self._value_begins, strict=False)
            states = [self._both(state, begin, piece) for state, begin in pairs]
        now = states[-1]  # what comes after a stream's end is not valued
        if not episode.is_terminated:
            now = self._cut[row].popleft()
            if self._reader is not None:
                now = self._both(now, self._value_after, piece)
        episode_states.keep_states(episode, states, now)

    def _both(
        self, policy: dict[str, Array], value: dict[str, Array], piece: int
    ) -> dict[str, Array]:
        mine = {name: part[piece] for name, part in value.items()}
        return self.module.networks.join_states(policy, mine)

    def _flat(self, state: Any) -> dict[str, Tensor]:
        """Parts of a state by name; those of RLlib's modules may be nested, and have numbers."""
        if self._ours:
            return state
        return {str(number): part for number, part in enumerate(tree.flatten(state))}

    def __call__(self, rows: Ints, new: Array, observations: Array, rewards: Array) -> ActionBatch:
        """See `sampler.StreamActor`."""
        if self.explore is None:
            self._batch(rows, rows[new], observations, rewards)
            return ActionBatch(np.stack([self._space.sample() for _ in rows]), {})
        with torch.inference_mode():
            if self._carried is not None:
                actions, columns = self._carry(self._carried, rows, new, observations, rewards)
            else:
                batch = self._batch(rows, rows[new], observations, rewards)
                tensors = {name: torch.as_tensor(column) for name, column in batch.items()}
                actions, columns = self._act(self._forward(tensors))
        self._actions[rows] = actions
        served = None
        if self._serve is not None:
            served = self._serve(actions, self._struct)
        return ActionBatch(actions, columns, served)

    def _carry(
        self, carried: CarriedStates, rows: Ints, new: Array, observations: Array, rewards: Array
    ) -> tuple[Array, dict[str, Array]]:
        """Act from the states of streams, and carry them on."""
        who, first = torch.from_numpy(rows), torch.from_numpy(new)
        before, copies = carried.before(who, first)
        if self._steps_alone:
            previous = torch.from_numpy(self._actions[rows])
            earned = torch.from_numpy(rewards.astype(np.float32))
            seen = torch.as_tensor(observations)
            logits, after, inputs = self.module.step(before, seen, previous, earned, first)
            carried.set(who, after)
            actions, columns = self._act({Columns.ACTION_DIST_INPUTS: logits})
            return actions, {**columns, COPY: copies, INPUTS: inputs.numpy()}
        batch = self._batch(rows, rows[new], observations, rewards)
        tensors = {name: torch.as_tensor(column)[:, None] for name, column in batch.items()}
        state = before if self._ours else tree.unflatten_as(self._nest, list(before.values()))
        outputs = self._forward({**tensors, Columns.STATE_IN: state})
        after = self._flat(outputs.pop(Columns.STATE_OUT))
        carried.set(who, after)
        actions, columns = self._act({name: rows.squeeze(1) for name, rows in outputs.items()})
        if self._ours:
            return actions, {**columns, COPY: copies}
        # RLlib's learners read the states of its own modules from every step.
        states = {_STATE + name: part.numpy().copy() for name, part in after.items()}
        return actions, columns | states

    def value_after(self, rows: Ints, observations: Array, rewards: Array) -> Array:
        """See `sampler.StreamActor`; on this stack the learner values, from the state then."""
        if self._carried is not None and self._ours:
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
            self._steps[fresh] = 0
            past = {name: column[rows] for name, column in self._windows.items()}
            batch = next_windows(
                past, self._steps[rows], observations, self._actions[rows], rewards
            )
            for name, column in self._windows.items():
                column[rows] = batch[name]
            self._steps[rows] += 1
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
        if self.explore and self._categorical:
            # What RLlib's distribution does, without the checks that take most of its time.
            likely = logits.log_softmax(-1)
            drawn = (likely - torch.empty_like(likely).exponential_().log()).argmax(-1)
            logp = likely.gather(1, drawn[:, None]).squeeze(1)
            said = {Columns.ACTION_DIST_INPUTS: logits, Columns.ACTION_LOGP: logp}
            return drawn.numpy(), {name: column.numpy() for name, column in said.items()}
        distribution = module.get_exploration_action_dist_cls().from_logits(logits)
        if not self.explore:
            distribution = distribution.to_deterministic()
        actions = distribution.sample()
        columns = {Columns.ACTION_DIST_INPUTS: logits.numpy()}
        if self.explore:
            columns[Columns.ACTION_LOGP] = distribution.logp(actions).numpy()
        return actions.numpy(), columns


def _arrays(state: dict[str, Tensor]) -> dict[str, Array]:
    return {name: part.numpy() for name, part in state.items()}

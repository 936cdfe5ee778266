"""States that streams carry, kept with RLlib's episodes where sequences begin and nowhere else.

- `StatesIn`, `StatesOut`: connectors that hand a module the state of each stream and take it back
- `SequenceStates`: learner connector that gives every sequence the state in which it began
- `keep_states`: for runners without these connectors

RLlib itself would store the state of every single step and then use one of `max_seq_len`. A chunk
of an episode keeps, in its `custom_data`, what its stream carried at the steps 0, S, 2S, ... of the
chunk (S = `max_seq_len`), and now:

    steps of the chunk     0 1 2 3 4 5 6           S = 3
    kept                   s     s     s  now

Batches hold them where RLlib looks for states (`STATE_IN`), so that its other connectors, losses
and minibatches treat the module like any recurrent one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tree
from numpy.typing import NDArray
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_seq.errors import UserError
from rllib_seq.models.rl_module.connectors import sees_windows

_KEPT = "carried_states"
State = Mapping[str, NDArray[Any]]


def keep_states(episode: SingleAgentEpisode, states: Sequence[State], now: State) -> None:
    """Keep with a chunk of an episode what its stream carried.

    Args:
        episode: the chunk.
        states: before its steps 0, S, 2S, ...
        now: after its last step.
    """
    # Chunks are cut by copying this: nothing in it may be changed in place.
    episode.custom_data[_KEPT] = {"states": states, "now": now}


class StatesIn(ConnectorV2):
    """Adds `STATE_IN` of every acting stream to a batch."""

    def __init__(self) -> None:
        super().__init__()
        self._initial: dict[Any, State] = {}

    def __call__(
        self, *, rl_module: Any, batch: dict[str, Any], episodes: list[Any], **kwargs: Any
    ) -> dict[str, Any]:
        """Add the column; RLlib calls this."""
        for episode in self.single_agent_episode_iterator(episodes, agents_that_stepped_only=True):
            if not sees_windows(rl_module, episode):
                continue
            kept = episode.custom_data.get(_KEPT)
            if kept is None:
                name = episode.module_id
                if name not in self._initial:
                    module = rl_module if name is None else rl_module[name]
                    self._initial[name] = tree.map_structure(np.asarray, module.get_initial_state())
                keep_states(episode, [], self._initial[name])
                kept = episode.custom_data[_KEPT]
            self.add_batch_item(batch, Columns.STATE_IN, kept["now"], episode)
        return batch


class StatesOut(ConnectorV2):
    """Takes `STATE_OUT` out of what a module returned, before RLlib stores it with every step."""

    def __init__(self, max_seq_len: int) -> None:
        """Build the connector.

        Args:
            max_seq_len: S.
        """
        super().__init__()
        self.max_seq_len = max_seq_len

    def __call__(
        self, *, batch: dict[str, Any], episodes: list[Any], **kwargs: Any
    ) -> dict[str, Any]:
        """Move the column to the episodes; RLlib calls this."""
        every = self.single_agent_episode_iterator(episodes, agents_that_stepped_only=False)
        going = {(e.multi_agent_episode_id or e.id_, e.agent_id): e for e in every}
        # Keys are (episode,) or (episode, agent, module), with one item each.
        for key, (after,) in batch.pop(Columns.STATE_OUT, {}).items():
            episode = going.get((key + (None,))[:2])
            # An episode that is over is acted for once more, and nothing comes of it.
            if episode is not None:
                self._move_on(episode, after)
        return batch

    def _move_on(self, episode: SingleAgentEpisode, after: State) -> None:
        kept = episode.custom_data.get(_KEPT)
        if kept is None:  # not yet reset
            return
        states, step = kept["states"], len(episode)
        if step == 0:
            states = []
        if step % self.max_seq_len == 0:
            # A row of a batch is a view that would keep all the others alive.
            states = [*states, {name: part.copy() for name, part in kept["now"].items()}]
        keep_states(episode, states, after)


class SequenceStates(ConnectorV2):
    """Adds `STATE_IN` of every sequence of at most `max_seq_len` steps to a train batch.

    It comes after RLlib's `AddTimeDimToBatchAndZeroPad`, which cuts the sequences.
    """

    def __init__(
        self,
        input_observation_space: Any = None,
        input_action_space: Any = None,
        *,
        max_seq_len: int,
    ) -> None:
        """Build the connector.

        Args:
            input_observation_space: RLlib sets it.
            input_action_space: RLlib sets it.
            max_seq_len: S.
        """
        super().__init__(input_observation_space, input_action_space)
        self.max_seq_len = max_seq_len

    def __call__(
        self,
        *,
        batch: dict[str, Any],
        episodes: list[Any],
        shared_data: dict,
        rl_module: Any = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Add the column; RLlib calls this.

        Raises:
            UserError: an episode was cut again after it was sampled.
        """
        # RLlib puts a step behind each episode that is none, for the value of what comes next.
        extra = int(shared_data.get("_added_loss_mask_for_valid_episode_ts", False))
        for episode in self.single_agent_episode_iterator(episodes, agents_that_stepped_only=False):
            if not sees_windows(rl_module, episode):
                continue
            kept = episode.custom_data.get(_KEPT, {"states": []})
            steps = len(episode) - extra
            if len(kept["states"]) != -(-steps // self.max_seq_len):
                raise UserError(
                    f"episode {episode.id_} was cut again after it was sampled, and its states are "
                    "those where it was cut first; set num_learners=0 or 1, or encoder='window'"
                )
            count = -(-(steps + extra) // self.max_seq_len)
            states = [*kept["states"], kept["now"]][:count]
            self.add_n_batch_items(batch, Columns.STATE_IN, states, count, episode)
        return batch

"""RLlib's policies and modules as functions: a state and a step in, outputs and a state out.

- `Network`: what both API stacks have in common
- `OldStackNetwork`: a Policy, recurrent or with attention or neither
- `NewStackNetwork`: an RLModule, with windows or a recurrent state or neither
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import tree
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import QNetAPI
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.policy.policy import Policy
from ray.rllib.policy.sample_batch import SampleBatch

from rllib_seq.config import AuxiliaryHead
from rllib_seq.errors import UserError
from rllib_seq.models.rl_module.configure import module_windows
from rllib_seq.models.rl_module.windows import next_windows, no_windows

Memory = dict[str, np.ndarray]
"""What streams have behind them, `[N, ...]` by name."""

_AT_THE_END = 10**12  # steps: schedules of exploration have ended


class Outputs(NamedTuple):
    """What a network says of N steps."""

    actions: Any
    """`[N, ...]`, maybe nested, as the network has them, before any scaling."""
    memory: Memory
    outputs: np.ndarray | None
    """Inputs of the action distribution `[N, K]`, or Q values `[N, actions]`."""
    forecasts: Callable[[], dict[str, np.ndarray]]
    """Returns the probabilities of the auxiliary heads' events, `[N]` by name; to be called before
    the network acts again."""


class Network(Protocol):
    """Acts for N streams; keeps nothing of them."""

    model: Any
    """What RLlib calls a model (old API stack) or a module (new)."""
    heads: Mapping[str, AuxiliaryHead]
    """The auxiliary heads, by name of the event."""
    reads_action: bool
    """Whether previous actions are an input."""
    reads_reward: bool

    def no_memory(self, streams: int) -> Memory:
        """Return the memory of streams without steps."""

    def act(
        self,
        memory: Memory,
        steps: np.ndarray,
        observations: Any,
        actions: Any,
        rewards: np.ndarray,
        deterministic: bool,
    ) -> Outputs:
        """Act for N streams.

        Args:
            memory: of them.
            steps: how many steps each has behind it, `[N]`.
            observations: preprocessed, `[N, ...]`.
            actions: previous ones, `[N, ...]`; zeros at first steps.
            rewards: previous ones, `[N]`; zeros at first steps.
            deterministic: take the likeliest action, do not draw.
        """


class OldStackNetwork:
    """A policy of the old API stack, see `Network`."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.model = policy, policy.model
        self.heads = getattr(getattr(policy.model, "auxiliary", None), "heads", {})
        views = policy.model.view_requirements
        self.reads_action = SampleBatch.PREV_ACTIONS in views
        self.reads_reward = SampleBatch.PREV_REWARDS in views
        for name in ("attention_use_n_prev_actions", "attention_use_n_prev_rewards"):
            if policy.config["model"].get("use_attention") and policy.config["model"].get(name):
                raise UserError(f"predict cannot act with {name}; train without it")
        self.slots = {
            name: len(view.shift_arr)
            for name, view in views.items()
            if name.startswith("state_in_") and len(view.shift_arr) > 1
        }
        """By part of the memory: attention reads what was said of so many steps, not of one."""

    def no_memory(self, streams: int) -> Memory:
        """See `Network.no_memory`."""
        memory = {}
        for number, part in enumerate(self.policy.get_initial_state()):
            name, part = f"state_in_{number}", np.asarray(part)
            slots = [self.slots[name]] if name in self.slots else []
            memory[name] = np.broadcast_to(part, (streams, *slots, *part.shape)).copy()
        return memory

    def act(
        self,
        memory: Memory,
        steps: np.ndarray,
        observations: Any,
        actions: Any,
        rewards: np.ndarray,
        deterministic: bool,
    ) -> Outputs:
        """See `Network.act`."""
        taken, after, extra = self.policy.compute_actions(
            observations,
            state_batches=list(memory.values()),
            prev_action_batch=actions if self.reads_action else None,
            prev_reward_batch=rewards if self.reads_reward else None,
            explore=not deterministic,
        )

        @torch.no_grad()
        def forecasts() -> dict[str, np.ndarray]:
            if not self.heads:
                return {}
            return _numbers(self.model.auxiliary_probabilities(torch.as_tensor(taken)))

        memory = {
            name: self._rolled(name, memory[name], np.asarray(new))
            for name, new in zip(memory, after, strict=True)
        }
        return Outputs(taken, memory, extra.get(SampleBatch.ACTION_DIST_INPUTS), forecasts)

    def _rolled(self, name: str, old: np.ndarray, new: np.ndarray) -> np.ndarray:
        if name not in self.slots:
            return new
        return np.concatenate([old[:, 1:], new.reshape(len(old), 1, *old.shape[2:])], axis=1)


class NewStackNetwork:
    """A module of the new API stack, see `Network`."""

    def __init__(self, module: RLModule) -> None:
        self.model = module
        self.heads = getattr(getattr(module, "auxiliary", None), "heads", {})
        self._windows = module_windows(module)
        self.reads_action = self._windows is not None and self._windows.prev_action
        self.reads_reward = self._windows is not None and self._windows.prev_reward

    def no_memory(self, streams: int) -> Memory:
        """See `Network.no_memory`."""
        module, memory = self.model, Memory()
        if self._windows is not None:
            spaces = module.observation_space, module.action_space
            memory.update(no_windows(streams, *spaces, self._windows))
        if module.is_stateful():
            for name, part in module.get_initial_state().items():
                part = np.asarray(part)
                memory[_state(name)] = np.broadcast_to(part, (streams, *part.shape)).copy()
        return memory

    def act(
        self,
        memory: Memory,
        steps: np.ndarray,
        observations: Any,
        actions: Any,
        rewards: np.ndarray,
        deterministic: bool,
    ) -> Outputs:
        """See `Network.act`."""
        module, after = self.model, Memory()
        batch = {Columns.OBS: observations}
        if self._windows is not None:
            past = {name: rows for name, rows in memory.items() if not _is_state(name)}
            batch = next_windows(past, steps, observations, actions, rewards)
            after = {name: batch[name] for name in past}
        if module.is_stateful():
            batch = tree.map_structure(lambda rows: rows[:, None], batch)  # (N, 1, ...)
            batch[Columns.STATE_IN] = {
                name.partition("/")[2]: rows for name, rows in memory.items() if _is_state(name)
            }
        batch = tree.map_structure(torch.as_tensor, batch)
        with torch.no_grad():
            if deterministic:
                said = module.forward_inference(batch)
            else:
                said = module.forward_exploration(batch, t=_AT_THE_END)
            taken, outputs = self._taken(batch, said, deterministic)

        @torch.no_grad()
        def forecasts() -> dict[str, np.ndarray]:
            return _numbers(module.auxiliary_probabilities(batch, taken)) if self.heads else {}

        if module.is_stateful():
            new = said[Columns.STATE_OUT]
            after |= {_state(name): np.asarray(part) for name, part in new.items()}
        return Outputs(np.asarray(taken), after, outputs, forecasts)

    def _taken(
        self, batch: dict[str, Any], said: Mapping[str, Any], deterministic: bool
    ) -> tuple[torch.Tensor, np.ndarray | None]:
        """Actions `[N, ...]`, and what they were taken from, `[N, K]`."""
        module = self.model
        if Columns.ACTIONS in said:
            outputs = None
            if isinstance(module, QNetAPI):
                outputs = module.compute_q_values(batch)["qf_preds"]
                outputs = np.asarray(outputs).reshape(-1, outputs.shape[-1])
            actions = said[Columns.ACTIONS]
            return actions.flatten(0, 1) if module.is_stateful() else actions, outputs
        inputs = said[Columns.ACTION_DIST_INPUTS]
        inputs = inputs.flatten(0, 1) if module.is_stateful() else inputs
        if deterministic:
            kind = module.get_inference_action_dist_cls()
            return kind.from_logits(inputs).to_deterministic().sample(), np.asarray(inputs)
        kind = module.get_exploration_action_dist_cls()
        return kind.from_logits(inputs).sample(), np.asarray(inputs)


def _state(name: str) -> str:
    return f"{Columns.STATE_IN}/{name}"


def _is_state(name: str) -> bool:
    return name.startswith(f"{Columns.STATE_IN}/")


def _numbers(said: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: np.asarray(rows, np.float64) for name, rows in said.items()}

"""The networks of all kinds of policies, as torch modules of one signature.

- `Core`, `Said`: one step of a network, without what stands around it
- `core_of`: of a network, whatever its API stack
"""

from __future__ import annotations

from typing import Any, NamedTuple
from unittest import mock

import torch
import tree
from ray.rllib.algorithms.dqn.default_dqn_rl_module import DefaultDQNRLModule
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.models.torch import complex_input_net
from ray.rllib.policy.policy import Policy
from ray.rllib.policy.sample_batch import SampleBatch
from torch import Tensor, nn

from rllib_seq.errors import UserError
from rllib_seq.models import LSTMTransformerModel
from rllib_seq.models.rl_module.configure import module_windows
from rllib_seq.models.rl_module.sequence_module import SequenceRLModule
from rllib_seq.models.step_inputs import encode_action
from rllib_seq.nn import LENGTH
from rllib_seq.nn.heads.auxiliary import event_probability
from rllib_seq.q_learning.module import SequenceQRLModule
from rllib_seq.training.acting.networks import Network, OldStackNetwork


class Said(NamedTuple):
    """What a network says of N steps, see `acting.networks.Outputs`."""

    action: Any
    outputs: Tensor
    memory: dict[str, Tensor]
    forecasts: dict[str, Tensor]


class Core(nn.Module):
    """A network for N streams; zeros are the memory of a new one."""

    state_shapes: dict[str, tuple[int, ...]]
    """Of the memory, by name, without N."""
    reads_first = False
    """Whether it has to know which steps are the first of a stream."""

    def forward(
        self,
        seen: Any,
        previous: Tensor | None,
        reward: Tensor | None,
        first: Tensor | None,
        memory: dict[str, Tensor],
    ) -> Said:
        """Act, see `acting.networks.Network.act`.

        Args:
            seen: preprocessed observations.
            previous: actions, `[N, ...]`, if they are read.
            reward: `[N]`, if it is read.
            first: `[N]`, where streams begin.
            memory: of them.
        """
        raise NotImplementedError


def core_of(network: Network) -> Core:
    """Return the core of a network.

    Raises:
        UserError: there is none for its kind.
    """
    model = network.model
    if isinstance(network, OldStackNetwork):
        if isinstance(model, LSTMTransformerModel):
            return _Sequence(model, _old_stack(network.policy))
        return _OldStack(network)
    if isinstance(model, SequenceQRLModule):
        return _SequenceQ(model)
    if isinstance(model, SequenceRLModule):
        return _Sequence(model, _new_stack(model))
    if module_windows(model) is not None:
        raise UserError(
            f"a {type(model).__name__} over windows cannot be exported; inherit from "
            "rllib_seq.models.SequenceRLModule"
        )
    return _NewStack(model)


class _Sequence(Core):
    """Our policy network, whatever its encoder and API stack."""

    reads_first = True

    def __init__(self, model: Any, likeliest: Any) -> None:
        super().__init__()
        self.policy, self.auxiliary = model.policy, model.auxiliary
        self._step_inputs, self._likeliest = model.step_inputs, likeliest
        self.state_shapes = dict(self.policy.encoder.state_shapes)

    def forward(self, seen, previous, reward, first, memory):  # type: ignore[no-untyped-def]
        """See `Core`."""
        inputs = self._step_inputs.join(seen, previous, reward, first)
        features, after = self.policy.encoder.sequence(memory, inputs[:, None])
        features = features[:, 0]
        outputs = self._step_inputs.mask_outputs(self.policy.head(features), seen)
        action = self._likeliest(outputs)
        forecasts = {}
        if self.auxiliary.heads:
            space = self._step_inputs.action_space
            given = encode_action(action, space) if self.auxiliary.need_action else None
            logits = self.auxiliary(features, given)
            forecasts = {name: event_probability(rows) for name, rows in logits.items()}
        return Said(action, outputs, after, forecasts)


class _SequenceQ(Core):
    """Our Q network: it reads windows, whatever its encoder."""

    reads_first = True

    def __init__(self, module: SequenceQRLModule) -> None:
        super().__init__()
        self.q, self._step_inputs = module.q, module.step_inputs
        self._slots = module.config_of_sequence.window_length
        self.state_shapes = {"inputs": (self._slots, self._step_inputs.width), LENGTH: (1,)}

    def forward(self, seen, previous, reward, first, memory):  # type: ignore[no-untyped-def]
        """See `Core`."""
        now = self._step_inputs.join(seen, previous, reward, first)
        inputs = torch.cat([memory["inputs"][:, 1:], now[:, None]], dim=1)
        length = memory[LENGTH] + 1
        values = self.q(inputs, torch.arange(self._slots, 0, -1) <= length)
        values = self._step_inputs.mask_outputs(values, seen)
        return Said(values.argmax(1), values, {"inputs": inputs, LENGTH: length}, {})


class _OldStack(Core):
    """A model of RLlib's old API stack, or a custom one: plain, recurrent or with attention."""

    def __init__(self, network: OldStackNetwork) -> None:
        super().__init__()
        self.model, self._slots = network.model, network.slots
        self._likeliest = _old_stack(network.policy)
        memory = network.no_memory(1)
        if any(part.any() for part in memory.values()):
            raise UserError("the model's initial state is not zero, and is not exported")
        self.state_shapes = {name: part.shape[1:] for name, part in memory.items()}

    def forward(self, seen, previous, reward, first, memory):  # type: ignore[no-untyped-def]
        """See `Core`."""
        batch = {"obs": seen}
        if previous is not None:
            batch["prev_actions"] = previous
        if reward is not None:
            batch["prev_rewards"] = reward
        ones = torch.ones(seen.shape[0], dtype=torch.int32)
        with mock.patch.object(complex_input_net, "SampleBatch", _Batch):
            outputs, new = self.model(batch, list(memory.values()), ones)
        after = {}
        for name, part in zip(memory, new, strict=True):
            if name in self._slots:  # what was said of a step becomes the newest slot
                part = part.reshape(seen.shape[0], 1, *self.state_shapes[name][1:])
                part = torch.cat([memory[name][:, 1:], part], dim=1)
            after[name] = part
        return Said(self._likeliest(outputs), outputs, after, {})


class _Batch(dict[str, Any]):
    """RLlib's SampleBatch for a tracer, who would take its length for a constant."""

    OBS = SampleBatch.OBS


class _NewStack(Core):
    """A module of RLlib's new API stack, or a custom one: plain or recurrent."""

    def __init__(self, module: RLModule) -> None:
        super().__init__()
        self._stateful = module.is_stateful()
        self.module: Any = module
        self._likeliest = _new_stack(module)
        self._blank: Any = module.get_initial_state() if self._stateful else {}
        paths = tree.flatten_with_path(self._blank)
        self.state_shapes = {".".join(map(str, path)): tuple(part.shape) for path, part in paths}

    def forward(self, seen, previous, reward, first, memory):  # type: ignore[no-untyped-def]
        """See `Core`."""
        batch = {Columns.OBS: seen}
        if self._stateful:
            batch = {Columns.OBS: tree.map_structure(lambda rows: rows[:, None], seen)}
            batch[Columns.STATE_IN] = tree.unflatten_as(self._blank, list(memory.values()))
        values = None
        if isinstance(self.module, DefaultDQNRLModule):
            said = self.module.compute_q_values(batch)
            values = said["qf_preds"]
        else:
            said = self.module.forward_inference(batch)
        outputs = values if values is not None else said[Columns.ACTION_DIST_INPUTS]
        after = {}
        if self._stateful:
            outputs = outputs[:, 0]
            after = dict(zip(memory, tree.flatten(said[Columns.STATE_OUT]), strict=True))
        action = self._likeliest(outputs) if values is None else outputs.argmax(1)
        return Said(action, outputs, after, {})


def _old_stack(policy: Policy) -> Any:
    return lambda outputs: policy.dist_class(outputs, policy.model).deterministic_sample()


def _new_stack(module: RLModule) -> Any:
    kind = module.get_inference_action_dist_cls()
    return lambda outputs: kind.from_logits(outputs).to_deterministic().sample()

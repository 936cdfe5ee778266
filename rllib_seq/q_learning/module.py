"""The sequential Q network as an RLModule for DQN on RLlib's new API stack.

- `SequenceQRLModule`: all of Rainbow's options, over windows
"""

from __future__ import annotations

from typing import Any

import torch
from gymnasium.spaces import Discrete
from ray.rllib.algorithms.dqn.dqn_learner import (
    ATOMS,
    QF_LOGITS,
    QF_NEXT_PREDS,
    QF_PREDS,
    QF_PROBS,
    QF_TARGET_NEXT_PREDS,
    QF_TARGET_NEXT_PROBS,
)
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, QNetAPI, TargetNetworkAPI
from ray.rllib.utils.schedules.scheduler import Scheduler
from torch import Tensor

from rllib_seq.errors import UserError
from rllib_seq.models.rl_module.windowed_module import SEQUENCE_CONFIG, WindowedRLModule
from rllib_seq.models.rl_module.windows import STEPS_BEFORE
from rllib_seq.models.step_inputs import FORBIDDEN
from rllib_seq.nn import LENGTH, SequentialQNetwork
from rllib_seq.nn.heads.q_values import QHead
from rllib_seq.q_learning.exploration import EPSILON, NOISE_SEED, noise_of
from rllib_seq.q_learning.replay import NEXT


class SequenceQRLModule(WindowedRLModule, QNetAPI, TargetNetworkAPI, InferenceOnlyAPI):
    """Q values over windows: double, dueling, distributional and noisy, as `DQNConfig` says.

    Environment runners hold the network alone, the learner its target copy, too.
    """

    def setup(self) -> None:
        """Build the network; RLlib calls this.

        Raises:
            UserError: actions are not Discrete; see also `WindowedRLModule.setup`.
        """
        super().setup()
        if not isinstance(self.action_space, Discrete):
            raise UserError(
                f"Q-learning needs Discrete actions, not {self.action_space}; make the choices one "
                "Discrete space in the environment, or use PPO"
            )
        options = self.model_config
        self.double_q = options["double_q"]
        self.epsilon = Scheduler(options["epsilon"], framework="torch")
        atoms = options["num_atoms"]
        self.q = SequentialQNetwork(
            self.step_inputs.width,
            int(self.action_space.n),
            dueling=options["dueling"],
            support=(options["v_min"], options["v_max"], atoms) if atoms > 1 else None,
            noise_scale=options["std_init"] if options["noisy"] else 0.0,
            parts=self.step_inputs.parts,
            **options.get(SEQUENCE_CONFIG, {}),
        )
        noise_widths = self.q.head.noise_widths if isinstance(self.q.head, QHead) else []
        self.noise_width = sum(noise_widths)
        self.eval()

    @property
    def acting_network(self) -> torch.nn.Module:
        """See `WindowedRLModule.acting_network`: Q values."""
        return self.q

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Return the best `actions`, `[N]`, of windows; no noise, no dropout.

        Without connectors, of `obs` alone: see `WindowedRLModule.plain_steps`; the `state_out` of
        the step before is the `state_in` of the next.
        """
        if STEPS_BEFORE not in batch:
            return self._plain_inference(batch)
        with torch.no_grad():
            values = self.mask_outputs(self.q(*self.windows(batch)), batch)
        return {Columns.ACTIONS: values.argmax(1)}

    def _plain_inference(self, batch: dict[str, Any]) -> dict[str, Any]:
        rows, slots = len(self.plain_observations(batch)), self.config_of_sequence.window_length
        state = batch.get(Columns.STATE_IN) or {
            "inputs": torch.zeros(rows, slots, self.step_inputs.width),
            LENGTH: torch.zeros(rows, 1),
        }
        inputs = self.plain_steps(batch, state)  # (B, T, width)
        observations = batch[Columns.OBS].reshape(*inputs.shape[:2], -1)
        past, length, actions = state["inputs"], state[LENGTH], []
        for step, seen in zip(inputs.unbind(1), observations.unbind(1), strict=True):
            past = torch.cat([past[:, 1:], step[:, None]], dim=1)
            length = length + 1
            valid = torch.arange(slots, 0, -1) <= length  # (B, slots)
            with torch.no_grad():
                values = self.step_inputs.mask_outputs(self.q(past, valid), seen)
            actions.append(values.argmax(1))
        taken = torch.stack(actions, dim=1)
        return {
            Columns.ACTIONS: taken if batch[Columns.OBS].dim() == 3 else taken.squeeze(1),
            Columns.STATE_OUT: {"inputs": past, LENGTH: length},
        }

    def _forward_exploration(self, batch: dict[str, Any], t: int, **kwargs: Any) -> dict[str, Any]:
        """Return `actions`, `[N]`, that explore.

        Args:
            batch: windows, and what `StreamExploration` adds to them.
            t: steps of the environment so far, for the schedule of epsilon.
            **kwargs: RLlib's, not read.
        """
        noise = None
        if NOISE_SEED in batch:
            noise = noise_of(batch[NOISE_SEED], self.noise_width)
        with torch.no_grad():
            values = self.mask_outputs(self.q(*self.windows(batch), noise), batch)
        if EPSILON in batch:
            epsilon = batch[EPSILON]
        else:
            epsilon = torch.as_tensor(self.epsilon.update(t), device=values.device)
        best = values.argmax(1)
        random = torch.rand(best.shape, device=best.device) < epsilon
        allowed = (values > FORBIDDEN).float()
        any_action = torch.multinomial(allowed, 1).squeeze(1)
        return {Columns.ACTIONS: torch.where(random, any_action, best)}

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Return what RLlib's DQN loss reads; only the values of the steps have gradients."""
        now, later = self.windows(batch), self.windows(batch, NEXT)
        logits = self.q.logits(*now, self._noise(now[0]))
        with torch.no_grad():
            self._target.eval()
            target_logits = self._target.logits(*later, self._noise(later[0]))
            target = self.mask_outputs(self._target.expectation(target_logits), batch, NEXT)
            best = target
            if self.double_q:
                self.q.eval()
                best = self.mask_outputs(self.q(*later, self._noise(later[0])), batch, NEXT)
                self.q.train()
        outputs = {
            QF_PREDS: self.q.expectation(logits),
            QF_NEXT_PREDS: best,
            QF_TARGET_NEXT_PREDS: target,
        }
        if len(self.q.atoms) > 1:
            outputs[ATOMS] = self.q.atoms
            outputs[QF_LOGITS] = logits
            outputs[QF_PROBS] = logits.softmax(-1)
            outputs[QF_TARGET_NEXT_PROBS] = target_logits.softmax(-1)
        return outputs

    def _noise(self, windows: Tensor) -> Tensor | None:
        """Noise of its own for every row, if the network is noisy."""
        if not self.noise_width:
            return None
        return torch.randn(len(windows), self.noise_width, device=windows.device)

    def compute_q_values(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return Q values `[N, actions]` of windows, as `qf_preds`."""
        return {QF_PREDS: self.mask_outputs(self.q(*self.windows(batch)), batch)}

    def make_target_networks(self) -> None:
        """Copy the network; the learner calls this."""
        self._target = make_target_network(self.q)

    def get_target_network_pairs(self) -> list[tuple[torch.nn.Module, torch.nn.Module]]:
        """Return the network and its copy."""
        return [(self.q, self._target)]

    def forward_target(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return Q values `[N, actions]` of windows by the copy, as `qf_preds`."""
        return {QF_PREDS: self.mask_outputs(self._target(*self.windows(batch)), batch)}

    def get_non_inference_attributes(self) -> list[str]:
        """Return what acting does not need."""
        return ["_target"]

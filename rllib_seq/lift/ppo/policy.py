"""Policies of the old API stack that learn from the advantages of all bids at once.

- `OutcomePPOPolicy`: PPO's
- `OutcomeAPPOPolicy`, `OutcomeIMPALAPolicy`: for learners that do not wait for their workers
"""

from __future__ import annotations

import logging
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from ray.rllib.policy.sample_batch import SampleBatch
from ray.rllib.policy.torch_mixins import (
    EntropyCoeffSchedule,
    KLCoeffMixin,
    LearningRateSchedule,
)
from ray.rllib.policy.torch_policy_v2 import TorchPolicyV2
from ray.rllib.policy.view_requirement import ViewRequirement
from ray.rllib.utils.torch_utils import apply_grad_clipping
from torch import Tensor

from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig
from rllib_seq.errors import UserError
from rllib_seq.lift.learner import scale_inputs
from rllib_seq.lift.ppo.advantages import bid_advantages, expected_surrogate
from rllib_seq.lift.price_history import PriceHistory
from rllib_seq.lift.targets import outcome_targets, win_ratio
from rllib_seq.models import LSTMTransformerModel
from rllib_seq.models.averaged_weights import AveragedWeights
from rllib_seq.nn import StreamEncoder
from rllib_seq.nn.heads.auction import AuctionHead

__all__ = ["OutcomeAPPOPolicy", "OutcomeIMPALAPolicy", "OutcomePPOPolicy"]

_WON, _PAID = "won", "paid"
_REPORTED = ("total_loss", "policy_loss", "vf_loss", "vf_explained_var", "entropy", "kl", "lift")

# RLlib has names for its own policies alone, and says so with every checkpoint.
logging.getLogger("ray.rllib.policy.policy").addFilter(
    lambda record: not any(name in record.getMessage() for name in __all__)
)


class OutcomePPOPolicy(
    AveragedWeights, LearningRateSchedule, EntropyCoeffSchedule, KLCoeffMixin, TorchPolicyV2
):
    """PPO whose critic knows Q of every bid by the structure of an auction.

    Sequences are whole journeys, from their first request. Two parts differ from PPO's loss:

    - The objective is the mean over all bids, `expected_surrogate`, not that of the one made.
      Which bid was made does not matter for it, so workers explore as they like.
    - The critic learns worth and lift from what happened, see `outcome_targets`, under the best
      bids from then on. What bids win and pay is counted from the batches, before each is learned
      from.

    Raises:
        UserError: the model is another, or has another critic.
    """

    def __init__(
        self, observation_space: gym.Space, action_space: gym.Space, config: dict[str, Any]
    ) -> None:
        TorchPolicyV2.__init__(
            self,
            observation_space,
            action_space,
            config,
            max_seq_len=config["model"]["max_seq_len"],
        )
        model = self.model
        if not (
            isinstance(model, LSTMTransformerModel)
            and model.config.critic == "bids"
            and isinstance(action_space, Discrete)
        ):
            raise UserError(
                "OutcomePPO learns 'lstm_transformer' with custom_model_config={'critic': 'bids'} "
                "and bid levels as actions; set the three"
            )
        preset = AuctionConfig.from_dict(config["env_config"]).build_preset()
        self._unit = float(preset.bid_levels[-1])
        self._cost = 1.0 + preset.shadow_price
        self._context = list(model.config.price_context)
        self._prices = PriceHistory(preset.bid_levels, preset.auction, max(1, len(self._context)))
        self._head.unit.fill_(self._unit)
        LearningRateSchedule.__init__(self, config["lr"], config["lr_schedule"])
        EntropyCoeffSchedule.__init__(
            self, config["entropy_coeff"], config["entropy_coeff_schedule"]
        )
        KLCoeffMixin.__init__(self, config)
        for name in (_WON, _PAID):
            self.view_requirements[name] = ViewRequirement(
                space=Box(0, 1, (), np.float32), used_for_compute_actions=False
            )
        self._initialize_loss_from_dummy_batch()

    @property
    def _head(self) -> AuctionHead:
        head = self.model.networks.value_head
        assert isinstance(head, AuctionHead)
        return head

    @property
    def _encoders(self) -> list[StreamEncoder]:
        networks = self.model.networks
        parts = [networks.policy, networks.value]
        return [part.encoder for part in parts if hasattr(part, "encoder")]

    def load_batch_into_buffer(self, batch: SampleBatch, buffer_index: int = 0) -> int:
        """Count prices from a train batch; then see RLlib."""
        shown = batch[SampleBatch.OBS]
        if not len(self._prices):
            for encoder in self._encoders:
                scale_inputs(encoder, shown)
        context = (
            shown[:, self._context].argmax(1) if self._context else np.zeros(len(shown), np.int64)
        )
        self._prices.add(batch[SampleBatch.ACTIONS], batch[_WON], batch[_PAID], context)
        win, payment = (
            torch.as_tensor(part, dtype=torch.float32) for part in self._prices.models()
        )
        self._head.set_prices(win, payment * self._cost)
        return super().load_batch_into_buffer(batch, buffer_index)

    def loss(self, model: Any, dist_class: Any, train_batch: SampleBatch) -> Tensor:
        """Return the loss of a minibatch of whole journeys; see the class."""
        logits, _ = model(train_batch)
        lens = torch.as_tensor(train_batch[SampleBatch.SEQ_LENS])
        size, steps = len(lens), len(logits) // len(lens)

        def rows(column: Tensor) -> Tensor:
            return column.view(size, steps, *column.shape[1:])

        real = (torch.arange(steps, device=logits.device) < lens[:, None]).float()
        count = real.sum()

        def mean(values: Tensor) -> Tensor:
            return (values * real).sum() / count

        logp = rows(logits.log_softmax(-1))
        old_logp = rows(train_batch[SampleBatch.ACTION_DIST_INPUTS].log_softmax(-1))
        won = rows(train_batch[_WON]).float()
        bid = rows(train_batch[SampleBatch.ACTIONS]).long()
        payment = rows(train_batch[_PAID]) * self._cost * real
        features, head = model.value_features(), model.networks.value_head
        lost, lift = head.lost_and_lift(features)
        with torch.no_grad():
            win, _ = head.prices(features)
            values = head(features)
            value, best = values.max(-1)
            chances = (
                win.expand_as(values).gather(-1, level[..., None]).squeeze(-1)
                for level in (best, bid)
            )
            targets = outcome_targets(
                reward=rows(train_batch[SampleBatch.REWARDS]),
                payment=payment,
                value=value,
                taken=lost + won * lift - payment,
                trace=self.config["lambda"] * win_ratio(won, *chances),
                real=real,
            )
            advantages = bid_advantages(values, old_logp) / self._unit
        objective = mean(self._objective(logp, old_logp, advantages))
        error = (lost + won * lift - targets) / self._unit
        critic_loss = mean(error.square())
        entropy = -mean((logp.exp() * logp).sum(-1))
        kl = mean((old_logp.exp() * (old_logp - logp)).sum(-1))
        total = (
            self.config["vf_loss_coeff"] * critic_loss - objective - self.entropy_coeff * entropy
        )
        if self.config["use_kl_loss"]:
            total = total + self.kl_coeff * kl
        spread = (targets / self._unit)[real > 0].var(unbiased=False)
        model.tower_stats.update(
            total_loss=total,
            policy_loss=-objective,
            vf_loss=critic_loss,
            vf_explained_var=1.0 - critic_loss / spread.clamp(min=1e-12),
            entropy=entropy,
            kl=kl,
            lift=mean(lift),
        )
        return total

    def _objective(self, logp: Tensor, old_logp: Tensor, advantages: Tensor) -> Tensor:
        """What is to grow, of each step, `[B, T]`."""
        return expected_surrogate(logp, old_logp, advantages, self.config["clip_param"])

    def stats_fn(self, train_batch: SampleBatch) -> dict[str, float]:
        """Return what RLlib reports."""
        stats = {
            name: torch.stack([part.detach() for part in self.get_tower_stats(name)]).mean().item()
            for name in _REPORTED
        }
        return {
            **stats,
            "cur_kl_coeff": self.kl_coeff,
            "cur_lr": self.cur_lr,
            "entropy_coeff": self.entropy_coeff,
        }

    def extra_grad_process(self, optimizer: Any, loss: Tensor) -> dict[str, Any]:
        """Clip gradients; see RLlib."""
        return apply_grad_clipping(self, optimizer, loss)

    def get_state(self) -> dict[str, Any]:
        """See RLlib's Policy."""
        return {**super().get_state(), "prices": self._prices.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """See RLlib's Policy."""
        self._prices.set_state(state["prices"])
        super().set_state(state)


class OutcomeAPPOPolicy(OutcomePPOPolicy):
    """PPO's, for batches that a policy of some updates ago has played.

    The objective is a mean over all bids and not over those that were made, and the critic's
    targets are Retrace's, so old batches need no importance weights beside PPO's clipped ratio.
    There is no target network.
    """

    def learn_on_loaded_batch(self, offset: int = 0, buffer_index: int = 0) -> dict[str, Any]:
        """Learn from the whole batch: RLlib would cut off what is above `train_batch_size`."""
        (batch,) = self._loaded_batches[buffer_index]
        return self.learn_on_batch(batch)

    def update_target(self) -> None:
        """Nothing to do; APPO calls it."""


class OutcomeIMPALAPolicy(OutcomeAPPOPolicy):
    """IMPALA's: the policy gradient itself.

    V-trace corrects for the bid that was made by an older policy. Here the mean over all bids is
    taken under the newest one, so nothing is left to correct.
    """

    def _objective(self, logp: Tensor, old_logp: Tensor, advantages: Tensor) -> Tensor:
        return (logp.exp() * advantages).sum(-1)

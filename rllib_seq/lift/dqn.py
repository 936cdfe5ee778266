"""Recurrent DQN whose Q values have the structure of an auction, from outcomes alone.

- `OutcomeDQNConfig`: DQN of the new API stack
- `use_outcome_q_learning`: sets it up for sequences
- `OutcomeQRLModule`, `OutcomeDQNLearner`, `CountPrices`: its parts
- `payments_of`: what bidders paid, from what they saw next

A step is regressed on what came of it, `L + won * D - paid`, so whether the bid won and for how
much is no noise, and what it teaches about one bid, it teaches about all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.dqn import DQN, DQNConfig
from ray.rllib.algorithms.dqn.dqn_learner import QF_NEXT_PREDS, QF_PREDS, QF_TARGET_NEXT_PREDS
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.columns import Columns
from torch import Tensor

from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig, Preset
from rllib_seq.errors import UserError
from rllib_seq.lift.price_history import PriceHistory
from rllib_seq.lift.world import check_world, outcome_settings
from rllib_seq.models.rl_module.configure import change_sequence_settings, sequence_settings
from rllib_seq.nn.heads.auction import AuctionHead
from rllib_seq.q_learning import EpsilonLadder, SequenceQRLModule, use_sequence_q_learning
from rllib_seq.q_learning.learner import SequenceDQNLearner
from rllib_seq.q_learning.replay import AFTER, NEXT

__all__ = [
    "CountPrices",
    "OutcomeDQNConfig",
    "OutcomeDQNLearner",
    "OutcomeQRLModule",
    "payments_of",
    "use_outcome_q_learning",
]

_PAYMENT = "payment"
_LEAST_PAYMENT = 1e-6  # in conversion values: less is a rounding error
_EVERY = 50  # batches between two price models
_AUCTIONS = 50_000  # that a price model is made of


def payments_of(profit: Tensor, reward: Tensor, ended: Tensor, value: float) -> Tensor:
    """Return what steps paid for their impressions, `[N]`, as rewards count it; 0 where they lost.

    Args:
        profit: of the request (`last_profit`), as the next observation shows it, `[N]`.
        reward: of each step, `[N]`.
        ended: where the journey ended with the step, `[N]`. What was paid is then what the reward
            lacks to a conversion, or to nothing.
        value: of a conversion, in whose units `profit` is given.
    """
    at_end = torch.where(reward > 0, value, 0.0) - reward
    payment = torch.where(ended, at_end, -value * profit)
    return torch.where(payment > _LEAST_PAYMENT * value, payment, 0.0)


class OutcomeQRLModule(SequenceQRLModule):
    """Q values by an `AuctionHead`; the bid that was made is valued by what came of it."""

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Return what RLlib's DQN loss reads; only the values of the steps have gradients."""
        head = self.q.head
        assert isinstance(head, AuctionHead)
        features = self.q.encoder.windows(*self.windows(batch))
        lost, lift = head.lost_and_lift(features)
        payment = batch[_PAYMENT]
        made = lost + (payment > 0) * lift - payment
        bid = batch[Columns.ACTIONS].long()[:, None]
        later = self.windows(batch, NEXT)
        with torch.no_grad():
            target = self._target(*later)
            best = self.q(*later) if self.double_q else target
        return {
            QF_PREDS: head(features).scatter(1, bid, made[:, None]),
            QF_NEXT_PREDS: best,
            QF_TARGET_NEXT_PREDS: target,
        }


class CountPrices(ConnectorV2):
    """Adds what was paid to a train batch, and counts what bids win and pay.

    Args:
        preset: of the world.
        modules: that learn, by name.
    """

    def __init__(self, preset: Preset, modules: dict[str, OutcomeQRLModule]) -> None:
        super().__init__()
        self._preset, self._modules = preset, modules
        self._cost = 1.0 + preset.shadow_price
        self._batches = 0
        self._prices = {}
        for name, module in modules.items():
            contexts = max(1, len(module.config_of_sequence.price_context))
            self._prices[name] = PriceHistory(
                preset.bid_levels, preset.auction, contexts, _AUCTIONS
            )

    def __call__(self, *, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Return the batch; RLlib calls this."""
        for name, columns in batch.items():
            self._add(name, columns)
            if self._batches % _EVERY == 0:
                self._set_prices(name)
        self._batches += 1
        return batch

    def _add(self, name: str, columns: dict[str, Any]) -> None:
        settings = self._modules[name].config_of_sequence
        (flagged,), context = settings.flagged_inputs, list(settings.price_context)
        columns[_PAYMENT] = payments_of(
            columns[AFTER + Columns.OBS][:, flagged],
            columns[AFTER + Columns.REWARDS],
            columns[AFTER + Columns.TERMINATEDS],
            self._preset.value,
        )
        paid = columns[_PAYMENT].cpu().numpy().astype(np.float64) / self._cost
        shown = columns[Columns.OBS][:, -1, context].cpu().numpy()
        where = shown.argmax(1) if context else np.zeros(len(paid), np.int64)
        self._prices[name].add(columns[Columns.ACTIONS].cpu().numpy(), paid > 0, paid, where)

    def _set_prices(self, name: str) -> None:
        win, payment = (
            torch.as_tensor(part, dtype=torch.float32) for part in self._prices[name].models()
        )
        for head in _heads(self._modules[name]):
            head.set_prices(win, payment * self._cost)


class OutcomeDQNLearner(SequenceDQNLearner):
    """RLlib's DQN learner, whose Q values have the prices of the steps that it learns from."""

    def build(self) -> None:
        """Build the learner; RLlib calls this."""
        super().build()
        preset = AuctionConfig.from_dict(self.config.env_config).build_preset()
        modules = {name: self.module[name].unwrapped() for name in self.module.keys()}
        for module in modules.values():
            for head in _heads(module):
                head.unit.fill_(float(preset.bid_levels[-1]))
        self._learner_connector.append(CountPrices(preset, modules))


def _heads(module: OutcomeQRLModule) -> list[AuctionHead]:
    """Of the network and of its target copy."""
    networks: list[Any] = [part for pair in module.get_target_network_pairs() for part in pair]
    return [network.head for network in networks]


def use_outcome_q_learning(
    config: OutcomeDQNConfig, epsilon_ladder: EpsilonLadder | None = None, **sequence_config: Any
) -> OutcomeDQNConfig:
    """Let DQN learn the structure of an auction over sequences; call it last.

    Args:
        config: is changed in place and returned.
        epsilon_ladder: see `use_sequence_q_learning`.
        **sequence_config: fields of `SequenceConfig`.

    Raises:
        UserError: as for `use_sequence_q_learning`.
    """
    use_sequence_q_learning(
        config,
        epsilon_ladder,
        module_class=OutcomeQRLModule,
        learner_class=OutcomeDQNLearner,
        **{**sequence_config, "head": "auction"},
    )
    return config


class OutcomeDQNConfig(DQNConfig):
    """Settings of DQN for auctions; `use_outcome_q_learning` completes them.

    Examples:
        >>> from rllib_seq.lift.dqn import OutcomeDQNConfig, use_outcome_q_learning
        >>> config = OutcomeDQNConfig().environment("multi_user_ad_auction")
        >>> config = use_outcome_q_learning(config, window_length=8, d_model=32)
    """

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or DQN)
        self.multi_agent(
            policies={"bidder"},
            policy_mapping_fn=lambda agent_id, *args, **kwargs: "bidder",
            count_steps_by="agent_steps",
        )
        self.gamma = 1.0
        self.dueling = False
        self.replay_buffer_config = {"type": "EpisodeReplayBuffer", "capacity": 200_000}

    def validate(self) -> None:
        """Check the settings, and take from the world what the network needs to know of it.

        Raises:
            UserError: one line that names the setting and how to fix it.
        """
        super().validate()
        world = check_world(self, "OutcomeDQN")
        audience = world.build_preset().users.audience
        if len(set(audience.value_factor.tolist())) > 1:
            raise UserError(
                f"conversions of {world.world!r} are worth more for some users than for others, "
                "and OutcomeDQN takes from their value what the last bid of a journey has paid; "
                "use Lift (rllib-seq train lift_display)"
            )
        if sequence_settings(self) is None:
            raise UserError("OutcomeDQN learns sequences; call use_outcome_q_learning(config)")
        for name, needed in (("dueling", False), ("num_atoms", 1), ("noisy", False)):
            if getattr(self, name) != needed:
                raise UserError(
                    f"{name} is {getattr(self, name)}, and OutcomeDQN needs {needed}: its values "
                    f"have the structure of an auction; set {name}={needed}"
                )
        replay: dict[str, Any] = self.replay_buffer_config
        if replay.get("alpha", 0.6) > 0:
            raise UserError(
                "prioritized replay would count some prices more often than others; set "
                "replay_buffer_config={'type': 'EpisodeReplayBuffer'} before "
                "use_outcome_q_learning"
            )
        change_sequence_settings(self, **outcome_settings(world))

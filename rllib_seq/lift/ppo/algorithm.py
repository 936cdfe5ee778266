"""PPO from outcomes alone, with a critic that knows what every bid of an auction is worth.

- `OutcomePPOConfig`, `OutcomePPO`

RLlib's PPO on the old API stack, with the registered TorchModelV2, its recurrent state and remote
rollout workers. `rllib_seq.lift.ppo.policy` has the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.algorithms.ppo import PPO, PPOConfig

from rllib_seq.errors import UserError
from rllib_seq.lift.ppo.policy import OutcomePPOPolicy
from rllib_seq.lift.ppo.worker import OutcomePPOWorker
from rllib_seq.lift.world import check_world, outcome_model, set_up_bidder

__all__ = ["OutcomePPO", "OutcomePPOConfig"]

Schedule = Sequence[Sequence[float]]


class OutcomePPOConfig(PPOConfig):
    """Settings of `OutcomePPO`: those of PPO, with defaults for auctions.

    `lambda_` weighs later outcomes in the critic's targets. Advantages, and with them the entropy
    bonus, and the critic's error are in units of the highest bid. A batch is whole campaigns of
    every worker, at least `train_batch_size` requests.

    Examples:
        >>> from rllib_seq.lift import OutcomePPOConfig
        >>> config = OutcomePPOConfig().environment("multi_user_ad_auction")
    """

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or OutcomePPO)
        set_up_bidder(self, OutcomePPOWorker)
        # Each batch is loaded as a whole before it is learned from: there the policy counts prices.
        self.simple_optimizer = False
        self.batch_mode = "truncate_episodes"
        self.lambda_ = 0.9
        self.vf_loss_coeff = 9.0
        self.use_kl_loss = False
        self.clip_param = 0.2
        self.exploring_share: Schedule = [[0, 0.5], [60_000, 0.25]]

    def training(
        self, *, exploring_share: Schedule | Any = NotProvided, **kwargs: Any
    ) -> OutcomePPOConfig:
        """Set what `OutcomePPO` reads, beside PPO's own settings.

        Args:
            exploring_share: pairs of requests seen and the share of the journeys that are bid for
                at random, linear between.
            **kwargs: see RLlib.
        """
        super().training(**kwargs)
        if exploring_share is not NotProvided:
            self.exploring_share = exploring_share
        return self

    def validate(self) -> None:
        """Check the settings, and take from the world what the critic needs to know of it.

        Raises:
            UserError: one line that names the setting and how to fix it.
        """
        super().validate()
        if self.enable_rl_module_and_learner or self.enable_env_runner_and_connector_v2:
            raise UserError(
                "OutcomePPO is for the old API stack; remove api_stack(...) from the config"
            )
        world = check_world(self, "OutcomePPO")
        self.model: dict[str, Any] = outcome_model(self.model, world, critic="bids")


class OutcomePPO(PPO):
    """Learns to bid from what a bidder receives; see docs/algorithms/ppo-outcomes.md."""

    @classmethod
    def get_default_config(cls) -> OutcomePPOConfig:
        """See RLlib."""
        return OutcomePPOConfig()

    @classmethod
    def get_default_policy_class(cls, config: AlgorithmConfig) -> type:
        """See RLlib."""
        return OutcomePPOPolicy

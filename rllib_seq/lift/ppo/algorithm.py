"""PPO, APPO and IMPALA from outcomes alone: the critic knows what every bid is worth.

- `OutcomePPOConfig`, `OutcomePPO`
- `OutcomeAPPOConfig`, `OutcomeAPPO`
- `OutcomeIMPALAConfig`, `OutcomeIMPALA`

RLlib's algorithms on the old API stack, with the registered TorchModelV2, its recurrent state and
remote rollout workers. `rllib_seq.lift.ppo.policy` has the losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.algorithms.appo import APPO, APPOConfig
from ray.rllib.algorithms.impala import IMPALA, IMPALAConfig
from ray.rllib.algorithms.ppo import PPO, PPOConfig

from rllib_seq.errors import UserError
from rllib_seq.lift.ppo.policy import OutcomeAPPOPolicy, OutcomeIMPALAPolicy, OutcomePPOPolicy
from rllib_seq.lift.ppo.worker import OutcomePPOWorker
from rllib_seq.lift.world import check_world, outcome_model, set_up_bidder

__all__ = [
    "OutcomeAPPO",
    "OutcomeAPPOConfig",
    "OutcomeIMPALA",
    "OutcomeIMPALAConfig",
    "OutcomePPO",
    "OutcomePPOConfig",
]

Schedule = Sequence[Sequence[float]]


class _OutcomeConfig(AlgorithmConfig):
    """What the settings of the three have in common; it stands before RLlib's own."""

    def _learn_from_outcomes(self) -> None:
        """Set what they begin with."""
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
    ) -> _OutcomeConfig:
        """Set what is read beside RLlib's own settings.

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
        assert self.algo_class is not None
        name = self.algo_class.__name__
        if self.enable_rl_module_and_learner or self.enable_env_runner_and_connector_v2:
            raise UserError(
                f"{name} is for the old API stack; remove api_stack(...) from the config"
            )
        world = check_world(self, name)
        self.model: dict[str, Any] = outcome_model(self.model, world, critic="bids")


class OutcomePPOConfig(_OutcomeConfig, PPOConfig):
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
        self._learn_from_outcomes()


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


class _AsynchronousConfig(_OutcomeConfig):
    """What APPO and IMPALA have in common."""

    def _learn_from_outcomes(self) -> None:
        """Set what they begin with."""
        super()._learn_from_outcomes()
        self.num_gpus = 0
        # RLlib counts the ticks of a batch here: what a worker plays in one go is a batch. (With
        # less, the batch that it tries losses out on would be too small for sequences.)
        self.train_batch_size = 16
        # What waits to be learned from grows old.
        self.learner_queue_size = 2


class OutcomeAPPOConfig(_AsynchronousConfig, APPOConfig):
    """Settings of `OutcomeAPPO`; see `OutcomePPOConfig`.

    Each batch is the campaigns that a worker plays in one go, and is learned from `num_epochs`
    times, whole.

    Examples:
        >>> from rllib_seq.lift import OutcomeAPPOConfig
        >>> config = OutcomeAPPOConfig().environment("multi_user_ad_auction")
    """

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or OutcomeAPPO)
        self._learn_from_outcomes()


class OutcomeAPPO(APPO):
    """`OutcomePPO` whose workers do not wait for the learner, nor the learner for them."""

    @classmethod
    def get_default_config(cls) -> OutcomeAPPOConfig:
        """See RLlib."""
        return OutcomeAPPOConfig()

    @classmethod
    def get_default_policy_class(cls, config: AlgorithmConfig) -> type:
        """See RLlib."""
        return OutcomeAPPOPolicy


class OutcomeIMPALAConfig(_AsynchronousConfig, IMPALAConfig):
    """Settings of `OutcomeIMPALA`; see `OutcomeAPPOConfig`.

    Examples:
        >>> from rllib_seq.lift import OutcomeIMPALAConfig
        >>> config = OutcomeIMPALAConfig().environment("multi_user_ad_auction")
    """

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or OutcomeIMPALA)
        self._learn_from_outcomes()
        self.kl_coeff, self.kl_target = 0.0, 0.01  # PPO's policy asks for them


class OutcomeIMPALA(IMPALA):
    """`OutcomeAPPO` that follows the expected advantage itself, without PPO's clipping."""

    @classmethod
    def get_default_config(cls) -> OutcomeIMPALAConfig:
        """See RLlib."""
        return OutcomeIMPALAConfig()

    @classmethod
    def get_default_policy_class(cls, config: AlgorithmConfig) -> type:
        """See RLlib."""
        return OutcomeIMPALAPolicy

"""The policy of the old API stack that bids by the critic.

- `LiftPolicy`: its model acts; a copy of it learns
"""

from __future__ import annotations

import logging
from typing import Any

import gymnasium as gym
from gymnasium.spaces import Discrete
from ray.rllib.policy.torch_policy_v2 import TorchPolicyV2
from torch import Tensor

from rllib_seq.errors import UserError
from rllib_seq.lift.learner import CriticLearner
from rllib_seq.models import LSTMTransformerModel
from rllib_seq.nn.heads.auction import AuctionHead

__all__ = ["LiftPolicy"]

# RLlib has names for its own policies alone, and says so with every checkpoint; this one is found
# by its module.
logging.getLogger("ray.rllib.policy.policy").addFilter(
    lambda record: "LiftPolicy" not in record.getMessage()
)


class LiftPolicy(TorchPolicyV2):
    """Bids the level with the highest Q.

    The weights of its model are the average of the learned ones: they are what acts, what workers
    get and what is exported. `critic` learns, in the policy of the driver alone.

    Raises:
        UserError: the model is another, or has another head.
    """

    def __init__(
        self, observation_space: gym.Space, action_space: gym.Space, config: dict[str, Any]
    ) -> None:
        super().__init__(
            observation_space, action_space, config, max_seq_len=config["model"]["max_seq_len"]
        )
        model = self.model
        if not (
            isinstance(model, LSTMTransformerModel)
            and isinstance(model.policy.head, AuctionHead)
            and isinstance(action_space, Discrete)
        ):
            raise UserError(
                "Lift learns 'lstm_transformer' with custom_model_config={'head': 'auction'} and "
                "bid levels as actions; set the three"
            )
        self.critic = CriticLearner(
            model.policy,
            model.step_inputs,
            unit=config["highest_bid"],
            lambda_=config["lambda"],
            grad_clip=config["grad_clip"],
            hidden_stages=config["hidden_stages"],
            signals=config["signals"],
            forecast_weight=config["forecast_weight"],
        )
        self._initialize_loss_from_dummy_batch()

    def loss(self, model: Any, dist_class: Any, train_batch: Any) -> Tensor:
        """Nothing: RLlib asks for one when the policy is built, and `critic` learns."""
        logits, _ = model(train_batch)
        return 0.0 * logits.sum()

    def get_state(self) -> dict[str, Any]:
        """See RLlib's Policy."""
        return {**super().get_state(), "critic": self.critic.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """See RLlib's Policy."""
        self.critic.set_state(state["critic"])
        super().set_state(state)

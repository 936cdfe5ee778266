"""What learners from outcomes need to know of the world, and in which worlds they learn.

- `check_world`: refuses the others
- `set_up_bidder`: what their settings begin with
- `outcome_settings`, `outcome_model`: the model's settings in it
"""

from __future__ import annotations

import math
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_seq.envs.ad_auction.journey.features import fields
from rllib_seq.envs.ad_auction.multi_agent_env import MultiUserAdAuctionEnv
from rllib_seq.envs.ad_auction.worlds.presets import EVENT_REWARDS, AuctionConfig
from rllib_seq.errors import UserError
from rllib_seq.registration import MODEL

__all__ = ["check_world", "outcome_model", "outcome_settings", "set_up_bidder"]

_ENVS = ("multi_user_ad_auction", MultiUserAdAuctionEnv)


def set_up_bidder(config: AlgorithmConfig, worker: type) -> None:
    """Set what algorithms of the old API stack that learn from outcomes begin with.

    Args:
        config: of such an algorithm.
        worker: that plays campaigns.
    """
    config.enable_rl_module_and_learner = False
    config.enable_env_runner_and_connector_v2 = False
    config.framework("torch")
    config.multi_agent(
        policies={"bidder"},
        policy_mapping_fn=lambda agent_id, *args, **kwargs: "bidder",
        count_steps_by="agent_steps",
    )
    config.env_runner_cls = worker
    config.exploration_config = {"type": "StochasticSampling"}
    config.num_envs_per_env_runner = 4
    config.model["custom_model"] = MODEL
    config.gamma = 1.0
    config.grad_clip = 1.0


def check_world(config: AlgorithmConfig, learner: str) -> AuctionConfig:
    """Return the world of a config.

    Args:
        config: of a learner from outcomes.
        learner: its name.

    Raises:
        UserError: one line that names the setting and how to fix it.
    """
    if config.env not in _ENVS:
        raise UserError(
            f"{learner} learns from the auctions of multi_user_ad_auction, not {config.env!r}; use "
            "another algorithm there"
        )
    try:
        world = AuctionConfig.from_dict(config.env_config)
    except ValueError as error:
        raise UserError(str(error)) from error
    plain: dict[str, tuple[Any, Any]] = {
        "actions": (world.actions, "levels"),
        "bid_unit": (world.bid_unit, "campaign"),
        "reward_scale": (world.reward_scale, 1.0),
    }
    for name, (value, needed) in plain.items():
        if value != needed:
            raise UserError(f"{name} is {value!r}, and {learner} needs {needed!r}; remove it")
    if world.reward not in EVENT_REWARDS:
        raise UserError(
            f"reward {world.reward!r} knows the hidden stage, and {learner} learns from outcomes; "
            "leave reward out, or give reward='sampled'"
        )
    if config.gamma != 1.0:
        raise UserError(f"gamma is {config.gamma}, and {learner} does not discount; leave it out")
    if math.isfinite(world.build_preset().budget_per_user) and world.enforce_budget:
        raise UserError(
            "enforce_budget is True, and a spent budget would pass for lost auctions; set it "
            "to False: the shadow price stands for the budget, and evaluation keeps it"
        )
    return world


def outcome_settings(world: AuctionConfig) -> dict[str, list[int]]:
    """Return fields of `SequenceConfig`: prices are by channel, and a profit says who won."""
    preset = world.build_preset()
    seen = [field.name for field in fields(world.build_layout(preset))]
    channels = [seen.index(f"channel_{channel}") for channel in preset.users.channels]
    return {
        "price_context": channels if len(channels) > 1 else [],
        "flagged_inputs": [seen.index("last_profit")],
    }


def outcome_model(model: dict[str, Any], world: AuctionConfig, **settings: Any) -> dict[str, Any]:
    """Return a model config of the old API stack with what the world decides.

    Args:
        model: as the user wrote it.
        world: see `check_world`.
        **settings: of the sequence model, which the learner needs.
    """
    return {
        **model,
        "custom_model": MODEL,
        "custom_model_config": {
            **model.get("custom_model_config", {}),
            **outcome_settings(world),
            **settings,
        },
        "max_seq_len": world.build_preset().users.requests_per_user,
    }

"""The names under which RLlib finds our model, action distribution and environments.

RLlib's registry keeps pickles. What we put into it names a module and an attribute, and is imported
where it is looked up, in the driver or in a worker: registering imports neither torch nor RLlib.
"""

from __future__ import annotations

import importlib
from typing import Any

ACTION_DISTRIBUTIONS = {"narrow_gaussian": "rllib_seq.models.action_distributions:NarrowGaussian"}
MODEL = "lstm_transformer"
MODELS = {MODEL: "rllib_seq.models.torch_model:LSTMTransformerModel"}
ENVIRONMENTS = {
    "campaign_flights": "rllib_seq.rollouts.flights:FlightsEnv",
    "auction_log": "rllib_seq.training.config.auction_logs:replay_env",
    "multi_user_ad_auction": "rllib_seq.envs.ad_auction.multi_agent_env:MultiUserAdAuctionEnv",
    "shared_market_auction": "rllib_seq.envs.ad_auction.self_play_env:SharedMarketEnv",
}


class _Lazy:
    """Unpickles as the attribute that it names, `"module:attribute"`."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return _load, (self.place,)


def _load(place: str) -> Any:
    module, attribute = place.split(":")
    return getattr(importlib.import_module(module), attribute)


def register() -> None:
    """Registers all of them with RLlib; a second call changes nothing.

    `import rllib_seq` does this as soon as Ray's registry is imported. Call it after
    `ray.shutdown()`, which forgets all names.
    """
    from ray.tune.registry import (
        ENV_CREATOR,
        RLLIB_ACTION_DIST,
        RLLIB_MODEL,
        _global_registry,
    )

    for category, names in (
        (RLLIB_MODEL, MODELS),
        (RLLIB_ACTION_DIST, ACTION_DISTRIBUTIONS),
        (ENV_CREATOR, ENVIRONMENTS),
    ):
        for name, place in names.items():
            _global_registry.register(category, name, _Lazy(place))

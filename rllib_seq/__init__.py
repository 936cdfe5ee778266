"""Sequence models for RLlib, and the multi-user ad auction that proves them.

Importing this package names to RLlib, if it is installed:

- the custom model `"lstm_transformer"`
- the environments `"multi_user_ad_auction"` (agents are users), `"shared_market_auction"` (agents
  are advertisers) and `"auction_log"` (replay of a real log)

`rllib_seq.nn` works without Ray.
"""

import os
from importlib.util import find_spec
from typing import Any

# Torch's threads spin while they wait for each other, which costs most of the speed as soon as
# anything else (a rollout worker, say) wants a core. It is read once, when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__all__ = ["register"]
__version__ = "0.1.0"


def register() -> None:
    """Names the models and environments to RLlib; calling it again changes nothing."""
    from ray.rllib.models import ModelCatalog
    from ray.tune.registry import register_env

    import rllib_seq.envs.ad_auction  # noqa: F401, names its environments to Gymnasium
    from rllib_seq.envs.ad_auction.multi_agent_env import MultiUserAdAuctionEnv
    from rllib_seq.envs.ad_auction.self_play_env import SharedMarketEnv
    from rllib_seq.models import LSTMTransformerModel

    ModelCatalog.register_custom_model("lstm_transformer", LSTMTransformerModel)
    register_env("multi_user_ad_auction", MultiUserAdAuctionEnv)
    register_env("shared_market_auction", SharedMarketEnv)
    register_env("auction_log", _auction_log)


def _auction_log(config: Any) -> Any:
    """Loads what reads logs only where a log is replayed."""
    from rllib_seq.training.config.auction_logs import replay_env

    return replay_env(config)


if find_spec("ray") is not None:
    register()

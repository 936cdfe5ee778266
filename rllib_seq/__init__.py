"""Sequence models for RLlib, and the multi-user ad auction that proves them.

Importing this package names to RLlib, if it is installed:

- the custom model `"lstm_transformer"`
- the environment `"multi_user_ad_auction"`

`rllib_seq.nn` works without Ray.
"""

import os
from importlib.util import find_spec

# Torch's threads spin while they wait for each other, which costs most of the speed as soon as
# anything else (a rollout worker, say) wants a core. It is read once, when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__all__ = ["register"]
__version__ = "0.1.0"


def register() -> None:
    """Names the models and environments to RLlib; calling it again changes nothing."""
    from ray.rllib.models import ModelCatalog
    from ray.tune.registry import register_env

    import envs.ad_auction  # noqa: F401, names "AdAuction-v0" to Gymnasium
    from envs.ad_auction.multi_agent_env import MultiUserAdAuctionEnv
    from rllib_seq.models import LSTMTransformerModel

    ModelCatalog.register_custom_model("lstm_transformer", LSTMTransformerModel)
    register_env("multi_user_ad_auction", MultiUserAdAuctionEnv)


if find_spec("ray") is not None:
    register()

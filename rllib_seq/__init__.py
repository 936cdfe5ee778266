"""Sequence models for RLlib, and the multi-user ad auction that proves them.

Importing this package registers

- with Gymnasium: `"AdAuction-v0"`, `"AdCampaign-v0"`, `"AuctionLog-v0"`
- with RLlib, as soon as it is imported: the custom model `"lstm_transformer"`, and the environments
  `"multi_user_ad_auction"` (agents are users), `"shared_market_auction"` (agents are advertisers)
  and `"auction_log"` (replay of a real log)

It imports neither Ray nor torch. `rllib_seq.nn` works without Ray.

- `load_policy`: a `TrainedPolicy` from a checkpoint
- `evaluate_policy`: its mean return in any environment, a `PolicyEvaluation`
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

import wrapt

from rllib_seq import envs  # noqa: F401, registers with Gymnasium
from rllib_seq.registration import register

if TYPE_CHECKING:
    from rllib_seq.training.acting.evaluation import PolicyEvaluation, evaluate_policy
    from rllib_seq.training.acting.loading import load_policy
    from rllib_seq.training.acting.policy import TrainedPolicy

# Torch's threads spin while they wait for each other, which costs most of the speed as soon as
# anything else (a rollout worker, say) wants a core. It is read once, when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__all__ = ["PolicyEvaluation", "TrainedPolicy", "evaluate_policy", "load_policy", "register"]
__version__ = "0.1.0"

_LAZY = {
    "PolicyEvaluation": "rllib_seq.training.acting.evaluation",
    "TrainedPolicy": "rllib_seq.training.acting.policy",
    "evaluate_policy": "rllib_seq.training.acting.evaluation",
    "load_policy": "rllib_seq.training.acting.loading",
}


def __getattr__(name: str) -> Any:
    """Import what needs Ray and torch when it is asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


wrapt.register_post_import_hook(lambda _: register(), "ray.tune.registry")

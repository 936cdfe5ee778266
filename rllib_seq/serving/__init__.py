"""A server that remembers: of bids, and of steps in any environment.

- `exported`: bidders that `rllib-seq export` wrote, and what runs them.
- `streams`: exports of any other policy: their sessions and steps.
- `openrtb`: what OpenRTB 2.6 says: requests, what may be shown, who the user is, prices.
- `sessions`, `state`: what is remembered, in memory and in a file or in Redis.
- `service`, `notices`: from bid requests to bids and from notices to books, no HTTP.
- `http`: the application and `engine_local`, one process; `engine_ray` is a Ray Serve fleet.

`engine_ray` and `exported.scoring` alone import Ray. Names are loaded when they are asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rllib_seq.serving.engine_ray import PolicyDeployment, bid_deployment
    from rllib_seq.serving.exported.policy import load_policy
    from rllib_seq.serving.exported.response import ResponseScorer
    from rllib_seq.serving.http.app import create_app, open_service
    from rllib_seq.serving.service import BidService
    from rllib_seq.serving.settings import Settings

__all__ = [
    "BidService",
    "PolicyDeployment",
    "ResponseScorer",
    "Settings",
    "bid_deployment",
    "create_app",
    "load_policy",
    "open_service",
]

_MODULES = {
    "BidService": "service",
    "PolicyDeployment": "engine_ray",
    "ResponseScorer": "exported.response",
    "Settings": "settings",
    "bid_deployment": "engine_ray",
    "create_app": "http.app",
    "load_policy": "exported.policy",
    "open_service": "http.app",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)

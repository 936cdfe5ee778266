"""The multi-user ad auction.

- `AdAuctionEnv`: Gymnasium, `gym.make("AdAuction-v0")`, one request per step.
- `envs.ad_auction.multi_agent_env.MultiUserAdAuctionEnv`: RLlib, agents are users. Not imported
  here: everything else in this package works without Ray.
- `AuctionSimulator`, `AuctionConfig`, `PRESETS`: the world under both.
- `baselines`, `oracles`: whom to compare with.
"""

import gymnasium as gym

from envs.ad_auction.gym_env import AdAuctionEnv
from envs.ad_auction.presets import PRESETS, AuctionConfig, Preset
from envs.ad_auction.simulator import AuctionSimulator, BidPolicy, Outcome, play

__all__ = [
    "PRESETS",
    "AdAuctionEnv",
    "AuctionConfig",
    "AuctionSimulator",
    "BidPolicy",
    "Outcome",
    "Preset",
    "play",
]

if "AdAuction-v0" not in gym.registry:
    gym.register(
        "AdAuction-v0",
        entry_point="envs.ad_auction.gym_env:AdAuctionEnv",
        vector_entry_point="envs.ad_auction.vector_env:AdAuctionVectorEnv",
    )

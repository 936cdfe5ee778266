"""The multi-user ad auction.

- `AdAuctionEnv`: Gymnasium, `gym.make("AdAuction-v0")`, one request per step.
- `AdCampaignEnv`: Gymnasium, `gym.make("AdCampaign-v0")`, thousands of requests per step.
- `envs.ad_auction.multi_agent_env.MultiUserAdAuctionEnv`: RLlib, agents are users; and
  `envs.ad_auction.self_play_env.SharedMarketEnv`: agents are advertisers. Not imported here:
  everything else in this package works without Ray.
- `AuctionLogEnv`: Gymnasium, `gym.make("AuctionLog-v0")`, replay of a real log; for RLlib, with
  users as agents, `envs.ad_auction.replay_users_env.AuctionLogUsersEnv`.
- `AuctionSimulator`, `AuctionConfig`, `PRESETS`: the world under both.
- `baselines`, `oracles`: whom to compare with.
"""

import gymnasium as gym

from envs.ad_auction.campaign_env import AdCampaignEnv
from envs.ad_auction.gym_env import AdAuctionEnv
from envs.ad_auction.presets import PRESETS, AuctionConfig, Preset
from envs.ad_auction.replay_env import AuctionLogEnv
from envs.ad_auction.simulator import AuctionSimulator, BidPolicy, Outcome, play

__all__ = [
    "PRESETS",
    "AdAuctionEnv",
    "AdCampaignEnv",
    "AuctionConfig",
    "AuctionLogEnv",
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
if "AdCampaign-v0" not in gym.registry:
    gym.register("AdCampaign-v0", entry_point="envs.ad_auction.campaign_env:AdCampaignEnv")
if "AuctionLog-v0" not in gym.registry:
    gym.register("AuctionLog-v0", entry_point="envs.ad_auction.replay_env:AuctionLogEnv")

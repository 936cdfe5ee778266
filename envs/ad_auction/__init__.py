"""The multi-user ad auction.

- `AdAuctionEnv`: Gymnasium, `gym.make("AdAuction-v0")`, one request per step.
- `AdCampaignEnv`: Gymnasium, `gym.make("AdCampaign-v0")`, thousands of requests per step.
- `multi_agent_env.MultiUserAdAuctionEnv`: RLlib, agents are users; and
  `self_play_env.SharedMarketEnv`: agents are advertisers. Not imported here: everything else in
  this package works without Ray.
- `AuctionLogEnv`: Gymnasium, `gym.make("AuctionLog-v0")`, replay of a real log; for RLlib, with
  users as agents, `log_replay.multi_agent_env.AuctionLogUsersEnv`.
- `AuctionSimulator`, `AuctionConfig`, `PRESETS`: the world under both.
- `baselines`, `oracles`: whom to compare with.
"""

from rllib_seq.envs.ad_auction.gym_env import AdAuctionEnv
from rllib_seq.envs.ad_auction.log_replay.gym_env import AuctionLogEnv
from rllib_seq.envs.ad_auction.simulator.play import BidPolicy, play
from rllib_seq.envs.ad_auction.simulator.state import Outcome
from rllib_seq.envs.ad_auction.simulator.step import AuctionSimulator
from rllib_seq.envs.ad_auction.tick.campaign_env import AdCampaignEnv
from rllib_seq.envs.ad_auction.worlds.presets import PRESETS, AuctionConfig, Preset

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

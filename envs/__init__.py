"""Environments of rllib-seq; importing this package registers their Gymnasium ids."""

import gymnasium as gym

_AD_AUCTION = f"{__name__}.ad_auction"
_IDS = {
    "AdAuction-v0": {
        "entry_point": f"{_AD_AUCTION}.gym_env:AdAuctionEnv",
        "vector_entry_point": f"{_AD_AUCTION}.vector_env:AdAuctionVectorEnv",
    },
    "AdCampaign-v0": {"entry_point": f"{_AD_AUCTION}.tick.campaign_env:AdCampaignEnv"},
    "AuctionLog-v0": {"entry_point": f"{_AD_AUCTION}.log_replay.gym_env:AuctionLogEnv"},
}

for _id, _entry_points in _IDS.items():
    for _name in (_id, f"rllib_seq/{_id}"):
        if _name not in gym.registry:
            gym.register(_name, **_entry_points)  # type: ignore[arg-type]

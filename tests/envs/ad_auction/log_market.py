"""A made-up log: prices with days, a feature that clicks, users who come back."""

import numpy as np

from rllib_seq.envs.ad_auction.log_replay.auction_log import AuctionLog
from rllib_seq.envs.ad_auction.log_replay.world import ReplayConfig, ReplayWorld

HOUR = 3_600_000_000


def make_log(n=2400, days=6, seed=0, users=40):
    rng = np.random.default_rng(seed)
    time = np.sort(rng.integers(days * 24 * HOUR, size=n))
    channel = rng.integers(3, size=n)
    clicked = rng.random(n) < np.array([0.01, 0.03, 0.09])[channel]
    return AuctionLog(
        time=time,
        user=rng.integers(users, size=n),
        price=np.round(rng.gamma(1.4, 50.0, n)),
        clicked=clicked,
        codes={"channel": channel},
        words={"channel": ("web", "app", "tv")},
    )


def make_world(log=None, **config):
    config = {"budget_ratio": 1 / 8, "episode_requests": 150, **config}
    return ReplayWorld(make_log() if log is None else log, ReplayConfig(**config))

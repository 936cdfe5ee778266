"""The worth of a logged request, given its user's past."""

import dataclasses

import numpy as np
import pytest

from rllib_seq.envs.ad_auction.log_replay.auction_log import AuctionLog
from rllib_seq.envs.ad_auction.log_replay.baselines import PacedBids, play_replay
from rllib_seq.envs.ad_auction.log_replay.world import ReplayConfig, ReplayWorld
from rllib_seq.training.config.log_worth import with_worth

DAY = 86_400 * 10**6


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "rllib_seq"


def make(chance, users=500, steps=5, days=8, seed=0):
    """Users with a few requests each; `chance(place)` of a click."""
    rng = np.random.default_rng(seed)
    begin = rng.random(users) * (days - 1) * DAY
    pause = rng.exponential(0.1 * DAY, (users, steps))
    time = (begin[:, None] + np.cumsum(pause, axis=1)).ravel()
    place = np.tile(np.arange(steps), users)
    order = np.argsort(time)
    price = rng.lognormal(0, 0.5, len(time))
    return AuctionLog(
        time=20_000 * DAY + time[order].astype(np.int64),
        user=np.repeat(np.arange(users), steps)[order],
        price=price[order],
        clicked=(rng.random(len(time)) < np.vectorize(chance)(place))[order],
        codes={"channel": rng.integers(0, 2, len(time))},
        words={"channel": ("x", "y")},
    )


@pytest.mark.slow
def test_memory_wins_more_real_clicks_at_the_same_budget(cache):
    # The third request of a user is clicked with .6, others with .02.
    log = make(lambda place: 0.6 if place == 2 else 0.02, users=1500)
    config = ReplayConfig(budget_ratio=1 / 6, episode_requests=300)
    world = ReplayWorld(with_worth(log, config), config)
    fields = world.of_fields()
    assert fields.train.worth is None and fields.market is not world.market
    episodes = world.held_out_episodes()
    memory = play_replay(world, world.held_out, episodes, PacedBids(), world)
    plain = play_replay(fields, fields.held_out, episodes, PacedBids(), world)
    assert (memory.spend <= memory.budget).all()
    assert memory.clicks.sum() > 1.8 * plain.clicks.sum()
    assert memory.expected_clicks.sum() == pytest.approx(memory.clicks.sum(), rel=0.35)
    # Another process finds the same figures in the cache.
    assert len(list(cache.glob("worth-*.npy"))) == 1
    again = with_worth(log, config)
    np.testing.assert_array_equal(again.worth, with_worth(log, config).worth)
    # Held-out clicks do not reach the model: what users did before the held-out days is the same.
    train, _ = log.split()
    late = np.arange(len(log)) >= len(train)
    other = dataclasses.replace(log, clicked=np.where(late, ~log.clicked, log.clicked))
    changed = with_worth(other, config).worth
    np.testing.assert_allclose(changed[~late], again.worth[~late])


def test_a_log_that_cannot_tell_keeps_its_fields():
    log = make(lambda place: 0.3)
    config = ReplayConfig()
    assert with_worth(log, dataclasses.replace(config, worth="fields")) is log
    few = dataclasses.replace(log, clicked=np.arange(len(log)) % 100 == 0)
    assert with_worth(few, config) is few  # 25 clicks
    once = dataclasses.replace(log, user=np.arange(len(log)))
    assert with_worth(once, config) is once


def test_unknown_choices_are_named():
    with pytest.raises(ValueError, match="unknown worth 'past'"):
        ReplayConfig(worth="past")
    with pytest.raises(ValueError, match="unknown gain 'profit'"):
        ReplayConfig(gain="profit")

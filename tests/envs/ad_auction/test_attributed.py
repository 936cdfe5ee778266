"""The attributed reward moves rewards along a journey and changes no total."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_seq.envs.ad_auction.simulator.step import AuctionSimulator
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig


def totals(config, seed, campaigns, bid):
    """Rewards by user and by campaign, and all rewards of the first user's steps."""
    simulator = AuctionSimulator(config, campaigns)
    simulator.reset([seed + i for i in range(campaigns)])
    users = np.zeros(campaigns * simulator.slots)
    per_campaign, first = np.zeros(campaigns), []
    everyone = np.arange(len(users))
    rng = np.random.default_rng(seed)
    while not simulator.done:
        rows = simulator.pending
        simulator.step(rng.uniform(0.0, bid, len(rows)))
        brought = simulator.take_rewards(everyone)
        users += brought
        per_campaign += simulator.take_campaign_rewards()
        first.append(brought[0])
    return users, per_campaign, np.array(first)


@settings(max_examples=10, deadline=None)
@given(
    preset=st.sampled_from(["journey", "display"]),
    seed=st.integers(0, 50),
    campaigns=st.sampled_from([1, 3]),
    credits=st.lists(st.floats(0.0, 2.0), min_size=3, max_size=3).map(tuple),
)
def test_every_total_is_conserved(preset, seed, campaigns, credits):
    world = {"preset": preset, "num_users": 20}
    plain = totals(AuctionConfig(**world), seed, campaigns, 0.5)
    moved = totals(
        AuctionConfig(**world, reward="attributed", credits=credits), seed, campaigns, 0.5
    )
    assert moved[0] == pytest.approx(plain[0], abs=1e-9)
    assert moved[1] == pytest.approx(plain[1], abs=1e-9)


def test_users_who_take_the_rows_of_others_owe_them_nothing():
    world = {"preset": "display", "num_users": 120, "slots": 90}
    moved = AuctionConfig(**world, reward="attributed", credits=(1.0, 0.5, 0.2))
    assert totals(moved, 3, 2, 0.5)[1] == pytest.approx(
        totals(AuctionConfig(**world), 3, 2, 0.5)[1], abs=1e-9
    )


def test_an_impression_is_paid_at_once_and_the_end_settles():
    world = {"preset": "journey", "num_users": 1}
    credits = (0.1, 0.2, 0.3)
    for seed in range(20):
        plain = totals(AuctionConfig(**world), seed, 1, 0.5)[2]
        moved = totals(AuctionConfig(**world, reward="attributed", credits=credits), seed, 1, 0.5)[
            2
        ]
        change = (moved - plain).round(9)
        advances = change[:-1]
        assert set(advances.tolist()) <= {0.0, *credits}
        assert change.sum() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"reward": "attributed"}, "needs credits"),
        ({"reward": "attributed", "credits": (1.0,)}, "display, video, search"),
        ({"reward": "attributed", "credits": (1.0, -1.0, 1.0)}, "at least 0 for each"),
    ],
)
def test_errors_name_the_value(config, words):
    with pytest.raises(ValueError, match=words):
        AuctionConfig(**config)

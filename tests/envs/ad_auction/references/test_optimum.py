"""The optimum under partial information: bound and policy meet, and it is unknown elsewhere."""

import numpy as np
import pytest

from rllib_seq.envs.ad_auction import PRESETS, AuctionConfig, AuctionSimulator, play
from rllib_seq.envs.ad_auction.references.optimum import OptimalBids, optimum
from rllib_seq.envs.ad_auction.references.oracles import BayesBids
from rllib_seq.envs.ad_auction.worlds.values import full_information

JOURNEY = PRESETS["journey"]


@pytest.mark.slow
def test_bound_and_policy_meet():
    """Regrets have little luck in them: on the same users the two differ by .7 % of Bayes."""
    users = 20_000
    simulator = AuctionSimulator(AuctionConfig(num_users=users, reward="regret"))
    best, full = optimum(JOURNEY), full_information(JOURNEY).value
    earned = {}
    for policy in (BayesBids(), OptimalBids(best)):
        play(simulator, policy, seed=21)
        earned[policy.name] = full + simulator.take_rewards(np.arange(users))
    gain = earned["optimal"] - earned["bayes"]
    assert gain.mean() > 2 * gain.std() / np.sqrt(users) > 0
    error = earned["optimal"].std() / np.sqrt(users)
    assert earned["optimal"].mean() <= best.upper_bound + 3 * error
    assert earned["optimal"].mean() >= 0.98 * best.upper_bound
    assert best.upper_bound < full


@pytest.mark.parametrize(
    "changes",
    [
        {"preset": "display"},
        {"budget": 1.0},
        {"competitors": "truthful"},
    ],
)
def test_with_budgets_rivals_or_what_wears_out_it_is_unknown(changes):
    assert optimum(AuctionConfig(**changes).build_preset()) is None


def test_it_follows_the_auction_and_the_shadow_price():
    bounds = [
        optimum(AuctionConfig(auction=auction, shadow_price=price).build_preset()).upper_bound
        for auction in ("second_price", "first_price")
        for price in (0.0, 1.0)
    ]
    assert bounds[0] > max(bounds[1:])
    assert bounds[2] > bounds[3]

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from envs.ad_auction import PRESETS, AuctionConfig, AuctionSimulator, play
from envs.ad_auction.baselines import RandomBids, SignalBids
from envs.ad_auction.competitors import QuantilePrices
from envs.ad_auction.oracles import BayesBids, FullInformationBids, best_memoryless
from envs.ad_auction.values import (
    Regret,
    best_response,
    expected_auction,
    full_information,
)

JOURNEY = PRESETS["journey"]
USERS = 40_000


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("auction", ["first_price", "second_price"])
def test_expected_auction_is_the_mean_over_market_prices(preset, auction):
    world = dataclasses.replace(PRESETS[preset], auction=auction, floor=0.02)
    market = world.prices.ppf((np.arange(200_000) + 0.5) / 200_000)
    to_beat = np.maximum(market, 0.02)
    for bid in (0.01, 0.05, 0.2):
        won = bid >= to_beat
        paid = np.where(won, bid if auction == "first_price" else to_beat, 0.0)
        win, payment = expected_auction(world, np.array([bid]))
        assert win[0] == pytest.approx(won.mean(), abs=1e-3)
        assert payment[0] == pytest.approx(paid.mean(), abs=1e-4)


def test_best_responses_to_three_equilibrium_rivals():
    """First price, n = 4, values U[0, 1]: the equilibrium bids 3/4 of the value."""
    rivals = SimpleNamespace(
        cdf=lambda x: np.clip(np.asarray(x) / 0.75, 0, 1) ** 3, mean_below=lambda x: 0 * x
    )
    world = dataclasses.replace(JOURNEY, prices=rivals, auction="first_price")
    bids = best_response(world, np.array([0.2, 0.5, 0.9]))
    np.testing.assert_allclose(bids, [0.15, 0.375, 0.675], rtol=0.01)


def test_truth_is_the_best_response_in_second_price_and_the_shadow_price_shades_it():
    world = dataclasses.replace(JOURNEY, prices=QuantilePrices({}, {}, 1.0), shadow_price=1.0)
    np.testing.assert_allclose(best_response(world, np.array([0.4, -0.2])), [0.2, 0.0])


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("policy", ["random", "memoryless", "bayes"])
def test_regret_is_profit_against_full_information_with_little_luck(preset, policy):
    """Its mean is the profit minus a constant that no policy can change: nothing else is best."""
    world = PRESETS[preset]
    make = {
        "random": RandomBids,
        "memoryless": lambda: SignalBids("memoryless", best_memoryless(world).bids),
        "bayes": BayesBids,
    }[policy]
    totals = {}
    for reward in ("expected", "regret"):
        config = AuctionConfig(preset, num_users=USERS, reward=reward, budget=1e9)
        simulator = AuctionSimulator(config)
        play(simulator, make(), seed=1)
        totals[reward] = simulator.take_rewards(np.arange(USERS))
    best = full_information(world).value
    luck = totals["expected"] - totals["regret"]
    assert luck.mean() == pytest.approx(best, abs=4 * luck.std() / np.sqrt(USERS))
    # Where more than stage and channel counts the potential takes out less of it.
    assert (
        totals["regret"].std() < (0.6 if preset == "journey" else 0.95) * totals["expected"].std()
    )


def test_the_full_information_policy_regrets_nothing_and_no_other_bid_is_better():
    simulator = AuctionSimulator(AuctionConfig(num_users=500, reward="regret"))
    play(simulator, FullInformationBids(), seed=0)
    np.testing.assert_allclose(simulator.take_rewards(np.arange(500)), 0, atol=1e-12)
    regret = Regret(JOURNEY)
    rng = np.random.default_rng(0)
    bids = rng.random(999) * 0.3
    segment, request, stage, channel = (rng.integers(n, size=999) for n in (1, 24, 4, 3))
    assert (regret(bids, segment, request, stage, channel, request < 23) < 1e-12).all()


def test_potential_ends_at_nothing_and_starts_at_the_value():
    full = full_information(JOURNEY)
    assert full.potential.shape == (1, 25, 4)
    assert (full.potential[:, -1] == 0).all()
    assert JOURNEY.users.initial_share @ full.potential[0, 0] == pytest.approx(full.value)
    assert (np.diff(full.potential, axis=1) <= 1e-12).all()

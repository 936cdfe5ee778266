import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from rllib_seq.envs.ad_auction import PRESETS, AuctionConfig, AuctionSimulator, play
from rllib_seq.envs.ad_auction.market.competitors import QuantilePrices
from rllib_seq.envs.ad_auction.references.baselines import RandomBids, SignalBids
from rllib_seq.envs.ad_auction.references.oracles import (
    BayesBids,
    FullInformationBids,
    best_memoryless,
)
from rllib_seq.envs.ad_auction.worlds.values import (
    Regret,
    best_response,
    expected_auction,
    full_information,
    is_exact,
)

JOURNEY = PRESETS["journey"]
USERS = 20_000


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
def test_regret_is_profit_against_full_information_without_its_luck(preset, policy):
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
    if is_exact(world):
        best = full_information(world).value
        luck = totals["expected"] - totals["regret"]
        assert luck.mean() == pytest.approx(best, abs=4 * luck.std() / np.sqrt(USERS))
    most = 0.65 if preset == "uniform" else 0.6
    assert totals["regret"].std() < most * totals["expected"].std()


@pytest.mark.slow
def test_where_effects_wear_out_regrets_still_rank_policies_as_profit_does():
    world, earned = PRESETS["display"], {}
    for reward in ("expected", "regret"):
        memoryless = SignalBids("memoryless", best_memoryless(world).bids)
        for bidder in (RandomBids(), memoryless, BayesBids(), FullInformationBids()):
            config = AuctionConfig("display", num_users=USERS, reward=reward, enforce_budget=False)
            simulator = AuctionSimulator(config)
            play(simulator, bidder, seed=1)
            earned[reward, bidder.name] = simulator.take_campaign_rewards()[0]
    names = [name for reward, name in earned if reward == "expected"]
    ranks = [sorted(names, key=lambda name: earned[kind, name]) for kind in ("expected", "regret")]
    assert ranks[0] == ranks[1]
    assert earned["regret", "full_information"] == pytest.approx(0, abs=1e-9)


def test_whether_a_user_comes_back_is_no_luck_of_a_bid():
    """What a bid gives away against the best differs little with who comes back."""
    regret, rng = Regret(PRESETS["display"]), np.random.default_rng(0)
    segment, request, stage, channel = (rng.integers(n, size=999) for n in (2, 20, 4, 3))
    at = (np.full(999, 0.05), segment, request, stage, channel)
    spread = np.std(regret(*at, np.ones(999, bool)) - regret(*at, np.zeros(999, bool)))
    return_probability = np.std(
        full_information(PRESETS["display"]).potential[segment, request + 1, stage]
    )
    assert spread < 0.35 * return_probability


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

"""Competitors with values, budgets and pacing in the market of single requests."""

import copy

import numpy as np
import pytest

from rllib_seq.envs.ad_auction import AuctionConfig, AuctionSimulator
from rllib_seq.envs.ad_auction.draws import purpose_keys
from rllib_seq.envs.ad_auction.market.bidders import Bidder
from rllib_seq.envs.ad_auction.market.pacing import Hedge
from rllib_seq.envs.ad_auction.market.rivals import Rivals, simulate_competitors
from rllib_seq.envs.ad_auction.market.valuations import UniformValues
from rllib_seq.envs.ad_auction.worlds.presets import COMPETITORS

RIVALRY = AuctionConfig(competitors="rivalry").build_preset().rivals
HOURS = 7 * 24


def draw(market, flight, hour, n=20_000, seed=0, channel=0):
    """Market prices of `n` users' first requests."""
    zero = np.zeros(n, np.int64)
    keys, user = purpose_keys(seed, 1)[:, None], np.arange(n)
    return market.draw(keys, user, zero, zero + channel, zero + flight, zero + 1.0 * hour)


def textbook(bidders, auction="second_price", floor=0.0, value=1.0):
    return simulate_competitors(
        Rivals(tuple(bidders), UniformValues()), auction, floor, value, (1.0,)
    )


def test_the_market_price_of_truthful_rivals_has_the_closed_form():
    """Of three rivals with values U[0, 1] the highest bid is below x with probability x^3."""
    market, grid = textbook([Bidder()] * 3, value=2.0), np.linspace(0.1, 0.9, 9)
    assert market.prices.cdf(2.0 * grid) == pytest.approx(grid**3, abs=0.006)
    drawn = (draw(market, 0, 0)[:, None] <= 2.0 * grid).mean(axis=0)
    assert drawn == pytest.approx(grid**3, abs=0.015)
    # What a truthful bidder of value v earns: the integral of x^3 up to v.
    surplus = grid * market.prices.cdf(2 * grid) - market.prices.mean_below(2 * grid) / 2.0
    assert surplus == pytest.approx(grid**4 / 4, abs=0.003)


def test_rivals_who_learn_in_first_price_shade_and_in_second_price_do_not():
    """Three of them among themselves: two thirds of the value, and the truth."""
    for auction, share in (("first_price", 2 / 3), ("second_price", 1.0)):
        learned = textbook([Bidder(Hedge())] * 3, auction)._factors[:, HOURS // 2 :]
        assert learned.mean() == pytest.approx(share, abs=0.04)


def test_a_floor_of_the_market_is_one_of_theirs_too():
    """Two learners in first price bid half, and with a floor of .3 more where values are low."""
    bare, floored = (textbook([Bidder(Hedge())] * 2, "first_price", floor) for floor in (0.0, 0.3))
    assert floored._factors[:, -1].mean() > bare._factors[:, -1].mean() + 0.03


def test_budgets_pacing_and_regimes_show_in_what_they_bid():
    constant, until_broke, paced = (RIVALRY._factors[..., i] for i in (0, 4, [5, 6, 7]))
    assert (np.diff(constant, axis=1) != 0).sum(axis=1).max() <= 4  # jumps
    broke = until_broke == 0
    assert broke[:, -24:].mean() > 0.9
    assert broke[:, : HOURS // 4].mean() < 0.2
    assert (paced[:, : HOURS // 2] > 0).mean() > 0.98  # who paces has money left
    assert paced[:, HOURS // 2].mean() < constant[:, HOURS // 2].mean()


@pytest.mark.parametrize("name", COMPETITORS)
def test_prices_are_on_average_those_of_the_presets(name):
    for preset in ("journey", "display"):
        world = AuctionConfig(preset).build_preset()
        rivals = AuctionConfig(preset, competitors=name).build_preset()
        mean, theirs = (float(w.prices.mean_below(1e9)) for w in (world, rivals))
        assert theirs == pytest.approx(mean, rel=0.06)


def test_the_distribution_of_a_preset_is_that_of_all_hours_and_flights():
    rng = np.random.default_rng(0)
    n = 50_000
    flight, hour = rng.integers(RIVALRY.num_flights, size=n), rng.integers(HOURS, size=n)
    prices = draw(RIVALRY, flight, hour, n)
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        below = (prices <= RIVALRY.prices.ppf(share)).mean()
        assert below == pytest.approx(share, abs=4 * np.sqrt(0.25 / n) + 0.003)


def test_a_flight_of_theirs_follows_another_and_hours_differ():
    last = RIVALRY.num_flights - 1
    np.testing.assert_array_equal(draw(RIVALRY, 3, HOURS + 5.9), draw(RIVALRY, 4, 5))
    np.testing.assert_array_equal(draw(RIVALRY, last, HOURS), draw(RIVALRY, 0, 0))
    means = [draw(RIVALRY, flight, hour).mean() for flight in (0, 1, 2) for hour in (0, 80, 160)]
    assert max(means) > 1.5 * min(means)


def campaign(bid, seed=3, competitors="rivalry"):
    """Market prices by (user, hour) when we bid `bid`."""
    config = AuctionConfig("display", num_users=40, budget=1e9, competitors=competitors)
    simulator = AuctionSimulator(config, record=True)
    simulator.reset(seed)
    while not simulator.done:
        simulator.step(np.full(len(simulator.pending), bid))
    log = simulator.events.columns()
    rows = log["event"] == 0
    keys = zip(log["user"][rows].tolist(), log["hour"][rows].tolist(), strict=True)
    return dict(zip(keys, log["market_price"][rows].tolist(), strict=True))


def test_no_bid_of_ours_ever_changes_a_competing_bid():
    silent, loud = campaign(0.0), campaign(0.4)
    shared = silent.keys() & loud.keys()  # conversions end journeys
    assert len(shared) > 80
    assert all(silent[key] == loud[key] for key in shared)
    assert campaign(0.0) == silent
    assert campaign(0.0, seed=4) != silent
    assert campaign(0.0, competitors="truthful").values() != silent.values()


def test_another_future_keeps_the_rivals_of_the_present():
    simulator = AuctionSimulator(AuctionConfig(num_users=30, competitors="rivalry"), 8)
    simulator.reset(list(range(8)))
    assert len(set(simulator._rivals_flight.tolist())) > 4  # campaigns meet different ones
    before = simulator._rivals_flight.copy()
    resampled = copy.deepcopy(simulator)
    resampled.resample_future(9)
    np.testing.assert_array_equal(resampled._rivals_flight, before)
    simulator.reset([99], np.array([2]))
    np.testing.assert_array_equal(np.delete(simulator._rivals_flight, 2), np.delete(before, 2))

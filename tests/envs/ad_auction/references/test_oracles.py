"""The references: published figures, exact value == Monte Carlo, and what each policy may know."""

import numpy as np
import pytest

from rllib_seq.envs.ad_auction import PRESETS, AuctionConfig, AuctionSimulator, play
from rllib_seq.envs.ad_auction.references.baselines import RandomBids, SignalBids
from rllib_seq.envs.ad_auction.references.oracles import (
    BayesBids,
    FullInformationBids,
    best_fixed,
    best_memoryless,
    best_one_step,
)
from rllib_seq.envs.ad_auction.worlds.values import expected_auction, full_information

USERS = 40_000
JOURNEY = PRESETS["journey"]


@pytest.fixture(scope="module")
def profits():
    """Profit per user of every reference, on the same users, conversions by probability."""
    simulator = AuctionSimulator(AuctionConfig(num_users=USERS, reward="expected"))
    policies = [
        RandomBids(),
        SignalBids("fixed", best_fixed(JOURNEY).bids),
        SignalBids("memoryless", best_memoryless(JOURNEY).bids),
        SignalBids("one_step", best_one_step(JOURNEY).bids),
        BayesBids(),
        FullInformationBids(),
    ]
    result = {}
    for policy in policies:
        play(simulator, policy, seed=11)
        result[policy.name] = simulator.take_rewards(np.arange(USERS)).mean()
    return result


@pytest.mark.slow
def test_published_figures_of_the_journey(profits):
    assert profits["full_information"] == pytest.approx(0.175, abs=0.005)
    assert profits["bayes"] == pytest.approx(0.124, abs=0.005)
    assert profits["memoryless"] == pytest.approx(0.067, abs=0.006)
    assert profits["fixed"] == pytest.approx(0.045, abs=0.004)


@pytest.mark.slow
def test_exact_values_equal_monte_carlo(profits):
    near = {"abs": 0.003}
    assert profits["full_information"] == pytest.approx(full_information(JOURNEY).value, **near)
    assert profits["memoryless"] == pytest.approx(best_memoryless(JOURNEY).value, **near)
    assert profits["one_step"] == pytest.approx(best_one_step(JOURNEY).value, **near)
    assert profits["fixed"] == pytest.approx(best_fixed(JOURNEY).value, **near)


@pytest.mark.slow
def test_memory_pays(profits):
    order = ["random", "fixed", "memoryless", "one_step", "bayes", "full_information"]
    assert sorted(profits, key=profits.__getitem__) == order


@pytest.mark.slow
def test_bayes_earns_1_7_times_the_best_memoryless_policy():
    """Its worth has no closed form: many users, each conversion by its probability."""
    users = 100_000
    simulator = AuctionSimulator(AuctionConfig(num_users=users, reward="expected"))
    play(simulator, BayesBids(), seed=0)
    bayes = simulator.take_rewards(np.arange(users)).mean()
    assert bayes >= 1.7 * best_memoryless(JOURNEY).value
    assert bayes >= 1.65 * best_one_step(JOURNEY).value


class Rounded(BayesBids):
    """Bids of the filter times a factor, or the bid level that earns the most by its belief."""

    def __init__(self, factor=1.0, levels=None):
        self.factor, self.levels = factor, levels

    def bids(self, users):
        bids = self.factor * super().bids(users)
        if self.levels is not None:
            win, payment = expected_auction(JOURNEY, self.levels)
            bids = self.levels[(win * bids[:, None] - payment).argmax(axis=1)]
        return bids


@pytest.mark.slow
def test_bid_levels_cost_little_and_so_do_bids_that_are_off():
    """Published: .1228 of .1229 with 16 levels; 20 % too high costs 1 %, 20 % too low 4 %.

    Those had a standard error of .002. Policies are paired here, so that a share of the profit has
    one of .001 to .003; with 40,000 users the levels cost .6 %.
    """
    simulator = AuctionSimulator(AuctionConfig(num_users=10_000, reward="regret"))
    full = full_information(JOURNEY).value
    policies = (Rounded(), Rounded(levels=JOURNEY.bid_levels), Rounded(1.2), Rounded(0.8))
    profits = []
    for policy in policies:
        play(simulator, policy, seed=13)
        profits.append(full + simulator.take_rewards(np.arange(10_000)).mean())
    shares = np.array(profits) / profits[0]
    assert shares[1] == pytest.approx(0.994, abs=0.006)
    assert shares[2] == pytest.approx(0.99, abs=0.012)
    assert shares[3] == pytest.approx(0.96, abs=0.015)


@pytest.mark.slow
def test_no_other_memoryless_bids_are_better():
    simulator = AuctionSimulator(AuctionConfig(num_users=USERS, reward="expected"))

    def profit(bids):
        play(simulator, SignalBids("x", bids), seed=12)
        return simulator.take_rewards(np.arange(USERS)).mean()

    best = best_memoryless(JOURNEY).bids
    earned = profit(best)
    for clicked, visited in ((0, 0), (0, 1)):
        for factor in (0.6, 1.6):
            other = best.copy()
            other[:, clicked, visited] *= factor
            assert profit(other) < earned + 2e-4


def test_the_belief_is_calibrated():
    """Among users to whom the filter gives a stage with probability p, a share p is in it."""
    simulator, bayes = AuctionSimulator(AuctionConfig(num_users=USERS)), BayesBids()
    simulator.reset(3)
    bayes.start(simulator)
    for _ in range(60):
        bayes.update(users := simulator.pending, simulator.step(bayes.bids(users)))
    staying = np.flatnonzero(~simulator.ended & (simulator.request > 3))
    assert len(staying) > 5000
    for stage in range(4):
        belief, truth = bayes.belief[staying, stage], simulator.stage[staying] == stage
        for low in np.arange(0, 1, 0.2):
            band = (belief >= low) & (belief < low + 0.2)
            if band.sum() > 300:
                assert truth[band].mean() == pytest.approx(belief[band].mean(), abs=0.04)


@pytest.mark.slow
def test_bayes_spends_the_budget_of_display_at_its_shadow_price():
    simulator = AuctionSimulator(AuctionConfig("display", num_users=USERS))
    ledger = play(simulator, BayesBids(), seed=5)
    assert ledger.spend / ledger.budget == pytest.approx(0.98, abs=0.03)

from dataclasses import asdict

import numpy as np
import pytest

from rllib_seq.envs.ad_auction import AuctionConfig, AuctionSimulator, play
from rllib_seq.envs.ad_auction.multi_agent_env import MultiUserAdAuctionEnv
from rllib_seq.envs.ad_auction.references.baselines import RandomBids
from rllib_seq.envs.ad_auction.references.oracles import BayesBids, FullInformationBids
from rllib_seq.envs.ad_auction.worlds.values import full_information
from rllib_seq.training.evaluation.campaigns import (
    evaluate,
    expected_profit,
    references,
    rows,
    summarize,
)
from rllib_seq.training.evaluation.results import Interval

WORLD = AuctionConfig(num_users=200)


@pytest.fixture(scope="module")
def campaigns():
    policies = references(WORLD.build_preset())
    return evaluate(policies, WORLD, seeds=[7, 8, 9], episodes=2)


@pytest.mark.slow
def test_rows_hold_what_the_contract_names(campaigns):
    table = rows(campaigns)
    assert len(table) == 7 * 3
    wanted = "policy signal seed profit spend budget wins win_rate clicks conversions cpa roas"
    wanted += " pct_of_bayes pct_of_optimum pct_of_full_information"
    for row in table:
        assert set(wanted.split()) <= asdict(row).keys()
        assert row.profit == pytest.approx(row.conversions - row.spend)
        assert row.win_rate == row.wins / row.requests
        if row.policy == "bayes":
            assert row.pct_of_bayes == pytest.approx(100)
        if row.policy == "optimal":
            assert row.pct_of_optimum == pytest.approx(100)
        assert row.signal == ("outcomes" if row.policy == "random" else "privileged")


def test_without_a_known_optimum_nothing_is_said_of_it():
    world = AuctionConfig("display", num_users=50)
    campaigns = evaluate(references(world.build_preset()), world, [7], 1)
    assert "optimal" not in campaigns.policies
    assert all(row.pct_of_optimum is None for row in rows(campaigns))
    assert all(row.pct_of_optimum is None for row in summarize(campaigns))


def test_the_signal_of_a_learned_policy_is_what_it_was_trained_on():
    world = AuctionConfig(num_users=20)
    policies = [policy for policy in references(world.build_preset()) if policy.name != "random"]
    learned = RandomBids()
    learned.name = "trained"
    table = rows(evaluate([learned, *policies], world, [7], 1, signals={"trained": "outcomes"}))
    assert {row.signal for row in table if row.policy == "trained"} == {"outcomes"}
    assert {row.signal for row in table if row.policy != "trained"} == {None}


@pytest.mark.slow
def test_policies_are_paired(campaigns):
    """The same campaign gives two copies of a policy the same result, and seeds differ."""
    policies = {policy.name: policy for policy in references(WORLD.build_preset())}
    twice = evaluate([policies["bayes"], policies["fixed"], policies["bayes"]], WORLD, [7, 8], 2)
    np.testing.assert_array_equal(twice.profit[0], twice.profit[2])
    bayes = campaigns.policies.index("bayes")
    np.testing.assert_array_equal(twice.profit[0], campaigns.profit[bayes, :2])
    assert len(np.unique(twice.profit[0])) == 4


def test_evaluation_campaigns_are_none_of_the_training_campaigns():
    class Spy(RandomBids):
        def start(self, simulator):
            super().start(simulator)
            seen.append(tuple(simulator.channel(np.arange(50))))

    seen = []
    evaluate([Spy()], AuctionConfig(num_users=50), seeds=[7, 8], episodes=2)
    env = MultiUserAdAuctionEnv({"num_users": 50})
    for seed in (7, 8, None, None):
        env.reset(seed=seed)
        seen.append(tuple(env.simulator.channel(np.arange(50))))
    env.simulator.reset(7)
    seen.append(tuple(env.simulator.channel(np.arange(50))))
    assert len(set(seen)) == 9


@pytest.mark.slow
def test_summary_compares_with_the_best_memoryless_policy(campaigns):
    summary = {row.policy: row for row in summarize(campaigns)}
    assert summary["memoryless"].over_memoryless == Interval(0.0, 0.0)
    assert summary["random"].beats_memoryless_on_seeds == 0
    assert summary["full_information"].beats_memoryless_on_seeds == 3
    full = summary["full_information"]
    assert full.over_memoryless.mean > full.over_memoryless.half_width > 0


@pytest.mark.slow
def test_a_budget_grows_with_the_users_and_is_reported():
    world = AuctionConfig("display", num_users=100)
    preset = world.build_preset()
    table = rows(evaluate(references(preset), world, [1], 1))
    assert all(row.budget == pytest.approx(100 * preset.budget_per_user) for row in table)
    assert all(row.spend <= row.budget for row in table)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["journey", "display"])
def test_expected_profit_is_what_is_earned_in_the_mean(preset):
    """Whatever training pays, and whether or not it enforces the budget."""
    world = AuctionConfig(
        preset, num_users=1500, reward="regret", reward_scale=9, enforce_budget=False
    )
    bidder = references(world.build_preset())[1]
    seeds = [np.random.SeedSequence(seed) for seed in range(4)]
    simulator = AuctionSimulator(world.for_evaluation())
    shadow_price = simulator.preset.shadow_price
    earned = [play(simulator, bidder, seed).profit(shadow_price) / 1500 for seed in seeds]
    exact = expected_profit(bidder, world, seeds)
    assert exact == pytest.approx(np.mean(earned), abs=3 * np.std(earned, ddof=1) / 2)
    assert exact > 0


def test_expected_profit_ranks_as_money_does_without_its_luck():
    """Full information gives nothing away; what Bayes does is their distance from it."""
    world, seeds = AuctionConfig(num_users=1024), [np.random.SeedSequence(7)]
    best = full_information(world.build_preset()).value
    full, bayes = (
        expected_profit(bidder, world, seeds) - best
        for bidder in (FullInformationBids(), BayesBids())
    )
    assert full == pytest.approx(0, abs=1e-4)
    assert bayes == pytest.approx(0.119 - 0.176, abs=0.006)

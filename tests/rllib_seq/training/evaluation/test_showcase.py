"""A recorded campaign says what the simulator did."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from rllib_seq.envs.ad_auction.references.baselines import SignalBids
from rllib_seq.envs.ad_auction.references.oracles import BayesBids, best_memoryless
from rllib_seq.envs.ad_auction.simulator.play import play
from rllib_seq.envs.ad_auction.simulator.step import AuctionSimulator
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig
from rllib_seq.training.evaluation.showcase import record
from rllib_seq.training.seeds import Branch, branch_seed

WORLD = AuctionConfig(preset="journey", num_users=200)


@pytest.fixture(scope="module")
def memoryless():
    return record(SignalBids("memoryless", best_memoryless(WORLD.build_preset()).bids), WORLD)


def test_money_ends_as_in_the_ledger(memoryless):
    policy = SignalBids("memoryless", best_memoryless(WORLD.build_preset()).bids)
    ledger = play(AuctionSimulator(WORLD), policy, branch_seed(0, Branch.REPORT))
    money = memoryless.money
    assert money["spend"][-1] == pytest.approx(ledger.spend, abs=1e-4)
    assert money["value"][-1] == pytest.approx(ledger.value, abs=1e-4)
    assert memoryless.requests == ledger.requests
    assert all(np.diff(money[name]).min() >= 0 for name in money)


def test_journeys_are_whole_and_end_as_they_say(memoryless):
    outcomes = [journey["outcome"] for journey in memoryless.journeys]
    assert outcomes == ["converted"] * 2 + ["churned"] * 2 + ["went on to the end"] * 2
    for journey in memoryless.journeys:
        requests = journey["requests"]
        ends = [request["converted"] or request["churned"] for request in requests]
        assert not any(ends[:-1])
        assert ends[-1] == (journey["outcome"] != "went on to the end")
        for request in requests:
            assert request["won"] == (request["bid"] >= request["market_price"])
            assert sum(request["belief"]) == pytest.approx(1, abs=1e-3)
            assert request["won"] or not request["clicked"]


def test_bids_of_bayes_are_those_of_bayes():
    campaign = record(BayesBids(), WORLD)
    for row in campaign.bids_by_belief:
        assert row["bid"] == row["bayes"]
    for journey in campaign.journeys:
        assert all(request["bid"] == request["bayes_bid"] for request in journey["requests"])


@pytest.mark.parametrize("preset", ["journey", "display", "uniform"])
def test_every_world_fits_into_json(preset):
    campaign = record(BayesBids(), AuctionConfig(preset=preset, num_users=32))
    content = asdict(campaign)
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert (campaign.budget is None) == (preset != "display")

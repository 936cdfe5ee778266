"""The calibration of heads in campaigns: a bidder that knows the truth is found to know it."""

import copy
import json
from dataclasses import asdict

import numpy as np
import pytest

from rllib_seq.config import AuxiliaryHead
from rllib_seq.envs.ad_auction import AuctionConfig
from rllib_seq.envs.ad_auction.references.oracles import kernels
from rllib_seq.envs.ad_auction.worlds.values import expected_auction
from rllib_seq.training.evaluation.campaigns import evaluate
from rllib_seq.training.evaluation.forecasts import RecordedBids, calibrate, futures_in_all

BID, HORIZON = 0.08, 3
SEEDS = [7, 8]


class KnowingBidder:
    """Always bids the same; its heads know the stage, the world and therefore the truth."""

    name = "trained"
    one_stream = False
    heads = {"won": AuxiliaryHead(given_action=True), "converted": AuxiliaryHead(HORIZON)}

    def start(self, simulator):
        self.simulator, preset = simulator, simulator.preset
        self.win = float(expected_auction(preset, np.array([BID]))[0][0])
        model, step = preset.users, kernels(preset.users)
        hazard = self.win * model.hazard_won + (1 - self.win) * model.hazard_lost  # (S,)
        move = self.win * step.won + (1 - self.win) * step.lost[:, None]  # (S, C, S')
        # [h, S, C]: probability within h requests; channels to come are not known yet.
        within = [np.zeros_like(model.click)]
        for _ in range(HORIZON):
            later = within[-1] @ model.channel_share  # (S',)
            within.append(hazard[:, None] + move @ later)
        self.within = np.stack(within)

    def bids(self, users):
        sim = self.simulator
        left = sim.preset.users.requests_per_user - sim.request[users]
        self.truth = self.within[np.minimum(left, HORIZON), sim.stage[users], sim.channel(users)]
        return np.full(len(users), BID)

    def forecasts(self):
        return {"won": np.full(len(self.truth), self.win), "converted": self.truth}

    def fork(self, simulator):
        other = copy.copy(self)
        other.simulator = simulator
        return other

    def update(self, users, outcome):
        pass


class GuessingBidder(KnowingBidder):
    """Says the same of everybody."""

    def forecasts(self):
        return {name: np.full(len(self.truth), 0.1) for name in self.heads}


def _calibrated(bidder, world, episodes=2):
    recorded = RecordedBids(bidder)
    evaluate([recorded], world, SEEDS, episodes)
    played = []
    cards = calibrate(recorded, world, SEEDS, lambda: played.append(1))
    assert len(played) == futures_in_all(recorded, SEEDS)
    json.dumps([asdict(card) for card in cards], allow_nan=False)
    return {card.head: card for card in cards}


WORLD = AuctionConfig(num_users=400)


@pytest.fixture(scope="module")
def knowing():
    return _calibrated(KnowingBidder(), WORLD)


def test_the_truth_is_calibrated_and_unskilled_only_by_luck(knowing):
    card = knowing["converted"]
    assert (card.horizon, card.given_action) == (HORIZON, False)
    assert card.requests > 10_000
    assert card.ece < 0.01 < card.base_rate
    assert 0.05 < card.skill < 0.5
    # What a Brier score is made of, estimated from other requests.
    assert card.brier == pytest.approx(card.truth.brier_of_truth, abs=0.01)


def test_futures_estimate_the_truth(knowing):
    truth = knowing["converted"].truth
    assert truth.requests > 200 and truth.futures == 8
    assert abs(truth.mse) < 0.05 * truth.mse_base_rate
    assert truth.ece < 0.01
    guess = _calibrated(GuessingBidder(), WORLD)["converted"].truth
    wanted = truth.mse_base_rate + (0.1 - truth.base_rate) ** 2
    assert guess.mse == pytest.approx(wanted, rel=0.05)


def test_winning_is_judged_by_the_market_itself(knowing):
    card = knowing["won"]
    assert card.truth.futures is None and card.truth.requests == card.requests
    assert card.truth.mse == pytest.approx(0, abs=1e-12)
    assert card.base_rate == pytest.approx(card.truth.base_rate, abs=0.01)
    guess = _calibrated(GuessingBidder(), WORLD, episodes=1)["won"]
    assert guess.truth.mse == pytest.approx((card.truth.base_rate - 0.1) ** 2)


def test_no_bid_that_the_budget_cannot_pay_can_win():
    world = AuctionConfig(num_users=100, budget=2.0)
    card = _calibrated(KnowingBidder(), world)["won"]
    assert card.base_rate == pytest.approx(card.truth.base_rate, abs=0.01)
    assert card.truth.mse > 0.05  # the head does not know the budget


class OneByOne(KnowingBidder):
    """The whole campaign is its stream: it bids on one request at a time."""

    one_stream = True

    def __init__(self):
        self.said, self.converted = [], []

    def bids(self, users):
        bids = super().bids(users[:1])
        self.said.append(self.truth[0])
        return bids

    def update(self, users, outcome):
        assert len(users) == len(outcome.won) == 1
        self.converted.append(outcome.converted[0])


def test_a_campaign_that_is_one_stream_is_judged_along_the_campaign():
    """Conversions of anyone who comes next count, and not of the same user alone."""
    bidder = OneByOne()
    recorded = RecordedBids(bidder)
    evaluate([recorded], AuctionConfig(num_users=50), [7], episodes=1)
    won, card = calibrate(recorded, AuctionConfig(num_users=50), [7])
    converted = np.array([*bidder.converted, False, False])
    soon = converted[:-2] | converted[1:-1] | converted[2:]
    assert card.requests == len(soon) > 500 and card.base_rate == soon.mean() > 0
    assert card.brier == pytest.approx(np.mean((bidder.said - soon) ** 2))
    assert card.truth is None and won.truth.mse == pytest.approx(0, abs=1e-12)

"""Served bids are the bids of an evaluation on the same campaign, step by step."""

from collections import defaultdict

import pytest
from served_campaign import CAMPAIGN, Served

from rllib_seq.envs.ad_auction import AuctionSimulator, play
from rllib_seq.training.acting.actor import PolicyActor
from rllib_seq.training.acting.loading import acting_policy
from rllib_seq.training.evaluation.policies import TrainedBids


class Evaluated(TrainedBids):
    """Remembers the bids of every user."""

    def start(self, simulator):
        super().start(simulator)
        self.made = defaultdict(list)

    def bids(self, users):
        bids = super().bids(users)
        for user, bid in zip(users, bids, strict=False):
            self.made[int(user)].append(float(bid))
        return bids


def both(exported, service, clock, one_stream=False):
    evaluated = Evaluated(PolicyActor(acting_policy(exported.module)), one_stream)
    ledger = play(AuctionSimulator(exported.world), evaluated, CAMPAIGN)
    served = Served(service, clock, one_stream)
    served_ledger = play(AuctionSimulator(exported.world), served, CAMPAIGN)
    return evaluated, ledger, served, served_ledger


@pytest.mark.slow
@pytest.mark.parametrize("which", ["journey", "causal", "display"])
def test_bids_are_those_of_the_evaluation(which, request, serve, clock):
    exported = request.getfixturevalue(which)
    service = serve(exported)
    evaluated, ledger, served, served_ledger = both(exported, service, clock)
    assert evaluated.made.keys() == served.made.keys()
    for user, bids in evaluated.made.items():
        assert len(bids) == len(served.made[user])
        for bid, made in zip(bids, served.made[user], strict=True):
            assert made is None or made == bid
    assert len({bid for bids in served.made.values() for bid in bids} - {None}) > 1
    assert served_ledger == ledger
    totals = service.money.totals
    assert totals["requests"] == ledger.requests
    assert totals["wins"] == ledger.wins
    assert totals["spend"] == pytest.approx(ledger.spend)
    assert totals["conversions"] == pytest.approx(ledger.conversions, abs=1)


@pytest.mark.slow
def test_the_display_campaign_runs_out_of_budget(display, serve, clock):
    """Or the test above would not show that the budget is the simulator's."""
    service = serve(display)
    *_, served, _ = both(display, service, clock)
    assert any(None in bids for bids in served.made.values())

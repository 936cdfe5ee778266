"""What is served is recorded, and a policy would do again what it did."""

import numpy as np
import pytest
from served_campaign import CAMPAIGN, Served

from rllib_seq.envs.ad_auction import AuctionSimulator, play
from rllib_seq.errors import UserError
from rllib_seq.serving.exported.scoring import score
from rllib_seq.training.run.records import read_trajectories


@pytest.fixture
def records(journey, serve, clock, tmp_path):
    """A campaign that was served, and its ledger."""
    service = serve(journey, record=str(tmp_path / "records"))
    ledger = play(AuctionSimulator(journey.world), Served(service, clock), CAMPAIGN)
    service.close()
    return tmp_path / "records", ledger


@pytest.mark.slow
def test_records_hold_every_step_and_reward(records):
    folder, ledger = records
    streams = read_trajectories([folder])
    steps = sum(len(stream.actions) for stream in streams)
    # Of users who might come back, the last step is not complete yet.
    assert ledger.requests - len(streams) <= steps <= ledger.requests
    assert all(np.isin(stream.actions, range(17)).all() for stream in streams)
    assert min(stream.rewards.min() for stream in streams) < 0  # money was spent


def test_a_price_belongs_to_the_bid_that_paid_it(journey, serve, clock, tmp_path):
    """Exchanges report wins late, and when the next bids are made."""
    from serving_helpers import always, ask

    service = serve(journey, record=str(tmp_path))
    always(service, 16)
    bids = [service.answer([ask(7)])[0].bid for _ in range(3)]
    for place, price in ((1, 0.02), (0, 0.01)):
        assert service.notice("win", service.sealer.seal(bids[place]), price=price) == "counted"
    service.notice("conversion", service.sealer.seal(bids[0]), value=1.0, event="a")
    clock.now += 86_400.0 * 2
    service.answer([ask(8)])
    clock.now += 60.0
    service.answer([ask(8)])
    service.close()
    ann, _ = sorted(read_trajectories([tmp_path]), key=lambda stream: -len(stream.actions))
    assert ann.ended
    np.testing.assert_allclose(ann.payments, [0.01, 0.02, 0.0])
    np.testing.assert_allclose(ann.rewards, [-0.01, -0.02, 1.0])


def test_lives_of_a_user_are_apart(journey, serve, clock, tmp_path):
    """Who was forgotten, or is seen by another campaign, begins another episode."""
    from serving_helpers import always, ask

    for lives in (2, 1):
        service = serve(journey, record=str(tmp_path))
        always(service, 16)
        for _ in range(lives):
            for _ in range(3):
                bid = service.answer([ask(7)])[0].bid
            service.notice("win", service.sealer.seal(bid), price=0.01)
            service.forget(7)
            assert service.notice("win", service.sealer.seal(bid), price=0.01) == "known"
        service.close()
    streams = read_trajectories([tmp_path])
    assert [len(stream.actions) for stream in streams] == [2, 2, 2]
    assert all(stream.rewards.tolist() == [0.0, 0.0] for stream in streams)  # of their third steps


@pytest.mark.usefixtures("ray_session")
def test_the_policy_agrees_with_itself(records, journey, tmp_path):
    folder, ledger = records
    result = score(journey.folder, [folder], tmp_path / "scored")
    assert result["steps"] == ledger.requests
    assert result["agreement"] == 1.0
    assert 0 < result["mean_bid"] < 0.3
    assert list((tmp_path / "scored").glob("*.parquet"))


def test_no_records_are_named(journey, tmp_path):
    with pytest.raises(UserError, match="no records in"):
        score(journey.folder, [tmp_path / "nothing"], tmp_path)


def test_exploring_tries_everything(journey, serve):
    from serving_helpers import always, ask

    service = serve(journey, explore=1.0)
    always(service, 5)
    bids = {
        answer.bid.amount
        for start in range(0, 300, 30)
        for answer in service.answer([ask(user) for user in range(start, start + 30)])
        if answer.bid is not None
    }
    assert len(bids) == 16

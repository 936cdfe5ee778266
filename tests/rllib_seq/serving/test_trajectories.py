"""What is served is recorded, and a policy would do again what it did."""

import numpy as np
import pytest
from served_campaign import CAMPAIGN, Served

from rllib_seq.envs.ad_auction import AuctionSimulator, play
from rllib_seq.errors import UserError
from rllib_seq.serving.exported.scoring import score
from rllib_seq.training.run.offline import read_trajectories


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

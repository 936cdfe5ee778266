import numpy as np
import pytest

from rllib_seq.envs.ad_auction import AuctionConfig, AuctionSimulator
from rllib_seq.envs.ad_auction.simulator.events import EVENTS
from rllib_seq.journeys.event_log import load_events


@pytest.fixture(scope="module", params=["journey", "display", "uniform"])
def played(request):
    simulator = AuctionSimulator(AuctionConfig(request.param, num_users=300), record=True)
    simulator.reset(5)
    rng = np.random.default_rng(0)
    while not simulator.done:
        simulator.step(rng.choice(simulator.preset.bid_levels, len(simulator.pending)))
    return simulator


def test_the_log_adds_up_to_the_ledger(played):
    log, ledger = played.events.columns(), played.ledger
    count = {name: int((log["event"] == i).sum()) for i, name in enumerate(EVENTS)}
    assert count["request"] == ledger.requests
    assert count["impression"] == ledger.wins
    assert count["click"] == ledger.clicks
    assert count["visit"] == ledger.visits
    assert count["conversion"] == ledger.conversions
    assert np.nansum(log["value"]) == pytest.approx(ledger.value)
    to_beat = np.maximum(log["market_price"], played.preset.floor)
    won = (log["price"] > 0) & (log["price"] >= to_beat)  # NaN, at other events, is no win
    assert to_beat[won].sum() == pytest.approx(ledger.spend)
    assert (np.diff(log["hour"]) >= 0).all()


def test_discover_reads_what_is_written(played, tmp_path):
    path = tmp_path / "events.csv"
    played.events.write(path)
    log = load_events(path, strict=True)
    assert len(log) + log.duplicates == len(played.events.columns()["hour"])
    assert log.duplicates < 3


def test_chances_are_no_events():
    with pytest.raises(ValueError, match="reward is 'regret'; only sampled and attributed have"):
        AuctionSimulator(AuctionConfig(reward="regret"), record=True)

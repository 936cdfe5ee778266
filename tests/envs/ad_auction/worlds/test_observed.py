"""A log's shares and chances come back out of the world that they were laid over."""

import dataclasses
import json

import numpy as np
import pytest

from rllib_seq.envs.ad_auction.simulator.step import AuctionSimulator
from rllib_seq.envs.ad_auction.worlds.observed import Observed
from rllib_seq.envs.ad_auction.worlds.presets import PRESETS, AuctionConfig

SEEN = Observed(
    channels={"web": 3.0, "app": 1.0},
    segments={"new": 1.0, "old": 4.0},
    hours=tuple(1.0 + 3.0 * (8 <= hour < 12) for hour in range(24)),
    return_probability=(0.5, 0.25, 0.0),
    delay=((0.0, 0.1), (0.5, 2.0), (1.0, 30.0)),
)


@pytest.fixture(scope="module")
def played():
    """A campaign in which no one is ever shown anything."""
    observed = json.loads(json.dumps(dataclasses.asdict(SEEN)))
    config = AuctionConfig(preset="journey", num_users=8000, arrival_hours=168.0, observed=observed)
    simulator = AuctionSimulator(config, record=True)
    simulator.reset(seed=3)
    while not simulator.done:
        simulator.step(np.zeros(len(simulator.pending)))
    return simulator


def test_channels_and_segments_have_their_shares(played):
    users = played.preset.users
    assert users.channels == ("web", "app")
    assert np.bincount(played.state.segment) / 8000 == pytest.approx([0.2, 0.8], abs=0.02)
    base = PRESETS["journey"].users
    # Both channels move users as the preset's do on average.
    assert np.allclose(users.move_up, (base.move_up @ base.channel_share)[:, None])


def test_journeys_have_the_observed_lengths(played):
    # Without impressions few convert, but each of these journeys is shorter than it would be.
    counts = np.bincount(played.request)
    at_least = counts[::-1].cumsum()[::-1]
    assert at_least[2:] / at_least[1:-1] == pytest.approx([0.5, 0.25], abs=0.03)


def test_hours_have_the_observed_traffic(played):
    week = played.preset.users.traffic.week
    assert week.reshape(7, 24)[0] * 36 / week[:24].sum() == pytest.approx(SEEN.hours)


def test_delays_are_the_observed(played):
    assert played.preset.users.delay.ppf([0.0, 0.5]) == pytest.approx([0.1, 2.0])


def test_what_is_not_told_stays_as_it_was():
    for preset in PRESETS.values():
        assert vars(Observed().apply_to(preset).users) == vars(preset.users)


@pytest.mark.parametrize("preset", ["journey", "display"])
def test_every_preset_takes_it(preset):
    simulator = AuctionSimulator(AuctionConfig(preset=preset, observed=dataclasses.asdict(SEEN)))
    simulator.reset(0)
    while not simulator.done:
        simulator.step(np.full(len(simulator.pending), 0.05))
    assert simulator.ledger.requests > 64


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hours": [1.0] * 23}, "give 24 numbers"),
        ({"channels": {"a": 0}}, "shares above 0"),
        ({"return_probability": [0.5]}, "the last of them 0"),
        ({"delay": [[0.0, 2.0], [1.0, 1.0]]}, "both rising"),
        ({"chanels": {}}, "did you mean 'channels'"),
    ],
)
def test_errors_name_the_value(change, words):
    with pytest.raises(ValueError, match=words):
        AuctionConfig(observed=change)

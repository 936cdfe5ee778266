"""`display` against the public figures that it is made from.

Tolerances: four standard errors of the sample where a figure is met by construction, and what is
stated where the model only comes near it.
"""

import json
from importlib import resources

import numpy as np
import pytest

from rllib_seq.envs.ad_auction import AuctionConfig, AuctionSimulator
from rllib_seq.envs.ad_auction.journey.traffic import load_week
from rllib_seq.envs.ad_auction.simulator.events import EVENTS

USERS = 60_000
CTR = 280 / 835_556  # iPinYou campaign 2259


class Played:
    """A campaign that wins every impression, creatives in turn."""

    def __init__(self):
        self.simulator = simulator = AuctionSimulator(
            AuctionConfig("display", num_users=USERS, budget=1e9)
        )
        simulator.reset(seed=1)
        rng = np.random.default_rng(0)
        impressions = np.zeros(USERS, int)
        hours, first, lengths, paid = [], [], [], []
        while not simulator.done:
            rows = simulator.pending
            hours.append(np.full(len(rows), simulator.hour))
            first.append(simulator.request[rows] == 0)
            outcome = simulator.step(np.full(len(rows), 9.0), rng.integers(0, 3, len(rows)))
            impressions[rows] += outcome.won
            lengths.append(impressions[rows[outcome.converted]])
            paid.append(outcome.paid)
        self.hours, self.first = np.concatenate(hours), np.concatenate(first)
        self.lengths, self.paid = np.concatenate(lengths), np.concatenate(paid)


@pytest.fixture(scope="module")
def played():
    return Played()


def test_traffic_follows_the_curve_of_the_week(played):
    week = load_week().reshape(7, 24)
    by_hour, by_day = week.sum(axis=0) / week.sum(), week.sum(axis=1) / week.sum()
    arrivals = played.hours[played.first].astype(int)  # in the first week, by construction
    for share, seen in ((by_hour, arrivals % 24), (by_day, arrivals // 24)):
        counts = np.bincount(seen, minlength=len(share)) / len(seen)
        np.testing.assert_allclose(counts, share, atol=4 * np.sqrt(share.max() / len(seen)))
    counts = np.bincount(played.hours.astype(int) % 24, minlength=24) / len(played.hours)
    np.testing.assert_allclose(counts, by_hour, atol=0.006)  # sessions run into the next hour
    assert by_hour.max() / by_hour.min() == pytest.approx(9.3, abs=0.1)
    assert by_day[1] == pytest.approx(0.176, abs=0.001)  # Tuesday


def test_prices_have_the_quantiles_of_the_landscape(played):
    table = json.loads(
        resources.files("rllib_seq.envs.ad_auction").joinpath("data/landscapes.json").read_text()
    )["campaigns"]["2259"]["quantiles"]
    paid = np.sort(played.paid)
    for percent, price in table.items():
        if price > 5:  # the floor covers what is below
            share = np.searchsorted(paid, price * 1e-3, side="right") / len(paid)
            below = np.searchsorted(paid, price * 1e-3 - 1e-9) / len(paid)
            slack = 4 * np.sqrt(0.25 / len(paid)) + 0.01  # the table's own rounding
            assert below - slack <= float(percent) / 100 <= share + slack, percent
    assert paid.mean() == pytest.approx(0.0931, rel=0.03)


def test_the_click_rate_is_that_of_the_campaign(played):
    ledger = played.simulator.ledger
    assert ledger.clicks / ledger.wins == pytest.approx(CTR, abs=4 * np.sqrt(CTR / ledger.wins))


def test_converting_journeys_are_as_long_as_in_mta(played):
    """Mean 4.36, P50 3, P75 6, P90 8, P99 23 touchpoints; the model's tail is a quarter off."""
    lengths = played.lengths
    assert lengths.mean() == pytest.approx(4.36, rel=0.1)
    for share, published in ((0.5, 3), (0.75, 6), (0.9, 8), (0.99, 23)):
        assert np.quantile(lengths, share) == pytest.approx(published, rel=0.25)


def test_conversions_come_with_the_published_delays():
    delay = AuctionConfig("display").build_preset().users.delay
    n = 100_000
    hours = delay.ppf(np.random.default_rng(0).random(n))
    for limit, share in ((1.0, 0.35), (24.0, 0.50), (720.0, 1.0)):
        assert np.mean(hours <= limit) == pytest.approx(share, abs=4 * np.sqrt(0.25 / n))


def test_conversions_of_a_campaign_come_with_these_delays_and_the_rest_is_censored():
    """From the event log: who converts makes no more requests, so their last one is the cause."""
    simulator = AuctionSimulator(AuctionConfig("display", num_users=15_000, budget=1e9), 1, True)
    simulator.reset(seed=2)
    while not simulator.done:
        simulator.step(np.full(len(simulator.pending), 9.0))
    log, ledger = simulator.events.columns(), simulator.ledger
    request, conversion = (log["event"] == EVENTS.index(e) for e in ("request", "conversion"))
    cause = np.zeros(15_000)
    np.maximum.at(cause, log["user"][request].astype(int), log["hour"][request])
    delay = log["hour"][conversion] - cause[log["user"][conversion].astype(int)]
    caused = ledger.conversions + ledger.censored
    assert caused > 1500
    for limit, share in ((1.0, 0.35), (24.0, 0.50)):  # few are caused on the last day
        near = pytest.approx(share, abs=4 * np.sqrt(0.25 / caused) + 0.005)
        assert (delay <= limit).sum() / caused == near
    within_flight = simulator.preset.flight_hours - cause.mean()
    assert ledger.censored / caused == pytest.approx(
        1 - simulator.preset.users.delay.cdf(within_flight), abs=0.05
    )

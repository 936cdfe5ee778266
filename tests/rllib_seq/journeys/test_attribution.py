"""Attribution: published results on shipped data, sums, and slow definitions."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_seq.journeys.attribution import (
    MODELS,
    Paths,
    attribute,
    first_touch,
    last_touch,
    linear,
    markov,
    position_based,
    removal_effects,
    shapley,
    time_decay,
    transition_counts,
)
from rllib_seq.journeys.event_log import load_events

DATA = Path(__file__).parents[2] / "data/mta/journeys.csv.gz"

# Value per channel of the shipped file by ChannelAttribution 2.2.5 (PyPI): heuristic_models(
# data, "path", "total_conversions", var_value="total_conversion_value", sep=">").
PUBLISHED = {
    "eta": (11909.476213, 16754.203800, 13783.497051),
    "iota": (19597.261277, 13487.974271, 15988.988995),
    "alpha": (19121.272356, 28414.214274, 24524.709569),
    "beta": (12235.591744, 3850.020987, 8954.266717),
    "theta": (6652.349349, 2799.091988, 4295.743619),
    "lambda": (3735.602165, 5249.949985, 4430.316169),
    "kappa": (305.743250, 1069.384250, 599.747786),
    "zeta": (103.004000, 453.260750, 539.528763),
    "epsilon": (412.301243, 2202.612289, 1106.270065),
    "gamma": (718.977992, 506.013992, 569.417358),
    "delta": (6.119000, 10.972000, 4.404050),
    "mi": (5.273000, 5.273000, 6.081444),
}
# Shares of the conversions by mta 0.0.9 (PyPI): MTA(allow_loops=True).shapley(normalize=True).
PUBLISHED_SHAPLEY = {
    "alpha": 0.385542,
    "beta": 0.100214,
    "delta": 0.000116,
    "epsilon": 0.018937,
    "eta": 0.182646,
    "gamma": 0.006984,
    "iota": 0.177157,
    "kappa": 0.008039,
    "lambda": 0.049926,
    "mi": 0.000135,
    "theta": 0.060195,
    "zeta": 0.010108,
}
# Conversions by ChannelAttribution's markov_model(order=1), which simulates 100,000 paths.
PUBLISHED_MARKOV = {
    "eta": 3345.78,
    "iota": 3794.61,
    "alpha": 5357.33,
    "beta": 2550.14,
    "theta": 1974.83,
    "lambda": 1305.67,
}
# Its transition chances, which leave out a channel's steps to itself.
PUBLISHED_CHANCE = {
    ("(start)", "eta"): 0.160804,
    ("(start)", "alpha"): 0.326360,
    ("eta", "(conversion)"): 0.119494,
    ("eta", "iota"): 0.089527,
    ("iota", "(null)"): 0.276998,
    ("beta", "eta"): 0.392152,
    ("mi", "iota"): 0.466667,
}


@pytest.fixture(scope="module")
def shipped():
    log = load_events(DATA)
    return Paths.from_log(log), log.names["channel"]


def test_rules_equal_a_published_library(shipped):
    paths, channels = shipped
    for i, model in enumerate((first_touch, last_touch, linear)):
        credit = dict(zip(channels, model(paths), strict=True))
        for channel, values in PUBLISHED.items():
            assert credit[channel] == pytest.approx(values[i], rel=1e-5, abs=1e-4)


def test_shapley_equals_a_published_library(shipped):
    paths, channels = shipped
    share = shapley(paths._replace(value=paths.converted.astype(float)))
    share /= share.sum()
    for name, value in zip(channels, share, strict=True):
        assert value == pytest.approx(PUBLISHED_SHAPLEY[name], abs=1e-6)


def test_markov_equals_a_published_library(shipped):
    paths, channels = shipped
    counts = transition_counts(paths)
    states = [*channels, "(start)", "(conversion)", "(null)"]
    others = counts - np.diag(np.diag(counts))
    for (before, after), chance in PUBLISHED_CHANCE.items():
        row = others[states.index(before)]
        assert row[states.index(after)] / row.sum() == pytest.approx(chance, abs=1e-6)
    credit = markov(paths._replace(value=paths.converted.astype(float)))
    for channel, value in PUBLISHED_MARKOV.items():
        assert credit[channels.index(channel)] == pytest.approx(value, rel=0.03)


journeys = st.lists(
    st.tuples(
        st.lists(st.integers(0, 4), min_size=1, max_size=6),
        st.booleans(),
        st.floats(0.01, 100),
        st.floats(0, 5000),
    ),
    min_size=1,
    max_size=12,
)


def make(journeys):
    size = np.array([len(touches) for touches, *_ in journeys])
    converted = np.array([done for _, done, *_ in journeys])
    hours = [late + 30.0 * i for t, _, _, late in journeys for i in reversed(range(len(t)))]
    return Paths(
        channel=np.array([c for touches, *_ in journeys for c in touches], np.int32),
        first=np.cumsum(size) - size,
        hours_before=np.array(hours),
        converted=converted,
        value=np.where(converted, [value for _, _, value, _ in journeys], 0.0),
        num_channels=5,
    )


@settings(max_examples=100, deadline=None)
@given(journeys)
def test_credits_sum_to_the_value(journeys):
    paths = make(journeys)
    credits = attribute(paths)
    assert set(credits) == set(MODELS)
    for name, credit in credits.items():
        assert credit.sum() == pytest.approx(paths.value.sum(), rel=1e-9, abs=1e-9), name
        assert (credit >= -1e-12).all(), name


@settings(max_examples=20, deadline=None)
@given(journeys)
def test_shapley_is_the_sum_over_coalitions(journeys):
    paths = make(journeys)

    def worth(coalition):
        return sum(v for t, done, v, _ in journeys if done and set(t) <= set(coalition))

    for channel, credit in enumerate(shapley(paths)):
        others = [c for c in range(5) if c != channel]
        expected = 0.0
        for size in range(5):
            weight = math.factorial(size) * math.factorial(4 - size) / math.factorial(5)
            for coalition in itertools.combinations(others, size):
                expected += weight * (worth([*coalition, channel]) - worth(coalition))
        assert credit == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(journeys, st.booleans())
def test_removal_effect_is_what_its_name_says(journeys, by_value):
    counts = transition_counts(make(journeys))
    chance = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    worth = np.arange(1.0, 7) if by_value else np.ones(6)  # after each channel, and the start

    def brought(chance):
        state, total = np.eye(8)[5], 0.0
        for _ in range(3000):  # channels, start, conversion, null
            state[6:] = 0
            total += (state[:6] * chance[:6, 6] * worth).sum()
            state = state @ chance
        return total

    whole = brought(chance)
    for channel, effect in enumerate(removal_effects(counts, worth if by_value else None)):
        without = chance.copy()
        without[channel] = np.eye(8)[7]  # leads nowhere
        lost = 1 - brought(without) / whole if whole else 0.0
        assert effect == pytest.approx(lost, abs=1e-6)


def test_weights_by_hand():
    # One journey a > b > c, worth 10, with touchpoints 14, 7 and 0 days before its end.
    paths = Paths(
        channel=np.array([0, 1, 2], np.int32),
        first=np.array([0]),
        hours_before=np.array([336.0, 168.0, 0.0]),
        converted=np.array([True]),
        value=np.array([7.0]),
        num_channels=3,
    )
    np.testing.assert_allclose(time_decay(paths), [1, 2, 4])
    np.testing.assert_allclose(position_based(paths), [2.8, 1.4, 2.8])
    np.testing.assert_allclose(linear(paths), [7 / 3] * 3)
    # A conversion that comes years later: no underflow.
    np.testing.assert_allclose(
        time_decay(paths._replace(hours_before=paths.hours_before + 1e6)), [1, 2, 4]
    )
    two = paths._replace(channel=paths.channel[:2], hours_before=paths.hours_before[:2])
    np.testing.assert_allclose(position_based(two), [3.5, 3.5, 0])


def test_nothing_to_share_out():
    empty = Paths(
        np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, bool), np.zeros(0), 2
    )
    for credit in attribute(empty).values():
        assert credit.tolist() == [0, 0]


def test_markov_by_value_equals_a_published_library(shipped):
    paths, channels = shipped
    # ChannelAttribution 2.2.5, markov_model(order=1, var_value=...): 18,611 by 100,000 simulated
    # paths; the expectation of that simulation is 18,799.
    assert markov(paths)[channels.index("alpha")] == pytest.approx(18_799, abs=1)


def test_value_follows_the_last_channel():
    # a converts to 1 each, b to 100 each, and no path joins them: removal takes exactly its own.
    paths = Paths(
        channel=np.array([0, 0, 1, 1], np.int32),
        first=np.arange(4),
        hours_before=np.zeros(4),
        converted=np.array([True, False, True, False]),
        value=np.array([1.0, 0, 100, 0]),
        num_channels=2,
    )
    np.testing.assert_allclose(markov(paths), [1, 100])

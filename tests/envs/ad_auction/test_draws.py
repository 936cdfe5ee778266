import numpy as np
import pytest
from scipy import stats

from rllib_seq.envs.ad_auction.draws import categorical, purpose_keys, uniforms

KEYS = purpose_keys(7, 4)[:, None]
USERS = np.repeat(np.arange(500), 100)
REQUESTS = np.tile(np.arange(100), 500)


def test_an_address_has_the_same_number_whoever_asks_beside_it():
    table = uniforms(KEYS, USERS, REQUESTS)
    order = np.random.default_rng(0).permutation(len(USERS))[:777]
    np.testing.assert_array_equal(uniforms(KEYS, USERS[order], REQUESTS[order]), table[:, order])
    one = uniforms(KEYS[2:3], USERS[5:6], REQUESTS[5:6])
    assert one[0, 0] == table[2, 5]


def test_more_purposes_leave_the_others_as_they_are():
    np.testing.assert_array_equal(purpose_keys(7, 9)[:4], purpose_keys(7, 4))
    seed = np.random.SeedSequence(7)
    np.testing.assert_array_equal(purpose_keys(seed, 4), purpose_keys(7, 4))
    assert (purpose_keys(8, 4) != purpose_keys(7, 4)).all()


def test_they_are_uniform_and_independent_along_every_axis():
    table = uniforms(KEYS, USERS, REQUESTS).reshape(4, 500, 100)
    assert table.min() >= 0
    assert table.max() < 1
    assert stats.kstest(table.ravel(), "uniform").pvalue > 1e-3
    for axis in range(3):
        first = np.delete(table, -1, axis).ravel()
        after = np.delete(table, 0, axis).ravel()
        correlation = np.corrcoef(first, after)[0, 1]
        assert abs(correlation) < 4 / np.sqrt(len(first)), axis


def test_other_seeds_are_other_worlds():
    near = uniforms(purpose_keys(8, 4)[:, None], USERS, REQUESTS)
    correlation = np.corrcoef(near.ravel(), uniforms(KEYS, USERS, REQUESTS).ravel())[0, 1]
    assert abs(correlation) < 4 / np.sqrt(near.size)


def test_categories_have_their_shares():
    uniform = (np.arange(1000) + 0.5) / 1000
    shares = np.array([0.2, 0.0, 0.5, 0.3])
    counts = np.bincount(categorical(shares, uniform), minlength=4)
    assert counts.tolist() == [200, 0, 500, 300]
    own = categorical(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0.99, 0.0]))
    assert own.tolist() == [0, 1]
    assert categorical(np.ones(1), uniform).max() == pytest.approx(0)

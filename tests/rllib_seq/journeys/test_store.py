"""SequenceStore: parity with a plain Python store, bounds, eviction, save and restore."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_seq.errors import UserError
from rllib_seq.journeys.store import SequenceStore
from rllib_seq.journeys.user_rows import user_keys

LENGTH = 3


def append(store, users, start=0.0):
    """One step per entry; state, action, reward and time all tell the number of the step."""
    number = start + np.arange(len(users))
    store.append(users, number[:, None], number.astype(int), number, number)
    return number


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(-3, 3), max_size=9), max_size=6))
def test_equals_a_plain_store(batches):
    store = SequenceStore(capacity=7, window_length=LENGTH, state_dim=1)
    plain: dict[int, list[float]] = {}
    start = 0.0
    for users in batches:
        for user, number in zip(users, append(store, users, start), strict=True):
            plain.setdefault(user, []).append(float(number))
        start += len(users)
    window = store.fetch(np.arange(-3, 4))
    for i, user in enumerate(range(-3, 4)):
        expected = plain.get(user, [])[-LENGTH:]
        padding = [0.0] * (LENGTH - len(expected))
        assert window.states[i, :, 0].tolist() == padding + expected
        for name in ("actions", "rewards", "timestamps"):
            assert getattr(window, name)[i].tolist() == padding + expected
        assert window.valid[i].tolist() == [False] * len(padding) + [True] * len(expected)
    assert len(store) == len(plain)
    assert store.evicted_lru == store.evicted_ttl == 0


def test_the_least_recently_used_goes_first():
    store = SequenceStore(capacity=3, window_length=2, state_dim=1)
    for user in (1, 2, 3):
        append(store, [user])
    store.fetch([1])  # a fetch is a use: 2 is the oldest now
    append(store, [4])
    assert store.fetch([1, 2, 3, 4]).valid.any(axis=1).tolist() == [True, False, True, True]
    assert store.evicted_lru == 1
    append(store, [2, 1])  # 1 is named in the same call: 3 or 4 must go, not 1
    assert store.fetch([1, 2]).valid.any(axis=1).all()
    assert len(store) == 3


def test_an_evicted_row_keeps_nothing_of_its_user():
    store = SequenceStore(capacity=1, window_length=3, state_dim=1)
    append(store, [1, 1, 1])
    append(store, [2])
    assert store.fetch([2]).valid.tolist() == [[False, False, True]]


def test_users_expire():
    store = SequenceStore(capacity=2, window_length=2, state_dim=1, ttl=10.0)
    append(store, [1], start=0.0)
    append(store, [2], start=8.0)
    assert store.fetch([1, 2], now=10.0).valid.any(axis=1).tolist() == [True, True]
    assert store.fetch([1, 2], now=11.0).valid.any(axis=1).tolist() == [False, True]
    append(store, [3], start=11.0)  # needs room: the expired one goes, though they were used last
    assert (store.evicted_ttl, store.evicted_lru) == (1, 0)
    append(store, [2], start=30.0)  # comes back too late: begins again
    assert store.fetch([2]).valid.tolist() == [[False, True]]
    assert store.evicted_ttl == 2


def test_a_million_users_stay_within_the_bound():
    capacity, batch = 250_000, 50_000
    tracemalloc.start()
    store = SequenceStore(capacity, window_length=4, state_dim=2)
    promised = store.nbytes
    assert store.bytes_per_user == 4 * (2 * 4 + 4 + 4 + 8) + 40
    assert promised == capacity * store.bytes_per_user
    rng = np.random.default_rng(0)
    users = rng.permutation(1_000_000) * 7919
    for start in range(0, len(users), batch):
        part = users[start : start + batch]
        times = np.full(batch, float(start))
        store.append(part, np.ones((batch, 2)), np.zeros(batch), np.zeros(batch), times)
        assert len(store) <= capacity
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert store.nbytes == promised
    assert peak < promised + 60 * capacity + 500 * batch
    assert store.evicted_lru == 1_000_000 - len(store)
    assert store.fetch(users[-100_000:]).valid[:, -1].all()
    assert not store.fetch(users[:100_000]).valid.any()


def test_restored_store_goes_on_alike(tmp_path):
    store = SequenceStore(capacity=2, window_length=2, state_dim=1, ttl=100.0)
    append(store, [5, 6, 5])
    store.save(tmp_path / "store.npz")
    again = SequenceStore.restore(tmp_path / "store.npz")
    for one in (store, again):
        append(one, [7], start=5.0)
    for left, right in zip(store.fetch([5, 6, 7]), again.fetch([5, 6, 7]), strict=True):
        np.testing.assert_array_equal(left, right)
    assert (len(again), again.evicted_lru, again.ttl) == (2, 1, 100.0)


def test_errors_name_the_value(tmp_path):
    with pytest.raises(UserError, match="capacity is 0"):
        SequenceStore(0, 1, 1)
    store = SequenceStore(1, 1, 2)
    with pytest.raises(UserError, match=r"states have shape \(1, 1\); expected \(1, 2\)"):
        append(store, [1])
    with pytest.raises(UserError, match="2 different users at once, but capacity is 1"):
        store.append([1, 2], np.zeros((2, 2)), [0, 0], [0, 0], [0, 0])
    with pytest.raises(UserError, match="cannot restore"):
        SequenceStore.restore(tmp_path / "no.npz")


def test_keys_of_names():
    names = [f"user-{i}" for i in range(100_000)] + ["ünï", ""]
    keys = user_keys(names)
    assert len(np.unique(keys)) == len(names)
    assert keys[0] == user_keys(["user-0"])[0]
    assert user_keys([]).shape == (0,)

"""The replay of whole journeys."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rllib_seq.lift.replay import COLUMNS, JourneyReplay


def journeys(numbers, lengths):
    """Steps that say whose they are and which."""
    steps = np.concatenate([np.arange(n) for n in lengths]).astype(np.float32)
    whose = np.repeat(numbers, lengths).astype(np.float32)
    columns = {name: steps for name in COLUMNS}
    return {**columns, "obs": np.stack([whose, steps], 1)}, np.asarray(lengths)


@given(
    st.integers(1, 12),
    st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=8), min_size=1, max_size=5),
)
def test_keeps_the_newest_whole_and_in_order(capacity, batches):
    """Whatever their lengths, and however they come in."""
    replay, number, all_lengths = JourneyReplay(capacity, 0), 0, []
    for lengths in batches:
        numbers = np.arange(number, number + len(lengths))
        number += len(lengths)
        all_lengths += lengths
        replay.add(*journeys(numbers, lengths))
    kept = range(max(0, number - capacity), number)
    assert len(replay) == len(kept)
    (observations,) = replay.steps(["obs"])
    found = {}
    for whose, step in observations:
        found.setdefault(int(whose), []).append(int(step))
    assert found == {n: list(range(all_lengths[n])) for n in kept}
    columns, lengths = replay.sample(20)
    assert columns["obs"].shape == (20, lengths.max(), 2)
    for row, length in zip(columns["obs"], lengths, strict=True):
        assert len(set(row[:length, 0])) == 1
        assert row[:length, 1].tolist() == list(range(length))


def test_goes_on_where_it_was_saved():
    """The same journeys, the same draws, the same place for the next."""
    replay, other = JourneyReplay(4, 0), JourneyReplay(4, 1)
    replay.add(*journeys([0, 1, 2, 3, 4], [1, 2, 3, 2, 1]))
    other.set_state(replay.get_state())
    for each in (replay, other):
        each.add(*journeys([5], [4]))
    left, right = replay.sample(16), other.sample(16)
    np.testing.assert_array_equal(left[1], right[1])
    np.testing.assert_array_equal(left[0]["obs"], right[0]["obs"])

"""Leaves are drawn in proportion to their priorities, whatever was written in what order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllib_seq.q_learning.sum_tree import SumTree


@given(
    st.integers(1, 40),
    st.lists(st.lists(st.tuples(st.integers(0, 39), st.floats(0, 10)), max_size=8), max_size=8),
)
def test_it_holds_what_was_written_last(
    capacity: int, writes: list[list[tuple[int, float]]]
) -> None:
    tree, expected = SumTree(capacity), np.zeros(capacity)
    for batch in writes:
        leaves = np.array([leaf % capacity for leaf, _ in batch], np.int64)
        priorities = np.array([priority for _, priority in batch])
        tree.set(leaves, priorities)
        for leaf, priority in zip(leaves, priorities, strict=True):
            expected[leaf] = priority
    assert np.array_equal(tree.get(np.arange(capacity)), expected)
    assert tree.total == pytest.approx(expected.sum())


def test_draws_are_in_proportion() -> None:
    priorities = np.array([0.0, 1.0, 0.0, 3.0, 0.5, 0.0, 5.5])
    tree = SumTree(7)
    tree.set(np.arange(7), priorities)
    drawn = tree.sample(40_000, np.random.default_rng(0))
    share = np.bincount(drawn, minlength=7) / len(drawn)
    expected = priorities / priorities.sum()
    # Four standard errors of a binomial share.
    assert (abs(share - expected) <= 4 * np.sqrt(expected / len(drawn))).all()
    assert (share[priorities == 0] == 0).all()


def test_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="all priorities are zero"):
        SumTree(3).sample(1, np.random.default_rng(0))

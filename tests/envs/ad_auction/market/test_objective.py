import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllib_seq.envs.ad_auction.market.objective import Goal, score


def test_score_by_hand():
    """Ten conversions at a CPA of 8: full score at a target of 8, a quarter at a target of 4."""
    assert score(10.0, 80.0, price=8.0) == 10.0
    assert score(10.0, 80.0, price=9.0) == 10.0
    assert score(10.0, 80.0, price=4.0) == 2.5
    assert score(10.0, 80.0, math.inf) == 10.0


def test_score_without_spend_or_without_count():
    assert score(3.0, 0.0, price=1.0) == 3.0
    assert score(0.0, 5.0, price=1.0) == 0.0
    assert score(0.0, 0.0, price=1.0) == 0.0


@given(value=st.floats(0.01, 1e3), spend=st.floats(0.01, 1e3), target=st.floats(0.01, 100))
def test_a_target_roas_counts_value_and_squares_the_shortfall(value, spend, target):
    goal = Goal(target_roas=target)
    assert goal.count(np.array(5.0), np.array(value)) == value
    expected = value * min(1.0, (value / spend / target) ** 2)
    assert score(value, spend, goal.price) == pytest.approx(expected)


def test_a_target_cpa_counts_conversions():
    goal = Goal(target_cpa=8.0)
    assert goal.count(np.array(5.0), np.array(50.0)) == 5.0
    assert goal.price == 8.0
    assert Goal().count(np.array(5.0), np.array(50.0)) == 50.0
    assert Goal().price == math.inf


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, math.nan, "8", True])
def test_bad_targets_are_named(bad):
    with pytest.raises(ValueError, match="target_cpa is .*above 0"):
        Goal(target_cpa=bad)
    with pytest.raises(ValueError, match="target_roas is .*above 0"):
        Goal(target_roas=bad)
    with pytest.raises(ValueError, match="give one"):
        Goal(target_cpa=1.0, target_roas=2.0)

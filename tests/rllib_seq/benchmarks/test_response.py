"""What the benchmark of response models judges."""

import pytest

from rllib_seq.benchmarks.response import check, mean_gain, run
from rllib_seq.errors import UserError


def test_the_mean_of_the_seeds_is_judged():
    # One seed below counts does not fail the set, a mean that is surely below does.
    static, counts = mean_gain([0.13, 0.11, 0.15]), mean_gain([0.001, -0.001, 0.002])
    assert counts["low"] < 0 < counts["high"]
    # Student's t with two degrees of freedom: 4.303 standard errors of .02 / sqrt(3).
    assert static["high"] == pytest.approx(0.13 + 4.303 * 0.02 / 3**0.5, abs=1e-4)
    less, below = mean_gain([0.1, 0.11, 0.12]), mean_gain([-0.01, -0.011, -0.012])
    for over, beside, holds in (
        (static, counts, [True, True]),
        (static, below, [True, False]),
        (less, counts, [False, True]),
    ):
        assert [row.holds for row in check("x", over, beside)] == holds
    with pytest.raises(UserError, match="--seeds is 1"):
        run(seeds=1)

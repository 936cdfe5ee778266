"""What the benchmark of response models judges."""

import pytest

from rllib_seq.benchmarks.response import judge_gains, run
from rllib_seq.errors import UserError
from rllib_seq.training.response.comparison import COUNTS, STATIC


def test_the_mean_of_the_seeds_isjudge_gains():
    # One seed below counts does not fail the set, a mean that is surely below does.
    some = judge_gains("x", {STATIC: [0.13, 0.11, 0.15], COUNTS: [0.001, -0.001, 0.002]})
    assert some["passed"]
    assert some["over_counts"]["low"] < 0 < some["over_counts"]["high"]
    # Student's t with two degrees of freedom: 4.303 standard errors of .02 / sqrt(3).
    assert some["over_static"]["high"] == pytest.approx(0.13 + 4.303 * 0.02 / 3**0.5, abs=1e-4)
    assert not judge_gains("x", {STATIC: [0.13] * 3, COUNTS: [-0.01, -0.011, -0.012]})["passed"]
    assert not judge_gains("x", {STATIC: [0.1, 0.11, 0.12], COUNTS: [0.0, 0.1, 0.2]})["passed"]
    with pytest.raises(UserError, match="--seeds is 1"):
        run(seeds=1)

"""`rllib-seq bench prices`: what a price model for each context is worth."""

import dataclasses

import numpy as np
import pytest

from rllib_seq.benchmarks.outcomes.prices import gain
from rllib_seq.envs.ad_auction.worlds.presets import PRESETS


def test_own_prices_pay_where_bids_are_shaded():
    """Two hours with one price each; a bidder who bids the truth need not know the hour."""
    first = dataclasses.replace(PRESETS["journey"], auction="first_price")
    second = dataclasses.replace(first, auction="second_price")
    hour = np.tile([0, 1], 500)
    price = np.where(hour == 0, 0.01, 0.1)
    assert gain(first, price, hour) > 10
    assert gain(second, price, hour) == pytest.approx(0.0, abs=1e-9)
    assert gain(first, price, np.zeros(1000, np.int64)) == pytest.approx(0.0, abs=1e-9)

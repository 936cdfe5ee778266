import numpy as np
import pytest

from rllib_seq.envs.ad_auction.market.valuations import LognormalValues, Regimes, UniformValues


def test_lognormal_values_have_the_stated_medians_spread_and_correlation():
    model = LognormalValues(median=(1.0, 3.0), spread=0.8, correlation=0.4)
    assert model.num_draws(3) == 4
    rng = np.random.default_rng(0)
    channel = rng.integers(0, 2, 200_000)
    values = model.draw(rng.random((200_000, 4)), channel)
    assert values.shape == (200_000, 3)
    for c, median in enumerate(model.median):
        assert np.median(values[channel == c]) == pytest.approx(median, rel=0.02)
    logs = np.log(values[channel == 0])
    assert logs.std(axis=0) == pytest.approx(0.8, rel=0.02)
    assert np.corrcoef(logs.T)[np.triu_indices(3, 1)] == pytest.approx(0.4, abs=0.02)


def test_uniform_values_are_the_uniforms():
    uniforms = np.random.default_rng(0).random((10, 4))
    model = UniformValues(highest=2.0)
    assert model.num_draws(4) == 4
    assert (model.draw(uniforms, np.zeros(10, np.int64)) == 2 * uniforms).all()


def test_regimes_jump_inside_the_flight_half_together():
    regimes = Regimes(changes=4, spread=0.5)
    drawn = [regimes.draw(np.random.default_rng(seed), 48, 2) for seed in range(3000)]
    ticks = np.array([ticks for ticks, _ in drawn])
    levels = np.log([levels for _, levels in drawn]).reshape(-1, 2)
    assert ticks.shape == (3000, 4)
    assert (np.diff(ticks) >= 0).all() and ticks.min() == 1 and ticks.max() == 47
    assert levels.std() == pytest.approx(0.5, rel=0.03)
    assert np.corrcoef(levels.T)[0, 1] == pytest.approx(0.5, abs=0.03)

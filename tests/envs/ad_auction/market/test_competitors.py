import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllib_seq.envs.ad_auction.market.competitors import (
    GammaPrices,
    LognormalPrices,
    QuantilePrices,
    Stationary,
    load_landscape,
)

LANDSCAPES = {
    "gamma": GammaPrices(1.4, 0.04),
    "lognormal": LognormalPrices(60.0, 0.85),
    "real": load_landscape("2259"),
    "uniform": QuantilePrices({}, {}, cap=1.0),
}
UNIFORMS = (np.arange(400_000) + 0.5) / 400_000


@pytest.mark.parametrize("name", LANDSCAPES)
@given(p=st.floats(0.001, 0.999))
def test_cdf_inverts_ppf(name, p):
    prices = LANDSCAPES[name]
    price = prices.ppf(p)
    # At an atom the distribution function jumps over p.
    assert prices.cdf(price) >= p - 1e-9
    assert prices.cdf(price * (1 - 1e-9) - 1e-12) <= p + 1e-6


@pytest.mark.parametrize("name", LANDSCAPES)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_mean_below_is_the_partial_mean_of_the_draws(name, share):
    prices = LANDSCAPES[name]
    draws, bid = prices.ppf(UNIFORMS), float(prices.ppf(share)) * 1.01
    assert prices.mean_below(bid) == pytest.approx(np.mean(draws * (draws <= bid)), rel=2e-3)
    assert prices.cdf(bid) == pytest.approx(np.mean(draws <= bid), abs=1e-3)


def test_real_landscape_has_the_quantiles_atoms_and_mean_of_its_source():
    draws = load_landscape("2259").ppf(UNIFORMS)
    published = {1: 5, 5: 9, 10: 16, 20: 24, 30: 37, 40: 51, 50: 70, 60: 97, 80: 160}
    published |= {70: 133, 90: 201, 95: 240, 99: 281}
    for percent, price in published.items():
        assert np.percentile(draws, percent) == pytest.approx(price, abs=1.0)
    for atom, mass in {20: 0.0605, 70: 0.0531, 160: 0.0491}.items():
        assert np.mean(draws == atom) == pytest.approx(mass, abs=1e-3)
    assert draws.mean() == pytest.approx(93.06, rel=0.02)
    assert draws.max() <= 300


def test_unit_scales_prices():
    assert load_landscape("2259", 1e-3).ppf(0.5) == pytest.approx(0.070)


def test_unknown_landscape_is_named():
    with pytest.raises(ValueError, match="'42'.*2259"):
        load_landscape("42")


def test_stationary_competitors_draw_every_price_from_their_distribution():
    landscape = LANDSCAPES["gamma"]
    competitors = Stationary(landscape)
    competitors.reset([np.random.default_rng(0)])
    uniforms = UNIFORMS[:1000, None]
    zero = np.zeros(1000, np.int64)
    prices = competitors.prices(uniforms, zero, zero, zero[:1])
    assert prices.shape == (1000, competitors.num_slots)
    assert (prices == landscape.ppf(uniforms)).all()
    competitors.observe(np.ones(1000))
    assert (competitors.prices(uniforms, zero, zero, zero[:1]) == prices).all()

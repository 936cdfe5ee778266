"""Forecasts of what users do next: what they are compared with, and what they leave out."""

import math

import pytest
import torch

from rllib_seq.lift.forecasts import OutcomeForecasts

SIGNALS = [1, 2]


def journeys(steps):
    """Two journeys, of `steps` and of two steps; what stands behind the second means nothing."""
    torch.manual_seed(0)
    batch = {
        "obs": torch.rand(2, steps, 4).round(),
        "won": torch.rand(2, steps) > 0.5,
        "rewards": torch.rand(2, steps).round() - 0.1,
        "payment": torch.full((2, steps), 0.1),
    }
    real = torch.ones(2, steps)
    real[1, 2:] = 0
    return torch.randn(2, steps, 5), batch, real


def test_an_untrained_forecast_has_the_loss_of_a_coin():
    features, batch, real = journeys(4)
    signals = batch["obs"][..., SIGNALS]
    # Of the steps 1 to 3 of the first journey and step 1 of the second: click and visit.
    coins = 2 * (3 + 1)
    coins += 2 * (4 + 2)  # of every step, whether another follows and whether the user converted
    sums = 0.0
    for row, length in ((0, 4), (1, 2)):
        for step in range(length):
            after = signals[row, step + 1 : length]
            discount = 0.8 ** torch.arange(len(after))
            sums += ((discount[:, None] * after).sum(0) ** 2).sum().item()
    wanted = (coins * math.log(2) + 0.5 * sums) / 6
    assert OutcomeForecasts(5, SIGNALS, 1.0)(features, batch, real).item() == pytest.approx(wanted)


def test_padding_changes_nothing():
    features, batch, real = journeys(4)
    heads = OutcomeForecasts(5, SIGNALS, 1.0)
    torch.nn.init.normal_(heads.layer.weight)
    loss = heads(features, batch, real)
    for column in (features, *batch.values()):
        column[1, 2:] = 1 if column.dtype == torch.bool else 7.0
    assert heads(features, batch, real) == loss


def test_what_happened_before_is_not_forecast():
    features, batch, real = journeys(4)
    heads = OutcomeForecasts(5, SIGNALS, 1.0)
    torch.nn.init.normal_(heads.layer.weight)
    loss = heads(features, batch, real)
    batch["obs"][:, 0] = 1 - batch["obs"][:, 0]  # a step's own signals are in its features
    assert heads(features, batch, real) == loss


def test_what_a_conversion_is_does_not_depend_on_the_currency():
    features, batch, real = journeys(4)
    cents = {name: batch[name] * 12_345.6 for name in ("rewards", "payment")}  # other rounding
    losses = [OutcomeForecasts(5, SIGNALS, unit) for unit in (1.0, 12_345.6)]
    for heads in losses:
        torch.nn.init.ones_(heads.layer.weight)
    assert losses[1](features, {**batch, **cents}, real) == losses[0](features, batch, real)

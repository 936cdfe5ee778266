"""Targets against what they stand for."""

import numpy as np
import torch

from rllib_seq.lift.targets import outcome_targets, win_ratio


def test_without_a_critic_they_are_what_came():
    """Values of 0 and full traces: the sum of rewards, this request's payment left out."""
    reward = torch.tensor([[-0.1, 0.0, 0.9], [-0.2, 0.5, 7.0]])
    payment = torch.tensor([[0.1, 0.0, 0.1], [0.2, 0.0, 7.0]])
    real = torch.tensor([[1.0, 1, 1], [1, 1, 0]])
    zero = torch.zeros(2, 3)
    targets = outcome_targets(reward, payment, zero, zero, torch.ones(2, 3), real)
    torch.testing.assert_close(targets, torch.tensor([[0.9, 0.9, 1.0], [0.5, 0.5, 0.0]]))


def test_without_a_trace_they_are_one_step():
    """Reward and the value of the next step."""
    reward, value = torch.rand(2, 4), torch.rand(2, 4)
    zero, real = torch.zeros(2, 4), torch.ones(2, 4)
    targets = outcome_targets(reward, zero, value, torch.rand(2, 4), zero, real)
    following = torch.cat([value[:, 1:], torch.zeros(2, 1)], dim=1)
    torch.testing.assert_close(targets, reward + following)


def test_the_luck_of_prices_does_not_reach_the_steps_before():
    """A critic that knows what a win brings takes dear and cheap ones for the same."""
    value, real, trace = torch.tensor([[0.3, 0.4]]), torch.ones(1, 2), torch.ones(1, 2)
    before = []
    for price in (0.05, 0.2):
        payment = torch.tensor([[0.0, price]])
        brought = torch.tensor([[0.0, 1.0]])
        taken = torch.tensor([[0.3, 0.9 - price]])
        before.append(outcome_targets(brought - payment, payment, value, taken, trace, real)[0, 0])
    torch.testing.assert_close(before[0], before[1])


def test_ratios_are_of_outcomes_and_at_most_one():
    """A high bid that wins says as much as the best bid would; one that loses says more."""
    won = torch.tensor([1.0, 0.0, 1.0, 0.0])
    chance, made = torch.tensor([0.2, 0.2, 0.8, 0.8]), torch.tensor([0.8, 0.8, 0.2, 0.2])
    expected = torch.tensor([0.25, 1.0, 1.0, 0.25])
    torch.testing.assert_close(win_ratio(won, chance, made), expected)


def test_expected_targets_are_the_value_of_the_best_bid_under_any_behaviour():
    """Retrace is unbiased where the critic is right, whatever was bid."""
    rng = np.random.default_rng(0)
    size, best, made = 400_000, 0.7, 0.35
    # One request follows: lost is worth .1, won .5, winning costs nothing.
    value = 0.1 + best * 0.4
    won = torch.from_numpy(rng.random(size) < made).float()
    came = 0.1 + 0.4 * won
    noisy = torch.from_numpy(rng.normal(0, 0.1, size)).float()
    reward = torch.stack([torch.zeros(size), came + noisy], dim=1)
    values = torch.tensor([[0.0, value]]).expand(size, 2)
    taken = torch.stack([torch.zeros(size), came], dim=1)
    trace = win_ratio(won, torch.full((size,), best), torch.full((size,), made))
    trace = torch.stack([torch.zeros(size), trace], dim=1)
    zero, real = torch.zeros(size, 2), torch.ones(size, 2)
    targets = outcome_targets(reward, zero, values, taken, trace, real)
    assert abs(targets[:, 0].mean().item() - value) < 1e-3

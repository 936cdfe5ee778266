import gymnasium as gym
import numpy as np
import pytest
import torch

from rllib_seq.models.action_distributions import SPREAD, NarrowGaussian

SPACE = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)


def test_outputs_are_means_and_the_spread_stays():
    torch.manual_seed(0)
    means = torch.tensor([[0.5, -0.2, 0.0]]).repeat(20_000, 1)
    assert NarrowGaussian.required_model_output_shape(SPACE, {}) == 3
    distribution = NarrowGaussian(means, None, action_space=SPACE)
    sample = distribution.sample()
    assert sample.mean(0).tolist() == pytest.approx([0.5, -0.2, 0.0], abs=0.01)
    assert sample.std(0).tolist() == pytest.approx([SPREAD] * 3, rel=0.05)
    assert torch.equal(distribution.deterministic_sample(), means)
    spread = torch.distributions.Normal(means, SPREAD)
    assert torch.allclose(distribution.logp(sample), spread.log_prob(sample).sum(-1), atol=1e-4)

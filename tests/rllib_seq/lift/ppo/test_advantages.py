"""The advantages of all bids, and the objective that they make, against what they stand for."""

import torch

from rllib_seq.lift.ppo.advantages import bid_advantages, expected_surrogate


def test_advantages_are_zero_in_the_mean_of_the_policy():
    values, logp = torch.randn(7, 5), torch.randn(7, 5).log_softmax(-1)
    advantages = bid_advantages(values, logp)
    torch.testing.assert_close((logp.exp() * advantages).sum(-1), torch.zeros(7))
    torch.testing.assert_close(advantages.diff(dim=-1), values.diff(dim=-1))


def test_the_gradient_is_that_of_the_expected_advantage():
    """At the policy that played, in closed form: pi(b) A(b) for the logit of b."""
    logits = torch.randn(7, 5, dtype=torch.double, requires_grad=True)
    old = logits.detach().log_softmax(-1)
    advantages = bid_advantages(torch.randn(7, 5, dtype=torch.double), old)
    expected_surrogate(logits.log_softmax(-1), old, advantages, 0.2).sum().backward()
    torch.testing.assert_close(logits.grad, old.exp() * advantages)


def test_it_is_the_mean_of_ppos_objective_over_the_bids_made():
    """PPO, one bid after the other, as often as the old policy makes each."""
    logp, old = torch.randn(2, 9, 4).mul(2).log_softmax(-1)
    advantages = bid_advantages(torch.randn(9, 4), old)
    total = torch.zeros(9)
    for bid in range(4):
        ratio = (logp[:, bid] - old[:, bid]).exp()
        ppo = torch.min(ratio * advantages[:, bid], ratio.clamp(0.9, 1.1) * advantages[:, bid])
        total += old[:, bid].exp() * ppo
    torch.testing.assert_close(expected_surrogate(logp, old, advantages, 0.1), total)


def test_with_an_entropy_bonus_the_best_policy_is_that_of_boltzmann():
    """Many small steps on one request: pi(b) = exp(Q(b) / bonus) / sum."""
    values, bonus = torch.tensor([0.3, 0.0, 0.1, 0.25]), 0.2
    logits = torch.zeros(4, requires_grad=True)
    for _ in range(2000):
        logp = logits.log_softmax(-1)
        old = logp.detach()
        gain = expected_surrogate(logp, old, bid_advantages(values, old), 0.2)
        (gradient,) = torch.autograd.grad(gain - bonus * (logp.exp() * logp).sum(), logits)
        with torch.no_grad():
            logits += gradient
    torch.testing.assert_close(logits.softmax(-1), (values / bonus).softmax(-1), atol=1e-3, rtol=0)

"""What all bids of a request are worth against each other, and the policy loss that this makes.

- `bid_advantages`: Q of every bid less the mean of Q under a policy
- `expected_surrogate`: PPO's clipped objective, in the mean over all bids

PPO weighs the one bid that was made by how lucky it was. A critic that knows Q of all bids says
what each would have brought, so the mean over bids is exact and the luck of one is out of it
(Allen et al. 2017, Ciosek and Whiteson 2018, for other critics).
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["bid_advantages", "expected_surrogate"]


def bid_advantages(values: Tensor, logp: Tensor) -> Tensor:
    """Return the advantages of all bids, `[..., A]`; their mean under the policy is 0.

    Args:
        values: Q of all bids, `[..., A]`.
        logp: logarithms of the policy's probabilities, the same.
    """
    return values - (logp.exp() * values).sum(-1, keepdim=True)


def expected_surrogate(logp: Tensor, old_logp: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """Return PPO's clipped objective of each step, `[...]`, in the mean over the old policy's bids.

        sum_b pi_old(b) min(r(b) A(b), clip(r(b), 1 - clip, 1 + clip) A(b)),  r = pi / pi_old

    At pi = pi_old its gradient is that of the expected advantage, sum_b pi(b) A(b).

    Args:
        logp: logarithms of the policy's probabilities, `[..., A]`.
        old_logp: of the policy that played, the same.
        advantages: of all bids, the same.
        clip: how far ratios count.
    """
    ratio = (logp - old_logp).exp()
    clipped = ratio.clamp(1 - clip, 1 + clip)
    return (old_logp.exp() * (ratio * advantages).minimum(clipped * advantages)).sum(-1)

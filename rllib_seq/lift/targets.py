"""What a request turned out to be worth: targets of the critic, from outcomes alone.

- `outcome_targets`: Retrace(lambda) over whole journeys, where the action is whether we won

A user's future depends on whether we won the request, and not on the bid or the price. So the
critic has two values per step, the worth L of the user if the request is lost and the lift D of a
win, and a step teaches them by what happened: `L + won * D` should be what the user brought from
then on, this request's payment left out.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["outcome_targets", "win_ratio"]

_LEAST = 1e-3


def win_ratio(won: Tensor, chance: Tensor, behaviour: Tensor) -> Tensor:
    """Return how much likelier an outcome is under another bid, at most 1, as Retrace has it.

    Args:
        won: what happened, 0 or 1, any shape.
        chance: to win with the bid that is evaluated, the same.
        behaviour: to win with the bid that was made, the same.
    """
    evaluated = torch.where(won > 0, chance, 1 - chance)
    made = torch.where(won > 0, behaviour, 1 - behaviour)
    return (evaluated / made.clamp(min=_LEAST)).clamp(max=1.0)


def outcome_targets(
    reward: Tensor, payment: Tensor, value: Tensor, taken: Tensor, trace: Tensor, real: Tensor
) -> Tensor:
    """Return what `L + won * D` should be at every step.

        G_t = r_t + V_(t+1) + c_(t+1) (G_(t+1) - Q_(t+1)),      target_t = G_t + payment_t

    with V the worth of a user under the best bid, Q what the critic makes of the outcome that
    came, payment included, and c the trace. This is Retrace (Munos et al. 2016).

    Args:
        reward: of each step, payments included, `[B, T]`.
        payment: what the reward holds of the request's price, `[B, T]`.
        value: V, `[B, T]`.
        taken: Q, `[B, T]`.
        trace: c, lambda times `win_ratio`, `[B, T]`.
        real: 1 where a step is, 0 in padding behind it, `[B, T]`.
    """
    targets = torch.empty_like(reward)
    following = reward.new_zeros(len(reward))
    for step in range(reward.shape[1] - 1, -1, -1):
        gained = reward[:, step] + following
        targets[:, step] = gained + payment[:, step]
        following = value[:, step] + trace[:, step] * (gained - taken[:, step])
        following = following * real[:, step]
    return targets * real

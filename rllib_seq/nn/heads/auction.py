"""From features to the worth of every bid, by what an auction is.

- `AuctionHead`: two numbers per step and one price model give Q of all bid levels

The price of a request does not depend on the user, so for a history h and a bid b

    Q(h, b) = L(h) + F(b) D(h) - payment(b)

with L the worth of the user if the request is lost, D what winning is worth more than losing (the
lift), F the chance to win and payment the expected cost of the bid (Badanidiyuru et al. 2022).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rllib_seq.nn.layers import check_size


class AuctionHead(nn.Module):
    """Q values of A bid levels, `[..., A]`, in currency units.

    What bids win and pay is not learned by gradients: anyone who trains the head sets `win` and
    `payment`. Until then every bid level is as likely to win as it is high.
    """

    def __init__(self, features: int, levels: int, contexts: int = 0) -> None:
        """Build the head.

        Args:
            features: width of its input, the context included.
            levels: A.
            contexts: K; the last K features tell in which context a request comes, one-hot. 0: one
                price model for all.
        """
        super().__init__()
        self.contexts = contexts
        self.worth = nn.Linear(features - contexts, 2)
        # The first bids are a tenth of the highest, and the first worths 0.
        nn.init.normal_(self.worth.weight, std=0.1 / (features - contexts) ** 0.5)
        with torch.no_grad():
            self.worth.bias.copy_(torch.tensor([0.0, 0.1]))
        rising = torch.linspace(0, 1, check_size("levels", levels)).repeat(max(contexts, 1), 1)
        self.unit: Tensor
        self.win: Tensor
        self.payment: Tensor
        self.register_buffer("unit", torch.ones(()))
        self.register_buffer("win", rising)
        self.register_buffer("payment", rising**2 / 2)

    def set_prices(self, win: Tensor, payment: Tensor) -> None:
        """Set what bid levels win and cost in each context, `[K, A]` (`[1, A]` without contexts).

        Args:
            win: chance to win.
            payment: expected payment times what a unit of spend counts, currency units.
        """
        self.win.copy_(win)
        self.payment.copy_(payment)

    def lost_and_lift(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return L and D of features `[..., features]`, each `[...]`, currency units."""
        shown = features[..., : features.shape[-1] - self.contexts]
        lost, lift = (self.worth(shown) * self.unit).unbind(-1)
        return lost, lift

    def prices(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return `win` and `payment` where each request comes, `[..., A]`, or one row for all."""
        if not self.contexts:
            return self.win[0], self.payment[0]
        context = features[..., features.shape[-1] - self.contexts :]
        return context @ self.win, context @ self.payment

    def forward(self, features: Tensor) -> Tensor:
        """Map features `[..., features]` to Q values `[..., A]`."""
        lost, lift = self.lost_and_lift(features)
        win, payment = self.prices(features)
        return lost[..., None] + win * lift[..., None] - payment

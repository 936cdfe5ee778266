"""Policies with knowledge that the agent lacks, and the exact worth of what they know.

- `FullInformationBids`: sees the stage; see `values.full_information`.
- `BayesBids`: knows the world's numbers and filters the stage exactly from all it has seen of the
  user; bids the belief's mean of the full-information advantage. A strong reference, not the
  optimum under partial information (see `optimum`), so more than 100 % is possible.
- `best_fixed`, `best_memoryless`, `best_one_step`: see `worlds.memoryless`.

Exact for `journey` (no budget, no end of flight). With a budget the campaign's shadow price stands
for it, the flight's end and its censored conversions are ignored, and so is, but for the filter of
`BayesBids`, how impressions wear out and whom they appeal to: then these are references.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.simulator.state import Outcome
from rllib_seq.envs.ad_auction.simulator.step import AuctionSimulator
from rllib_seq.envs.ad_auction.worlds.memoryless import (
    best_fixed,
    best_memoryless,
    best_one_step,
)
from rllib_seq.envs.ad_auction.worlds.values import best_response, full_information, kernels

__all__ = [
    "BayesBids",
    "FullInformationBids",
    "best_fixed",
    "best_memoryless",
    "best_one_step",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class FullInformationBids:
    """Bids the best response to the full-information advantage at the true stage."""

    name = "full_information"

    def start(self, simulator: AuctionSimulator) -> None:
        """See `BidPolicy.start`."""
        self._simulator = simulator
        self._advantage = full_information(simulator.preset).advantage

    def bids(self, users: Ints) -> Floats:
        """See `BidPolicy.bids`."""
        sim = self._simulator
        segment = sim.state.segment[users]
        at = (segment, sim.request[users], sim.stage[users], sim.channel(users))
        return best_response(sim.preset, self._advantage[at])

    def update(self, users: Ints, outcome: Outcome) -> None:
        """Nothing to learn."""


class BayesBids:
    """Exact filter of the hidden stage; bids the belief's mean advantage.

    Attributes:
        belief: `[U, S]`, probability of each stage given all that was observed of the user.
    """

    name = "bayes"

    def start(self, simulator: AuctionSimulator) -> None:
        """See `BidPolicy.start`."""
        self._simulator = simulator
        self._model = simulator.preset.users
        self._advantage = full_information(simulator.preset).advantage
        self._kernels = kernels(self._model)
        self.belief = np.tile(self._model.initial_share, (simulator.num_users, 1))

    def bids(self, users: Ints) -> Floats:
        """See `BidPolicy.bids`."""
        sim = self._simulator
        self._channel = sim.channel(users)
        self._response = sim.response(users, np.zeros(len(users), np.int64))
        return best_response(sim.preset, self.advantage(users))

    def advantage(self, users: Ints) -> Floats:
        """`[n]`: what winning the users' requests is worth more than losing, by their beliefs."""
        sim = self._simulator
        segment, request = sim.state.segment[users], sim.request[users]
        by_stage = self._advantage[segment, request, :, sim.channel(users)]  # (n, S)
        return (self.belief[users] * by_stage).sum(axis=1)

    def update(self, users: Ints, outcome: Outcome) -> None:
        """Filters the beliefs by what the requests brought."""
        model, prior, channel = self._model, self.belief[users], self._channel
        click, move = model.click[:, channel].T, model.move_up[:, channel].T  # (n, S)
        if self._response is not None:
            click = np.minimum(click * self._response.click[:, None], 1.0)
            move = np.minimum(move * self._response.move[:, None], 1.0)
        clicked = prior * np.where(outcome.clicked[:, None], click, 1 - click)  # stage before
        won = clicked * (1 - model.hazard_won) * (1 - model.churn)  # who stays
        up = (won * move)[:, :-1]
        won[:, :-1] -= up
        won[:, 1:] += up
        posterior = np.where(outcome.won[:, None], won, prior @ self._kernels.lost)
        posterior *= np.where(outcome.visited[:, None], model.visit, 1 - model.visit)
        # Nothing is left of a belief where no one could stay; nothing will be asked of it.
        self.belief[users] = posterior / np.maximum(posterior.sum(axis=1, keepdims=True), 1e-300)

"""The best that could have been bought, with all requests and prices known: the oracle of a flight.

Every request is bought in at most one of S slots, each at a known price; what counts is the total
count of the objective within the budget. That is a multiple-choice knapsack.

- `frontier`: what the most efficient purchases bring, cheapest first; greedy, exact as a relaxation
  (one purchase may be fractional).
- `optimum`: the best point of the frontier, for a budget and a price per unit of the count. For one
  slot it is the greedy knapsack, and its bids are v / lambda.
- `linear_program`: the same as a linear (or integer) programme by HiGHS, with further constraints.

A relaxed optimum is at least that of whole purchases, and above it by less than one purchase.
Sources: Sinha and Zoltners, The multiple-choice knapsack problem (1979); Chiappa et al.,
Auto-bidding in real-time auctions via oracle imitation learning (KDD 2025).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse

from rllib_seq.envs.ad_auction.market.objective import score

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Frontier(NamedTuple):
    """Purchases in order of efficiency, each `[m]`; a later one may move a request up a slot."""

    request: Ints
    slot: Ints
    counted: Floats
    """Total count after the purchase."""
    spend: Floats
    """Total spend after the purchase."""


def frontier(counts: Floats, costs: Floats) -> Frontier:
    """All purchases on the upper hulls of the requests, most efficient first.

    Args:
        counts: `[n, S]`, what each slot of each request would bring; at least 0.
        costs: `[n, S]`, what it would cost; at least 0.
    """
    rows = np.arange(len(counts))
    count, cost = np.zeros(len(counts)), np.zeros(len(counts))
    found: list[tuple[Ints, Ints, Floats, Floats]] = []
    for _ in range(counts.shape[1]):  # one step along every request's hull
        more, dearer = counts - count[:, None], costs - cost[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):  # what is free is infinitely efficient
            efficiency = np.where(more > 0, more / dearer, 0.0)
        slot = efficiency.argmax(axis=1)
        taken = efficiency[rows, slot] > 0
        at = rows[taken], slot[taken]
        found.append((*at, more[at], dearer[at]))
        count[taken], cost[taken] = counts[at], costs[at]
    request, slot, more, dearer = (np.concatenate(part) for part in zip(*found, strict=True))
    with np.errstate(divide="ignore"):
        order = np.argsort(-(more / dearer), kind="stable")
    return Frontier(request[order], slot[order], np.cumsum(more[order]), np.cumsum(dearer[order]))


class Optimum(NamedTuple):
    """Result of `optimum`."""

    score: float
    """Of the relaxation: no whole purchases score more."""
    spend: float
    """Of the relaxation."""
    shadow_price: float
    """Count per currency unit at the margin (lambda): bids of count / lambda buy the optimum. 0 if
    everything worth anything is bought."""
    slot: Ints
    """`[n]`, the whole purchases in it: slot of each request, -1 for none."""


def optimum(counts: Floats, costs: Floats, budget: float, price: float = math.inf) -> Optimum:
    """Maximizes `score(count, spend, price)` with spend at most the budget.

    For any spend the frontier has the highest count, and the score rises with the count; so the
    optimum is a point of the frontier, and on a piece of it with slope e, count = a + e * spend, it
    is an end, the point where the average price is `price`, or, beyond that, spend = 2 a / e.

    Args:
        counts: `[n, S]`, what each slot of each request would bring; at least 0.
        costs: `[n, S]`, what it would cost; at least 0.
        budget: currency units.
        price: what one unit of the count may cost on average, see `Goal.price`.
    """
    line = frontier(counts, costs)
    ends = np.concatenate([[0.0], line.counted]), np.concatenate([[0.0], line.spend])
    (c0, c1), (s0, s1) = ((end[:-1], end[1:]) for end in ends)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (c1 - c0) / (s1 - s0)
        offset = c0 - slope * s0
        turning = [price * offset / (1.0 - price * slope), 2.0 * offset / slope]
    within = np.minimum(s1, budget)
    spends = np.stack([s0, within] + [np.clip(turn, s0, within) for turn in turning])
    spends = np.where(np.isfinite(spends) & (s0 <= budget), spends, 0.0)  # (4, m)
    # Of a free purchase (s0 = s1) only the end matters: all of its count.
    share = np.where(s1 > s0, (spends - s0) / np.where(s1 > s0, s1 - s0, 1.0), 1.0)
    scores = np.where(s0 <= budget, score(c0 + share * (c1 - c0), spends, price), 0.0)
    if scores.size == 0:
        return Optimum(0.0, 0.0, 0.0, np.full(len(counts), -1))
    candidate, piece = np.unravel_index(scores.argmax(), scores.shape)
    spend = float(spends[candidate, piece])
    whole = int(np.searchsorted(line.spend, spend, side="right"))
    slot = np.full(len(counts), -1)
    slot[line.request[:whole]] = line.slot[:whole]  # the last purchase of a request stands
    margin = float(slope[whole]) if whole < len(slope) else 0.0
    return Optimum(float(scores[candidate, piece]), spend, margin, slot)


class Program(NamedTuple):
    """Result of `linear_program`."""

    counted: float
    spend: float
    share: Floats
    """`[n, S]`, what is bought of each slot, in [0, 1]; at most 1 per request."""


def linear_program(
    counts: Floats,
    costs: Floats,
    budget: float,
    credits: Sequence[Floats] = (),
    integral: bool = False,
) -> Program:
    """Maximizes the count by HiGHS, with spend at most the budget and at most every credit.

    Args:
        counts: `[n, S]`, what each slot of each request would bring.
        costs: `[n, S]`, what it would cost.
        budget: currency units.
        credits: each `[n, S]`: the purchases must bring at least as much of it as they cost. A
            target CPA is `tCPA * conversions`, a target ROAS `value / tROAS`; any number of them.
        integral: whole purchases alone; for small n.

    Raises:
        RuntimeError: if HiGHS does not find the optimum.
    """
    num_requests, num_slots = counts.shape
    one_slot = sparse.kron(sparse.eye(num_requests), np.ones((1, num_slots)), format="csr")
    money = [costs.ravel()] + [(costs - credit).ravel() for credit in credits]
    limits = np.concatenate([np.ones(num_requests), [budget], np.zeros(len(credits))])
    rows = sparse.vstack([one_slot, sparse.csr_matrix(np.stack(money))])
    result = optimize.milp(
        -counts.ravel(),
        integrality=np.full(counts.size, int(integral)),
        bounds=optimize.Bounds(0.0, 1.0),
        constraints=optimize.LinearConstraint(rows, ub=limits),
    )
    if result.x is None:
        raise RuntimeError(f"HiGHS found no optimum: {result.message}")
    share = result.x.reshape(counts.shape)
    return Program(float((share * counts).sum()), float((share * costs).sum()), share)

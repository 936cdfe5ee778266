"""What the bidder is asked, and what it says.

- `BidQuery`, `BidDecision`: one impression, and the answer.
- `buy`: what bids buy of offers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rllib_seq.serving.openrtb.bid_ids import Bid
from rllib_seq.serving.openrtb.eligibility import Bought, Offer

__all__ = ["BidDecision", "BidQuery", "buy"]


class BidQuery(NamedTuple):
    """A bid request, as far as it matters here."""

    user: int
    """See `openrtb.identity.user_key`."""
    channel: int
    segment: int
    device: int
    floor: float
    """Currency units per impression."""
    creatives: int = -1
    """The policy's creatives that can be shown, as bits."""
    remembered: bool = True
    """Whether the user is; otherwise they are without a past, and their key is random."""
    test: bool = False
    """Whether the bid is for a test: nothing is set aside, and nothing is counted."""
    offer: Offer | None = None
    """What can be bought; None: a bid buys whatever the policy shows."""


class BidDecision(NamedTuple):
    """What is said to a request."""

    bid: Bid | None
    """None: no bid."""
    why: str
    """"bid", or why there is none: "policy", "floor", "cap", "budget", "over"."""
    bought: Bought | None = None
    """Of the query's offer."""


def buy(
    offers: Sequence[Offer | None], shown: list[int], prices: list[float], why: list[str]
) -> dict[int, Bought]:
    """What is bought with bids, by place.

    Args:
        offers: `[n]`; None: nothing in particular is bought.
        shown: `[n]`, creatives of the policy.
        prices: `[n]`, currency units; of deals with a fixed price they become that.
        why: `[n]`; only where it is "bid" something is bought, and where nothing can be it becomes
            "floor".
    """
    bought = {}
    for place, offer in enumerate(offers):
        if offer is None or why[place] != "bid":
            continue
        found = offer.buy(shown[place], prices[place])
        if found is None:
            why[place] = "floor"
        else:
            bought[place] = found
            prices[place] = found.amount
    return bought

"""What an environment says of the requests it has served, beside observation and reward.

- `journey_infos`: of the user whose request it was, whose journey is the stream
- `campaign_infos`: of the campaign, if that is the stream

Infos are for learning and looking, never for an observation: if no one leaves (see
`AuctionConfig.reward`), `converted` and `survival` know the hidden stage.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.simulator.state import Outcome
from rllib_seq.envs.ad_auction.worlds.presets import EVENT_REWARDS, AuctionConfig


def journey_infos(outcome: Outcome, config: AuctionConfig) -> dict[str, NDArray[Any]]:
    """Returns what `n` requests brought, `[n]` each.

    Args:
        outcome: of the requests.
        config: says whether anybody leaves.

    Returns:
        `won`, `clicked` and `converted` as bools; a conversion counts where it is caused, whenever
        it happens. If no one leaves, `converted` is its probability for a user who is still there,
        and `survival` the probability that they are, after the request.
    """
    happened = {"won": outcome.won, "clicked": outcome.clicked, "converted": outcome.converted}
    if config.reward in EVENT_REWARDS:
        return happened
    return {
        **happened,
        "converted": outcome.conversion_probability,
        "survival": outcome.survival * (1.0 - outcome.departure_probability),
    }


def campaign_infos(outcome: Outcome, config: AuctionConfig) -> dict[str, NDArray[Any]]:
    """The same, and `paid`; the campaign goes on no matter who leaves it, so nothing survives it.

    If no one leaves, `converted` is the probability that the user is there and converts.
    """
    brought = journey_infos(outcome, config)
    if "survival" in brought:
        del brought["survival"]
        brought["converted"] = outcome.survival * outcome.conversion_probability
    return {"paid": outcome.paid, **brought}

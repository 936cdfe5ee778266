"""What a bidder observes of bid requests, in natural units.

- `Signals`: the arrays that an observation is built from.
- `Layout`: the names and units of a world that it is built for.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Signals(NamedTuple):
    """What is observed of `n` bid requests; every array `[n]` unless it says otherwise.

    The first six are all that "raw" takes. Hours "since" are infinite if it never happened.
    """

    channel: Ints
    """Index of the channel; -1 for none (the journey has ended)."""
    clicked: Bools
    """The user clicked our last impression, if their last request brought one."""
    visited: Bools
    """They visited the site after their last request."""
    last_profit: Floats
    """Realised profit of their last request, in units of the conversion value."""
    budget_left: Floats
    """Share."""
    flight_left: Floats
    """Share."""
    requests: Ints = np.zeros(0, np.int64)
    """The user's requests before this one; also the following."""
    impressions: Ints = np.zeros(0, np.int64)
    clicks: Ints = np.zeros(0, np.int64)
    visits: Ints = np.zeros(0, np.int64)
    won: Bools = np.zeros(0, np.bool_)
    """We won their last request."""
    since_request: Floats = np.zeros(0)
    since_impression: Floats = np.zeros(0)
    since_click: Floats = np.zeros(0)
    since_visit: Floats = np.zeros(0)
    segment: Ints = np.zeros(0, np.int64)
    device: Ints = np.zeros(0, np.int64)
    creative: Ints = np.zeros(0, np.int64)
    """What they were shown last; -1 for nothing yet."""
    repeats: Ints = np.zeros(0, np.int64)
    """How many of their last impressions in a row were of that creative."""
    hour: Floats = np.zeros(0)
    """Since Monday midnight, when the campaign started."""
    session: Ints = np.zeros(0, np.int64)
    """Requests before this one without a pause of more than half an hour."""
    win_rate: Floats = np.zeros(0)
    """Of the campaign's recent requests (half-life 6 hours); 0 before the first."""
    mean_paid: Floats = np.zeros(0)
    """Mean clearing price of its recent wins, currency units; 0 before the first."""
    last_paid: Floats = np.zeros(0)
    """Clearing price of the user's last impression, currency units; 0 for none."""
    spent: Floats = np.zeros(0)
    """On this user so far, currency units."""
    number: Ints = np.zeros(0, np.int64)
    """Any number that tells users apart."""
    age: Floats = np.zeros(0)
    """Hours since their first request."""
    touches: Floats = np.zeros((0, 1))
    """`[n, C]`: their impressions by channel."""
    credit: Floats = np.zeros((0, 1))
    """`[n, C]`: the campaign's conversions by channel of the last impression before them."""
    exposure: Floats = np.zeros(0)
    """Their impressions, each halved every day since."""
    conversions: Floats = np.zeros(0)
    """Of the campaign, until now."""
    campaign_impressions: Floats = np.zeros(0)
    """Of the campaign, until now."""
    recent_impressions: Floats = np.zeros(0)
    """The same, each halved every day since."""
    since_conversion: Floats = np.zeros(0)
    """Hours since the campaign's last conversion."""


class Layout(NamedTuple):
    """Names and units of a world."""

    kind: str
    channels: tuple[str, ...]
    segments: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    creatives: tuple[str, ...] = ()
    floor: float = 0.0
    highest_bid: float = 1.0
    """Unit of prices, currency units."""
    value: float = 1.0
    """Unit of spend on one user: the value of a conversion, currency units."""
    shadow_price: float = 0.0

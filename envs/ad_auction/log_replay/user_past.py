"""What a log knows of the user of each auction by then, whichever episode it falls into.

- `user_past`: requests and gains before, and the time since the last request.
- `PAST`: names and meanings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rllib_seq.envs.ad_auction.log_replay.auction_log import AuctionLog

PAST = (
    ("user_requests", "log2 of 1 + requests of the user before, over 8, at most 1"),
    ("user_gains", "log2 of 1 + gains of theirs that are known by now, over 4, at most 1"),
    ("user_silence", "2 ** -(days since their last request); 0 without one"),
)
_DAY = 86_400_000_000  # microseconds


def user_past(log: AuctionLog) -> NDArray[np.float64]:
    """`[n, 3]`, see `PAST`, of auctions in the order of time.

    The past is the log's own, no matter who bids in the replay. A gain counts from the moment after
    it was known.
    """
    n, known = len(log), log.time if log.gain_time is None else log.gain_time
    gained = np.flatnonzero(log.clicked)
    # Requests, and gains behind the requests of the same moment, by user and time.
    user = np.concatenate([log.user, log.user[gained]])
    time = np.concatenate([log.time, known[gained]])
    is_gain = np.arange(len(user)) >= n
    order = np.lexsort([is_gain, time, user])
    first = np.searchsorted(user[order], user[order])  # of the user
    past = np.zeros((n, 3))
    for column, counted, octaves in ((0, ~is_gain, 8.0), (1, is_gain, 4.0)):
        before = np.concatenate([[0], np.cumsum(counted[order])])
        count = before[:-1] - before[first]
        found = np.empty(len(user))
        found[order] = np.minimum(np.log2(1 + count) / octaves, 1.0)
        past[:, column] = found[:n]
    rows = order[~is_gain[order]]
    same = log.user[rows[1:]] == log.user[rows[:-1]]
    silence = (log.time[rows[1:]] - log.time[rows[:-1]]) / _DAY
    past[rows[1:][same], 2] = 2.0 ** -silence[same]
    return past

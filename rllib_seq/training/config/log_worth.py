"""What a logged request is worth, given its user's past: a response model of the training days.

- `with_worth`: the log with `AuctionLog.worth`, where that is better than the request's own fields.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.log_replay.auction_log import AuctionLog
from rllib_seq.envs.ad_auction.log_replay.world import ReplayConfig

_FEWEST_GAINS = 50  # of the training days, for a model of users
_VERSION = 1


def with_worth(log: AuctionLog, config: ReplayConfig) -> AuctionLog:
    """The log with the expected gain of every request, given what was known of its user by then.

    The model learns from the training days alone. The past is the log's: impressions and gains as
    they were, no matter who bids in the replay. Every process needs the same figures, so they
    are kept in a file of the user's cache.

    Args:
        log: auctions in the order of time.
        config: how it is replayed.

    Returns:
        The log as it is where the training days have fewer than 50 gains, or no user comes twice,
        or the past makes no better prediction on the last of the training days.
    """
    if config.worth == "fields":
        return log
    train, _ = log.split(config.held_out_days)
    gains = int(train.clicked.sum())
    returns = len(train) - len(np.unique(train.user))
    if min(gains, len(train) - gains) < _FEWEST_GAINS or returns < len(train) // 10:
        return log
    key = hashlib.sha256(f"{_VERSION} {len(train)}".encode())
    for values in (log.time, log.user, log.price, log.gains, *log.codes.values()):
        key.update(np.ascontiguousarray(values).tobytes())
    path = _cache() / f"worth-{key.hexdigest()[:24]}.npy"
    try:
        worth = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # not there, or not whole
        worth = _model(log, len(train))
        _keep(path, worth)
    return dataclasses.replace(log, worth=worth) if len(worth) else log


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "rllib_seq"


def _keep(path: Path, worth: NDArray[np.float64]) -> None:
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            np.save(file, worth)
        part.replace(path)
    except OSError as error:  # costs time alone: every process then trains the model
        logging.getLogger(__name__).warning("cannot keep %s: %s", path, error.strerror)


def _model(log: AuctionLog, train: int) -> NDArray[np.float64]:
    """`[n]` expected gains; `[0]` where the user's past does not help."""
    from rllib_seq.training.response.model import fit_response
    from rllib_seq.training.response.table import ResponseTable

    order = np.lexsort([np.arange(len(log)), log.user])
    user = np.unique(log.user[order], return_inverse=True)[1]
    at = log.time if log.gain_time is None else log.gain_time
    table = ResponseTable(
        user=user.astype(np.int64),
        time=log.time[order] / 1e6,
        outcome=log.clicked[order],
        known=np.where(log.clicked, at / 1e6, np.inf)[order],
        numbers={},
        words={name: (codes[order], list(log.words[name])) for name, codes in log.codes.items()},
        has_clock=True,
        has_time=True,
        name="gain",
    )
    first_days = (order < train) & log.shown[order]
    model = fit_response(table, first_days)
    if not model.helps:
        return np.zeros(0)
    probability = np.empty(len(log))
    probability[order] = model.predict(table)
    gains = log.gains[:train][log.clicked[:train]]
    return probability * float(gains.mean())

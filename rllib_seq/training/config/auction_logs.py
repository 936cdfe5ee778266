"""A user's event log as auctions to replay, and the environment that replays them.

- `read_auctions`: from files that `rllib-seq discover` knows to an `AuctionLog`.
- `replay_env`: what RLlib builds for the environment `"auction_log"`.
- `replay_world`: the world that its env config describes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.checks import check_keys
from rllib_seq.envs.ad_auction.log_replay.auction_log import AuctionLog
from rllib_seq.envs.ad_auction.log_replay.gym_env import AuctionLogEnv
from rllib_seq.envs.ad_auction.log_replay.multi_agent_env import AuctionLogUsersEnv
from rllib_seq.envs.ad_auction.log_replay.world import ReplayConfig, ReplayWorld
from rllib_seq.errors import UserError
from rllib_seq.journeys.event_log import EventLog, load_events
from rllib_seq.journeys.patterns import LOOKBACK
from rllib_seq.journeys.reading import ReadingOptions, reading_options
from rllib_seq.training.config.log_worth import with_worth

_FEATURES = ("channel", "segment", "device", "creative")
_ANSWER = 3_600_000_000  # microseconds from a request to its impression, at most


def read_auctions(
    paths: Sequence[str | Path], options: ReadingOptions | None = None, gain: str = "click"
) -> AuctionLog:
    """Reads logged auctions.

    An auction is a request, or an impression without one. It is won if an impression follows its
    request; a click belongs to the impression of its user before it. What had to be reached is
    `market_price` (of a lost request: the minimum to win), or the floor where that is higher. Where
    only our bid (`price`) is known, the price is censored: above the bid if the auction was lost,
    else at most the bid. An auction of which neither is known is left out.

    Args:
        paths: event logs or iPinYou rows (docs/guides/discover.md); together they are one log.
        options: how the log names its columns, events and times.
        gain: see `ReplayConfig`.

    Raises:
        UserError: a file cannot be read, no auction has a price or a bid, or there is no
            conversion to gain.
    """
    log = load_events([Path(path) for path in paths], options=options)
    request, shown = _auctions(log)
    row = np.where(request >= 0, request, shown)  # what is known of an auction stands there
    other = np.where(shown >= 0, shown, row)

    def either(values: NDArray[np.float32]) -> NDArray[np.float64]:
        """The request's value, else the impression's."""
        found: NDArray[np.float64] = np.where(np.isnan(values[row]), values[other], values[row])
        return found.astype(np.float64)

    price = np.fmax(either(log.market_price), either(log.floor))
    price[np.isnan(either(log.market_price))] = np.nan
    bid, won = either(log.price), shown >= 0
    known = ~np.isnan(price) | ~np.isnan(bid)
    if not known.any() or (np.isnan(price).all() and won.all()):
        names = ", ".join(map(str, paths))
        raise UserError(
            f"{names}: no impression and no request has a market_price; a replay needs what the "
            "auctions cost (--column market_price=COLUMN)"
        )
    kept = np.flatnonzero(known)
    kept = kept[np.argsort(log.time[row[kept]], kind="stable")]
    row, price, bid, won = row[kept], price[kept], bid[kept], won[kept]
    gains, gain_time = _gains(log, gain)
    impression = np.maximum(shown[kept], 0)
    brought = np.where(won, gains[impression], 0.0)
    words = {name: tuple(log.names[name]) for name in _FEATURES}
    return AuctionLog(
        time=log.local_time[row],
        user=log.user[row].astype(np.int64),
        price=price,
        clicked=brought > 0,
        gain=brought,
        gain_time=gain_time[impression],
        codes={name: getattr(log, name)[row].astype(np.int64) for name in _FEATURES},
        words=words,
        won=won,
        bid=bid,
        warnings=tuple(log.bad.warnings()),
    )


def _auctions(log: EventLog) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Request and impression of every auction, -1 where there is none; rows of the log.

    An impression belongs to the last request of its user within the hour before it that has none
    yet, as brackets belong together.
    """
    is_request = log.is_event("request")
    rows = np.flatnonzero(is_request | log.is_event("impression"))
    opens, user = is_request[rows], log.user[rows]
    depth = np.cumsum(np.where(opens, 1, -1))
    level = np.where(opens, depth, depth + 1)
    order = np.lexsort([np.arange(len(rows)), level, user])
    ends = order[1:]
    begins = order[:-1]
    pair = opens[begins] & ~opens[ends]
    pair &= (user[begins] == user[ends]) & (level[begins] == level[ends])
    pair &= log.time[rows[ends]] - log.time[rows[begins]] <= _ANSWER
    shown = np.full(len(log), -1, np.int64)
    shown[rows[begins[pair]]] = rows[ends[pair]]
    alone = np.setdiff1d(rows[~opens], shown[shown >= 0])
    requests = rows[opens]
    return (
        np.concatenate([requests, np.full(len(alone), -1)]),
        np.concatenate([shown[requests], alone]),
    )


def _gains(log: EventLog, gain: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """`[n]`: what impressions brought, and when it was first known; a click counts once."""
    shown = np.flatnonzero(log.is_event("impression"))
    answers = np.flatnonzero(log.is_event("click" if gain == "click" else "conversion"))
    gains, when = np.zeros(len(log)), log.local_time.copy()
    if gain != "click" and not len(answers):
        raise UserError(f"gain is {gain!r}, and the log has no conversion; try --gain click")
    if not len(shown) or not len(answers):
        return gains, when
    # Events are sorted by user and time; an answer's impression is the last one before it.
    after = np.searchsorted(shown, answers)
    cause = shown[np.maximum(after - 1, 0)]
    own = (cause < answers) & (log.user[cause] == log.user[answers])
    # Where rows of one instant are in no order, it may stand behind.
    behind = shown[np.minimum(after, len(shown) - 1)]
    same = ~own & (log.user[behind] == log.user[answers]) & (log.time[behind] == log.time[answers])
    cause = np.where(same, behind, cause)
    own |= same
    if gain != "click":
        own &= log.time[answers] - log.time[cause] <= LOOKBACK * 1e6
    cause, answers = cause[own], answers[own]
    value = log.value[answers].astype(np.float64)
    worth = np.where(np.isnan(value), 1.0, value) if gain == "value" else np.ones(len(answers))
    gains = np.bincount(cause, worth, len(log)).astype(np.float64)
    when[cause[::-1]] = log.local_time[answers[::-1]]  # backwards: the first one stays
    return np.minimum(gains, 1.0) if gain == "click" else gains, when


def replay_config(
    env_config: Mapping[str, Any],
) -> tuple[tuple[str, ...], ReadingOptions, ReplayConfig]:
    """Paths of the log, how to read and to replay it, from the env config of `"auction_log"`.

    Args:
        env_config: `log` (a path or several), `reading` (keys of `ReadingOptions`), and keys of
            `ReplayConfig`.

    Raises:
        UserError: a key is unknown or missing, or a value is wrong.
    """
    settings = dict(env_config)
    known = [field.name for field in dataclasses.fields(ReplayConfig)]
    try:
        check_keys(settings, ["log", "reading", *known])
        log = settings.pop("log", None)
        if not log:
            raise ValueError("preset 'log' replays a file, and there is none; give --log FILE")
        options = reading_options(settings.pop("reading", None) or {})
        paths = (log,) if isinstance(log, str) else tuple(log)
        return paths, options, ReplayConfig(**settings)
    except ValueError as error:
        raise UserError(str(error)) from error


def replay_world(env_config: Mapping[str, Any]) -> ReplayWorld:
    """The world that an env config describes; the same file is read once per process.

    Raises:
        UserError: the config is wrong, or the log cannot be replayed in this way.
    """
    paths, options, config = replay_config(env_config)
    try:
        return _world(paths, options, config)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{', '.join(paths)}: {error}") from error


@lru_cache(maxsize=2)
def _world(paths: tuple[str, ...], options: ReadingOptions, config: ReplayConfig) -> ReplayWorld:
    log = read_auctions(paths, options, config.gain)
    return ReplayWorld(with_worth(log, config), config)


def replay_env(env_config: Mapping[str, Any]) -> AuctionLogEnv | AuctionLogUsersEnv:
    """The environment `"auction_log"`: the campaign as one stream, or users as agents.

    Raises:
        UserError: see `replay_world`.
    """
    world = replay_world(env_config)
    return AuctionLogEnv(world) if world.config.stream == "campaign" else AuctionLogUsersEnv(world)

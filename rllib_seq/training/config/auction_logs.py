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
from rllib_seq.envs.ad_auction.log_replay.auction_log import AuctionLog, ReplayConfig, ReplayWorld
from rllib_seq.envs.ad_auction.log_replay.gym_env import AuctionLogEnv
from rllib_seq.envs.ad_auction.log_replay.multi_agent_env import AuctionLogUsersEnv
from rllib_seq.errors import UserError
from rllib_seq.journeys.event_log import EventLog, load_events
from rllib_seq.journeys.reading import ReadingOptions, reading_options

__all__ = ["read_auctions", "replay_config", "replay_env", "replay_world"]

_FEATURES = ("channel", "segment", "device", "creative")
_ANSWER = 3_600_000_000  # microseconds from a request to its impression, at most


def read_auctions(paths: Sequence[str | Path], options: ReadingOptions | None = None) -> AuctionLog:
    """Reads logged auctions.

    An auction is a request, or an impression without one. It is won if an impression follows its
    request; a click belongs to the impression of its user before it. What had to be reached is
    `market_price` (of a lost request: the minimum to win), or the floor where that is higher. Where
    only our bid (`price`) is known, the price is censored: above the bid if the auction was lost,
    else at most the bid. An auction of which neither is known is left out.

    Args:
        paths: event logs or iPinYou rows (docs/guides/discover.md); together they are one log.
        options: how the log names its columns, events and times.

    Raises:
        UserError: a file cannot be read, or no auction has a price or a bid.
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
    clicked = _clicked(log)[np.maximum(shown[kept], 0)] & won
    words = {name: tuple(log.names[name]) for name in _FEATURES}
    return AuctionLog(
        time=log.local_time[row],
        user=log.user[row].astype(np.int64),
        price=price,
        clicked=clicked,
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


def _clicked(log: EventLog) -> NDArray[np.bool_]:
    """`[n]`: impressions that were clicked."""
    shown = np.flatnonzero(log.is_event("impression"))
    clicks = np.flatnonzero(log.is_event("click"))
    clicked = np.zeros(len(log), np.bool_)
    if not len(shown) or not len(clicks):
        return clicked
    # Events are sorted by user and time; a click's impression is the last one before it.
    after = np.searchsorted(shown, clicks)
    before = shown[np.maximum(after - 1, 0)]
    own = (before < clicks) & (log.user[before] == log.user[clicks])
    clicked[before[own]] = True
    # Where rows of one instant are in no order, it may stand behind.
    behind, orphan = shown[np.minimum(after, len(shown) - 1)][~own], clicks[~own]
    same = (log.user[behind] == log.user[orphan]) & (log.time[behind] == log.time[orphan])
    clicked[behind[same]] = True
    return clicked


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
    return ReplayWorld(read_auctions(paths, options), config)


def replay_env(env_config: Mapping[str, Any]) -> AuctionLogEnv | AuctionLogUsersEnv:
    """The environment `"auction_log"`: the campaign as one stream, or users as agents.

    Raises:
        UserError: see `replay_world`.
    """
    world = replay_world(env_config)
    return AuctionLogEnv(world) if world.config.stream == "campaign" else AuctionLogUsersEnv(world)

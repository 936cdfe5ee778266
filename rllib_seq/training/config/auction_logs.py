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

from rllib_seq.envs.ad_auction.checks import check_keys
from rllib_seq.envs.ad_auction.log_replay.auction_log import AuctionLog, ReplayConfig, ReplayWorld
from rllib_seq.envs.ad_auction.log_replay.gym_env import AuctionLogEnv
from rllib_seq.envs.ad_auction.log_replay.multi_agent_env import AuctionLogUsersEnv
from rllib_seq.errors import UserError
from rllib_seq.journeys.event_log import EventLog, load_events

__all__ = ["read_auctions", "replay_config", "replay_env", "replay_world"]

_FEATURES = ("channel", "segment", "device", "creative")


def read_auctions(paths: Sequence[str | Path]) -> AuctionLog:
    """Reads logged auctions: every impression with a market price is one.

    A click belongs to the impression of its user before it. Where the floor is above the market
    price, the floor had to be reached.

    Args:
        paths: event logs or iPinYou rows (docs/guides/discover.md); together they are one log,
            but users are told apart by file.

    Raises:
        UserError: a file cannot be read, or there is no impression with a market price.
    """
    logs = [load_events(Path(path)) for path in paths]
    words: dict[str, tuple[str, ...]] = {
        name: tuple(dict.fromkeys(word for log in logs for word in log.names[name]))
        for name in _FEATURES
    }
    parts, users = [], 0
    for log in logs:
        parts.append(_auctions(log, words, users))
        users += log.num_users
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    codes = {name: whole.pop(name) for name in _FEATURES}
    auctions = AuctionLog(**whole, codes=codes, words=words)
    if not len(auctions):
        names = ", ".join(map(str, paths))
        raise UserError(
            f"{names}: no impression has a market_price; a replay needs what the auctions cost"
        )
    return auctions.take(np.argsort(auctions.time, kind="stable"))


def _auctions(log: EventLog, words: dict[str, tuple[str, ...]], users: int) -> dict[str, Any]:
    shown = np.flatnonzero(log.is_event("impression"))
    clicks = np.flatnonzero(log.is_event("click"))
    clicked = np.zeros(len(log), np.bool_)
    if len(shown) and len(clicks):
        # Events are sorted by user and time; a click's impression is the last one before it.
        cause = shown[np.maximum(np.searchsorted(shown, clicks) - 1, 0)]
        own = (cause < clicks) & (log.user[cause] == log.user[clicks])
        clicked[cause[own]] = True
    rows = shown[~np.isnan(log.market_price[shown])]
    floor = np.nan_to_num(log.floor[rows].astype(np.float64))
    table: dict[str, Any] = {
        "time": log.time[rows],
        "user": users + log.user[rows].astype(np.int64),
        "price": np.maximum(log.market_price[rows].astype(np.float64), floor),
        "clicked": clicked[rows],
    }
    for name in _FEATURES:
        number = {word: i for i, word in enumerate(words[name])}
        to_all = np.array([number[word] for word in log.names[name]] or [0])
        table[name] = to_all[getattr(log, name)[rows]]
    return table


def replay_config(env_config: Mapping[str, Any]) -> tuple[tuple[str, ...], ReplayConfig]:
    """Paths of the log and how to replay it, from the env config of `"auction_log"`.

    Args:
        env_config: `log` (a path or several) and keys of `ReplayConfig`.

    Raises:
        UserError: a key is unknown or missing, or a value is wrong.
    """
    settings = dict(env_config)
    known = [field.name for field in dataclasses.fields(ReplayConfig)]
    try:
        check_keys(settings, ["log", *known])
        log = settings.pop("log", None)
        if not log:
            raise ValueError("preset 'log' replays a file, and there is none; give --log FILE")
        return (log,) if isinstance(log, str) else tuple(log), ReplayConfig(**settings)
    except ValueError as error:
        raise UserError(str(error)) from error


def replay_world(env_config: Mapping[str, Any]) -> ReplayWorld:
    """The world that an env config describes; the same file is read once per process.

    Raises:
        UserError: the config is wrong, or the log cannot be replayed in this way.
    """
    paths, config = replay_config(env_config)
    try:
        return _world(paths, config)
    except ValueError as error:
        raise UserError(f"{', '.join(paths)}: {error}") from error


@lru_cache(maxsize=2)
def _world(paths: tuple[str, ...], config: ReplayConfig) -> ReplayWorld:
    return ReplayWorld(read_auctions(paths), config)


def replay_env(env_config: Mapping[str, Any]) -> AuctionLogEnv | AuctionLogUsersEnv:
    """The environment `"auction_log"`: the campaign as one stream, or users as agents.

    Raises:
        UserError: see `replay_world`.
    """
    world = replay_world(env_config)
    return AuctionLogEnv(world) if world.config.stream == "campaign" else AuctionLogUsersEnv(world)

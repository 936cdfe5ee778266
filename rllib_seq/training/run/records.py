"""Trajectories that a bid server has recorded, put together.

- `read_trajectories`: files to a `Stream` for every user.
- `read_records`: those that can be learned from in a world; `served_world`: which they are of.
- `refuse_other_values`: of conversions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig, Preset
from rllib_seq.errors import UserError
from rllib_seq.serving.exported.spec import world_facts
from rllib_seq.serving.trajectories import FACTS, SCHEMA

_SILENCE_HOURS = 24.0
_READ = ("observation", "units", "actions", "bid_levels")  # of `world_facts`


class Stream(NamedTuple):
    """Steps of one user without a gap."""

    observations: NDArray[np.float32]
    """`[T + 1, D]`; the last is what came after the last step, or (if it ended) its own again."""
    actions: NDArray[np.int64]
    """`[T]`."""
    rewards: NDArray[np.float64]
    """`[T]`."""
    payments: NDArray[np.float64]
    """`[T]`, what the rewards hold of prices; 0 where no impression was paid."""
    ended: bool
    """The user has not come back for a day; else there is more of them that was not recorded."""


def read_trajectories(paths: Sequence[Path]) -> list[Stream]:
    """Puts recorded rows together.

    Args:
        paths: Parquet files, or folders of them.

    Raises:
        UserError: there are none, one cannot be read, or they hold no step.
    """
    table = pa.concat_tables([_read(file) for path in paths for file in _files(path)])
    steps = table.filter(pa.compute.is_valid(table["action"])).sort_by(
        [("episode", "ascending"), ("step", "ascending")]
    )
    if steps.num_rows == 0:
        raise UserError(f"{', '.join(map(str, paths))} hold rewards alone and no step")
    episode, step, hour, action = (
        steps[name].to_numpy() for name in ("episode", "step", "hour", "action")
    )
    observation = np.stack(steps["observation"].to_numpy(zero_copy_only=False))
    reward, spend = _rewards_and_spend(table, episode, step)
    last_hour = float(table["hour"].to_numpy().max())
    new = np.ones(len(step), np.bool_)
    new[1:] = (episode[1:] != episode[:-1]) | (step[1:] != step[:-1] + 1)
    bounds = np.append(np.flatnonzero(new), len(step))
    streams = []
    for start, end in zip(bounds[:-1], bounds[1:], strict=True):
        goes_on = end < len(step) and episode[end] == episode[start]
        ended = not goes_on and last_hour - hour[end - 1] > _SILENCE_HOURS
        seen, done = observation[start:end], slice(start, end if ended else end - 1)
        if done.stop > done.start:
            after = [seen, seen[-1:]] if ended else [seen]
            streams.append(
                Stream(np.concatenate(after), action[done], reward[done], spend[done], bool(ended))
            )
    if not streams:
        raise UserError(
            f"{', '.join(map(str, paths))} hold no two steps of one user; record for longer"
        )
    return streams


def _files(path: Path) -> list[Path]:
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not path.exists():
        raise UserError(f"no records in {str(path)!r}; give what `serve --record` wrote")
    if not files:
        raise UserError(f"no *.parquet in {str(path)!r}; give what `serve --record` wrote")
    return files


def _read(file: Path) -> pa.Table:
    try:
        return pq.read_table(file).select(SCHEMA.names).cast(SCHEMA)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        line = " ".join(str(error).split())
        raise UserError(f"cannot read trajectories from {str(file)!r}: {line}") from error


def _rewards_and_spend(table: pa.Table, episode: Any, step: Any) -> NDArray[np.float64]:
    """What each step brought, all rows of it added up, and what it paid, `[2, T]`.

    A row is what was paid or what a conversion is worth, so rows below 0 are payments.
    """
    spend = pa.compute.negate(pa.compute.min_element_wise(table["reward"], 0.0))
    summed = (
        table.append_column("spend", spend)
        .group_by(["episode", "step"])
        .aggregate([("reward", "sum"), ("spend", "sum")])
    )
    names = "episode", "step", "reward_sum", "spend_sum"
    columns = [summed[name].to_pylist() for name in names]
    place = {(e, s): both for e, s, *both in zip(*columns, strict=True)}
    return np.array([place[key] for key in zip(episode.tolist(), step.tolist(), strict=True)]).T


def read_records(paths: Sequence[Path], world: AuctionConfig, whole: bool = False) -> list[Stream]:
    """Streams to learn from in a world.

    Args:
        paths: see `read_trajectories`.
        world: in which observations and actions must mean what they meant to the server.
        whole: take journeys that have ended alone.

    Raises:
        UserError: they are of another world, or no journey has ended.
    """
    streams, served, facts = read_trajectories(paths), served_world(paths), world_facts(world)
    differing = _differing(served, facts)
    if differing:
        raise UserError(
            f"the trajectories were served with other {differing} than this config's world has "
            f"({world.world}); give the preset, observation and patterns that were served"
        )
    if not whole:
        return streams
    ended = [stream for stream in streams if stream.ended]
    if not ended:
        raise UserError(
            "no recorded journey has ended: none of the users was silent for the last day of the "
            "records; record for longer"
        )
    return ended


def served_world(paths: Sequence[Path]) -> dict[str, Any]:
    """What the policy was shown and could do, see `world_facts`.

    Raises:
        UserError: the files are of policies of different worlds, or do not say of which.
    """
    files = [file for path in paths for file in _files(path)]
    said = [(pq.read_schema(file).metadata or {}).get(FACTS) for file in files]
    silent = [file for file, facts in zip(files, said, strict=True) if facts is None]
    if silent:
        raise UserError(
            f"{str(silent[0])!r} does not say of which world it is; give what this version records"
        )
    found = [json.loads(text) for text in sorted({facts for facts in said if facts is not None})]
    for other in found[1:]:
        if differing := _differing(found[0], other):
            raise UserError(
                f"the trajectories are of policies with different {differing}; give those of one"
            )
    return dict(found[0])


def _differing(one: dict[str, Any], other: dict[str, Any]) -> str:
    return ", ".join(name for name in _READ if one.get(name) != other.get(name))


def refuse_other_values(streams: Sequence[Stream], preset: Preset) -> None:
    """Refuses conversions that are not worth what the preset says.

    Raises:
        UserError: one is not.
    """
    brought = np.concatenate([stream.rewards + stream.payments for stream in streams])
    count = brought / preset.value
    odd = np.abs(count - np.round(count)) > 1e-4
    if odd.any():
        raise UserError(
            f"the trajectories hold a conversion worth {brought[odd][0]:g}, and those of the world "
            f"are worth {preset.value:g}: OutcomeDQN takes from that value what the last bid of a "
            "journey has paid; use Lift (rllib-seq train lift --offline ...)"
        )

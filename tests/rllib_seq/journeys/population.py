"""A simulated population whose parameters are known: what discovery must find again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from rllib_seq.journeys.event_log import SCHEMA

BEGIN = np.datetime64("2026-03-02", "us").astype(np.int64)  # a Monday
DAY = 86_400.0


@dataclass(frozen=True)
class Population:
    """Users come in sittings of impressions; some sittings end with a click and a conversion."""

    users: int = 1500
    sittings: int = 4
    """Per user."""
    mean_length: float = 5.0
    """Impressions of a sitting, geometric."""
    pause: float = 120.0
    """Median seconds between impressions of a sitting, lognormal."""
    silence_days: float = 3.0
    """Median days between sittings, lognormal."""
    conversion_rate: float = 0.2
    """Of a sitting."""
    delay_hours: float = 2.0
    """Median from the click to the conversion, lognormal."""

    def table(self, seed: int) -> pa.Table:
        """The log, in random order."""
        rng = np.random.default_rng(seed)
        shape = self.users, self.sittings
        length = rng.geometric(1 / self.mean_length, shape)
        silence = self.silence_days * DAY * np.exp(0.3 * rng.normal(size=shape))
        begin = np.cumsum(silence, axis=1) + DAY * rng.random((self.users, 1))
        sitting = np.repeat(np.arange(length.size), length.ravel())
        first = np.cumsum(length.ravel()) - length.ravel()
        pause = self.pause * np.exp(0.4 * rng.normal(size=len(sitting)))
        since = np.cumsum(pause)
        shown = begin.ravel()[sitting] + since - since[first][sitting]
        converts = np.flatnonzero(rng.random(length.size) < self.conversion_rate)
        clicked = shown[first[converts] + length.ravel()[converts] - 1] + 10.0
        delay = self.delay_hours * 3600 * np.exp(0.8 * rng.normal(size=len(converts)))
        return shuffled(
            rng,
            np.concatenate([shown, clicked, clicked + delay]),
            np.concatenate([sitting, converts, converts]) // self.sittings,
            ["impression"] * len(shown) + ["click"] * len(clicked) + ["conversion"] * len(delay),
        )


def daily_table(users: int, days: int, hours: np.ndarray, weekdays: np.ndarray, seed: int):
    """A log of one impression per user and visited day, at an hour drawn from a curve.

    Args:
        users: each visits every day with its weekday's chance.
        days: from a Monday on.
        hours: `[24]`, sums to 1.
        weekdays: `[7]` chances of a visit, Monday first.
        seed: of all draws.
    """
    rng = np.random.default_rng(seed)
    visits = rng.random((users, days)) < weekdays[np.arange(days) % 7]
    user, day = np.nonzero(visits)
    hour = rng.choice(24, len(user), p=hours)
    seconds = day * DAY + (hour + rng.random(len(user))) * 3600
    return shuffled(rng, seconds, user, ["impression"] * len(user))


def shuffled(rng, seconds, users, events):
    """A table of the event schema from seconds since `BEGIN`."""
    order = rng.permutation(len(seconds))
    micros = BEGIN + (np.asarray(seconds)[order] * 1e6).astype(np.int64)
    table = pa.table(
        {
            "timestamp": pa.array(micros).cast(pa.timestamp("us", "UTC")),
            "user_id": pa.array(np.asarray(users)[order]).cast(pa.string()),
            "event": np.asarray(events)[order],
        }
    )
    return table.cast(pa.schema([SCHEMA.field(name) for name in table.column_names]))


def write(table: pa.Table, path: Path) -> Path:
    pyarrow.parquet.write_table(table, path)
    return path

"""Served trajectories on disk: what happened, step by step, for learning from it.

- `TrajectoryWriter`: appends steps and rewards to Parquet files.
- `SCHEMA`: the columns.

A row is a step, or a reward that came later for one. `training.run.records` puts the rows of
all files together: sorted by episode and step, the rewards of a step added up.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rllib_seq.errors import UserError
from rllib_seq.serving.quiet_log import OncePerSecond

Ints = NDArray[np.int64]

SCHEMA = pa.schema(
    [
        pa.field("episode", pa.int64(), nullable=False),
        pa.field("step", pa.int64(), nullable=False),
        pa.field("hour", pa.float64(), nullable=False),
        pa.field("observation", pa.list_(pa.float32())),
        pa.field("action", pa.int64()),
        pa.field("reward", pa.float64(), nullable=False),
    ]
)
"""`episode` is a random number that stands for a user until they are forgotten, `step` the number
of the request among their; `hour` since the epoch. Rows without `observation` and `action` are
later rewards: a price of the step that was won, a conversion of the user's last one."""

FACTS = b"facts"
"""Of a file's metadata, JSON: what the policy was shown and could do, see `spec.world_facts`."""

_ROWS = 20_000  # of a file
_SECONDS = 60.0  # until a file is written although it has fewer
_MOST_ROWS = 10 * _ROWS  # that wait for a disk
_AGAIN_SECONDS = 1.0
_LOG = logging.getLogger(__name__)
_LOG.addFilter(OncePerSecond())


class TrajectoryWriter:
    """Writes files `trajectory-*.parquet` into a folder; what is not full waits in memory.

    Only their owner can read them. While the disk is full, rows wait; the oldest are lost when too
    many do. Bids do not depend on it.

    Args:
        folder: is made.
        most_bytes: of all files in it; when there are as many, nothing more is recorded.
        facts: which the files carry, see `FACTS`.

    Raises:
        UserError: it cannot be made.
    """

    def __init__(self, folder: str, facts: Mapping[str, Any], most_bytes: float = math.inf) -> None:
        self._folder = Path(folder)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            files = self._folder.glob("trajectory-*.parquet")
            self._left = most_bytes - sum(file.stat().st_size for file in files)
        except OSError as error:
            raise UserError(f"cannot write trajectories to {folder!r}: {error}") from error
        self._rows: list[tuple[Any, ...]] = []
        self._since, self._again = time.monotonic(), 0.0
        self._files = 0
        self._schema = SCHEMA.with_metadata({FACTS: json.dumps(facts, sort_keys=True)})

    def steps(
        self,
        episodes: Ints,
        steps: Ints,
        hour: float,
        observations: NDArray[np.float32],
        actions: Ints,
    ) -> None:
        """Appends one step of each of different users.

        Args:
            episodes: `[n]`, see `SCHEMA`.
            steps: `[n]`.
            hour: of all of them, since the epoch.
            observations: `[n, D]`.
            actions: `[n]`, flat.
        """
        columns = episodes.tolist(), steps.tolist(), list(observations), actions.tolist()
        if self._again == math.inf:
            return
        self._rows += [(e, s, hour, o, a, 0.0) for e, s, o, a in zip(*columns, strict=True)]
        self._flush()

    def reward(self, episode: int, step: int, hour: float, reward: float) -> None:
        """Appends a reward; one before the first step is lost, as no one acted for it."""
        if step >= 0 and self._again < math.inf:
            self._rows.append((episode, step, hour, None, None, reward))
            self._flush()

    def close(self) -> None:
        """Writes what is left."""
        if self._rows:
            self._write()

    def _flush(self) -> None:
        now = time.monotonic()
        if (len(self._rows) >= _ROWS or now - self._since > _SECONDS) and now >= self._again:
            self._write()

    def _write(self) -> None:
        if self._left <= 0:
            _LOG.error("%s is as large as records may be; nothing more is recorded", self._folder)
            self._again = math.inf
            self._rows.clear()
            return
        columns = zip(*self._rows, strict=True)
        arrays = [pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)]
        self._files += 1
        name = f"trajectory-{time.time_ns()}-{os.getpid()}-{self._files}.parquet"
        aside = self._folder / f".{name}.part"
        try:
            with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                pq.write_table(pa.Table.from_arrays(arrays, schema=self._schema), file)
            self._left -= aside.stat().st_size
            os.replace(aside, self._folder / name)
        except OSError as error:
            _LOG.error("cannot write trajectories, which wait: %s", error)
            aside.unlink(missing_ok=True)
            self._again = time.monotonic() + _AGAIN_SECONDS
            del self._rows[:-_MOST_ROWS]
            return
        self._rows.clear()
        self._since = time.monotonic()

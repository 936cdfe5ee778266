"""Served trajectories on disk: what happened, step by step, for learning from it.

- `TrajectoryWriter`: appends steps and rewards to Parquet files.
- `SCHEMA`: the columns.

A row is a step, or a reward that came later for one. `training.run.offline` puts the rows of
all files together: sorted by episode and step, the rewards of a step added up.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rllib_seq.errors import UserError

__all__ = ["SCHEMA", "TrajectoryWriter"]

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
"""`episode` is the key of the user, `step` the number of the request among his; `hour` since the
Monday midnight before the campaign. Rows without `observation` and `action` are later rewards."""

_ROWS = 20_000  # of a file
_SECONDS = 60.0  # until a file is written although it has fewer


class TrajectoryWriter:
    """Writes files `trajectory-*.parquet` into a folder; what is not full waits in memory.

    Args:
        folder: is made.

    Raises:
        UserError: it cannot be made.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write trajectories to {folder!r}: {error}") from error
        self._rows: list[tuple[Any, ...]] = []
        self._since = time.monotonic()
        self._files = 0

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
            episodes: `[n]`, keys of the users.
            steps: `[n]`.
            hour: of all of them.
            observations: `[n, D]`.
            actions: `[n]`, flat.
        """
        columns = episodes.tolist(), steps.tolist(), list(observations), actions.tolist()
        self._rows += [(e, s, hour, o, a, 0.0) for e, s, o, a in zip(*columns, strict=True)]
        self._flush()

    def reward(self, episode: int, step: int, hour: float, reward: float) -> None:
        """Appends a reward; one before the first step is lost, as nobody acted for it."""
        if step >= 0:
            self._rows.append((episode, step, hour, None, None, reward))
            self._flush()

    def close(self) -> None:
        """Writes what is left."""
        if self._rows:
            self._write()

    def _flush(self) -> None:
        late = time.monotonic() - self._since > _SECONDS
        if len(self._rows) >= _ROWS or late:
            self._write()

    def _write(self) -> None:
        columns = zip(*self._rows, strict=True)
        arrays = [pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)]
        self._files += 1
        name = f"trajectory-{time.time_ns()}-{os.getpid()}-{self._files}.parquet"
        aside = self._folder / f".{name}.part"
        pq.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), aside)
        os.replace(aside, self._folder / name)
        self._rows.clear()
        self._since = time.monotonic()

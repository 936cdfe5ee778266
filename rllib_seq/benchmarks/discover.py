"""Seconds and memory of discovery: 10 million generated events, read from Parquet.

    rllib-seq bench discover

The file is made and discovered in processes of their own, so that the peak is discovery's alone.
Must stay under 60 s and 2 GB on two cores.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from rich.console import Console

from rllib_seq.benchmarks.result import Check, Result, listed
from rllib_seq.journeys.command import run_discovery
from rllib_seq.journeys.event_log import EVENTS, SCHEMA

EVENTS_IN_ALL = 10_000_000
EVENTS_PER_USER = 10
DAYS = 28
CHUNK = 500_000
LIMITS = {"seconds": 60.0, "peak_gb": 2.0}


def generate(path: Path, events: int) -> None:
    """Writes a log in order of time: a million users, six channels, 32 letters of user id."""
    rng = np.random.default_rng(0)
    channels = np.array(["display", "video", "search", "social", "mail", "affiliate"])
    with pyarrow.parquet.ParquetWriter(path, SCHEMA) as writer:
        for start in range(0, events, CHUNK):
            n = min(CHUNK, events - start)
            span = DAYS * 86_400e6 / events
            micros = np.sort((start + n * rng.random(n)) * span).astype(np.int64)
            users = rng.integers(0, events // EVENTS_PER_USER, n)
            kind = rng.choice(len(EVENTS), n, p=[0.0, 0.9, 0.05, 0.04, 0.01])
            shown = kind == EVENTS.index("impression")
            price = np.where(shown, rng.lognormal(4.0, 0.8, n), np.nan)
            columns: list[Any] = [
                pa.array(1_380_672_000_000_000 + micros).cast(pa.timestamp("us", "UTC")),
                pa.array([f"{user:032x}" for user in users.tolist()]),
                pa.array(np.array(EVENTS)[kind]),
                pa.array(channels[rng.choice(6, n, p=[0.4, 0.2, 0.2, 0.1, 0.05, 0.05])]),
                pa.array(np.array(["a", "b", "c", "d"])[users % 4]),
                pa.array(np.array(["phone", "desktop"])[rng.integers(0, 2, n)]),
                pa.array(rng.integers(0, 50, n)).cast(pa.string()),
                pa.array(price * 1.2),
                pa.array(price),
                pa.array(np.where(shown, 5.0, np.nan)),
                pa.array(np.where(kind == 4, rng.lognormal(3.0, 0.5, n), np.nan)),
            ]
            writer.write_table(pa.table(columns, schema=SCHEMA))


def discover(path: Path, output: Path, results: Any) -> None:
    """Times the command and measures the peak of this process."""
    began, busy = time.perf_counter(), time.process_time()
    run_discovery(path, strict=True, output=output, console=Console(width=110))
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    results.put(
        {"seconds": round(seconds, 1), "cpu_seconds": round(busy, 1), "peak_gb": round(peak, 2)}
    )


def run(events: int = EVENTS_IN_ALL) -> Result:
    """Generates, discovers, and compares with the limits."""
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.parquet"
        print(f"generating {events:,} events ...", flush=True)
        _run(spawn.Process(target=generate, args=(path, events)))
        size = path.stat().st_size / 1024**2
        print(f"{path.name}: {size:,.0f} MB", flush=True)
        _run(spawn.Process(target=discover, args=(path, Path(folder), results)))
        measured = results.get()
    figures = {"events": events, **measured}
    checks = [Check(name, measured[name], "<", limit) for name, limit in LIMITS.items()]
    return Result(figures, {"discovery": listed(figures)}, checks)


def _run(process: Any) -> None:
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"a process of the benchmark ended with code {process.exitcode}")

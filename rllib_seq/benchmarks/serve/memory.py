"""What a bid server takes in memory.

- `users`: a million different ones. `day`: 24 simulated hours.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from rllib_seq.benchmarks.result import Check, Result, listed
from rllib_seq.benchmarks.serve.servers import bid_service, resident_mb
from rllib_seq.serving.decisions import BidQuery


def users(export: Path, folder: Path) -> Result:
    """A million different users, 131,072 in memory, the others in a file."""
    service, clock = bid_service(export, folder / "users.sqlite")
    before, started = resident_mb(), time.perf_counter()
    total, batch = 1_000_000, 64
    for start in range(0, total, batch):
        clock.now += 0.01
        service.answer(
            [BidQuery(user, user % 3, 0, 0, 0.0) for user in range(start, start + batch)]
        )
    seconds = time.perf_counter() - started
    # Who came first has long made room; their memory comes back from the file.
    service.answer([BidQuery(0, 0, 0, 0, 0.0)])
    row = service.sessions.find(0)
    back = row is not None and service.sessions.last_request(row) == 1
    in_memory, nbytes = len(service.sessions), service.sessions.nbytes
    service.close()
    size = sum(file.stat().st_size for file in folder.glob("users.sqlite*"))
    figures = {
        "users": total,
        "in_memory": in_memory,
        "sessions_mb": nbytes / 2**20,
        "grown_mb": resident_mb() - before,
        "file_mb": size / 2**20,
        "per_second": total / seconds,
        "first_user_came_back": back,
    }
    checks = [
        Check("users in memory", in_memory, "<=", 131_072),
        Check("the first user came back", back, ">=", 1),
    ]
    return Result(figures, {"a million users": listed(figures)}, checks)


def day(export: Path, folder: Path) -> Result:
    """24 hours of traffic on a simulated clock, wins reported, old and new users; memory hourly."""
    service, clock = bid_service(export, folder / "day.sqlite", max_users=20_000)
    random, memory = np.random.default_rng(0), []
    for hour in range(24):
        for _ in range(300):
            clock.now += 12.0
            keys = np.unique((random.zipf(1.2, 40) - 1) % 1_000_000).tolist()
            answers = service.answer([BidQuery(key, key % 3, 0, 0, 0.0) for key in keys])
            for answer in answers:
                if answer.bid is not None:
                    name = service.sealer.seal(answer.bid)
                    if random.random() < 0.2:
                        service.notice("win", name, price=answer.bid.amount / 2)
                    else:
                        service.notice("loss", name)
        memory.append(round(resident_mb(), 1))
        print(f"hour {hour + 1}: {memory[-1]} MB", file=sys.stderr)
    service.close()
    growth = memory[-1] - memory[3]
    figures = {"resident_mb": memory, "grown_after_hour_4_mb": growth}
    checks = [Check("MB grown after hour 4", growth, "<", 20.0)]
    return Result(figures, {"24 hours": listed(figures)}, checks)

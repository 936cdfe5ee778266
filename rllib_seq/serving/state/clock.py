"""Time that does not jump, whatever is done to the clock of the machine.

- `SteadyClock`: the machine's clock, read once.
- `BookClock`: time of the books, which never goes back, not even over a restart.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# Counts while the machine sleeps, too, which `time.monotonic` does not everywhere.
_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _since_boot() -> float:
    return time.clock_gettime(_BOOT)


class SteadyClock:
    """Seconds since the epoch: what the clock of the machine said at first, and what has passed.

    Someone may set that clock while a server runs; no bid, hold or pace may notice.

    Args:
        wall: the clock of the machine, seconds since the epoch.
        passed: seconds since some moment; never goes back and never jumps.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        passed: Callable[[], float] = _since_boot,
    ) -> None:
        self._wall, self._passed = wall, passed
        self._start = wall() - passed()

    def __call__(self) -> float:
        """Now."""
        return self._start + self._passed()

    def ahead(self) -> float:
        """Seconds that the clock of the machine was set forward since; negative: back."""
        return self._wall() - self()


class BookClock:
    """Seconds, for what must end in order: holds, and notices that are known.

    It begins at the clock, and goes on where the last server stopped. So a wrong clock at one start
    frees nothing that is held and forgets nothing that was booked; after a pause everything is kept
    a little longer than need be.

    Args:
        clock: seconds since the epoch.
        last: what this clock said last, before this server; None: nothing was written yet.
    """

    def __init__(self, clock: Callable[[], float], last: float | None) -> None:
        now = clock()
        self._clock = clock
        self._latest = now if last is None else last
        self._shift = self._latest - now

    def __call__(self) -> float:
        """Now."""
        self._latest = max(self._latest, self._clock() + self._shift)
        return self._latest

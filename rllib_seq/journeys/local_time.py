"""Times in UTC and on the wall clock of a time zone; both are microseconds since 1970.

- `check_timezone`: refuses what is no zone.
- `to_local`: from UTC to the wall clock.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from rllib_seq.errors import UserError

_STEP = 900_000_000  # clocks change at whole quarters of an hour
_DAY = 96  # steps


def check_timezone(name: str) -> None:
    """Checks the name of a time zone.

    Raises:
        UserError: there is no such zone.
    """
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise UserError(
            f"timezone is {name!r}; give an IANA name such as Europe/Berlin or UTC"
        ) from None


def to_local(time: NDArray[np.int64], timezone: str) -> NDArray[np.int64]:
    """Times on the wall clock of a zone.

    Args:
        time: microseconds since 1970 in UTC, any shape.
        timezone: an IANA name.

    Returns:
        Microseconds since 1970-01-01 00:00 of the zone's own clock, same shape.

    >>> int(to_local(np.array([0]), "America/New_York")[0]) / 3.6e9
    -5.0
    """
    if timezone == "UTC" or not time.size:
        return time
    zone = ZoneInfo(timezone)

    def offset(step: int) -> int:
        moment = datetime.fromtimestamp(step * _STEP / 1e6, UTC).astimezone(zone)
        return int(moment.utcoffset().total_seconds()) * 1_000_000  # type: ignore[union-attr]

    first, last = int(time.min()) // _STEP, int(time.max()) // _STEP
    days = np.arange(first // _DAY, last // _DAY + 2) * _DAY
    of_day = [offset(int(day)) for day in days]
    begins, offsets = [int(days[0])], [of_day[0]]
    for day, before, after in zip(days[:-1].tolist(), of_day[:-1], of_day[1:], strict=True):
        if before != after:  # the clock changes on this day
            begins.append(next(s for s in range(day, day + _DAY + 1) if offset(s) == after))
            offsets.append(after)
    at = np.searchsorted(np.array(begins) * _STEP, time, side="right") - 1
    local: NDArray[np.int64] = time + np.array(offsets)[at]
    return local

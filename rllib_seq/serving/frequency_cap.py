"""How often users are shown ads.

- `FrequencyCap`: counts impressions, and bids that may become some.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_MOST_HELD_HOURS = 24.0


class FrequencyCap:
    """The counts of users, in records of `cap_fields`.

    Args:
        records: of the users, by row; with a cap, they have its fields.
        most: impressions that are counted of a user; 0: there is no cap.
    """

    def __init__(self, records: NDArray[np.void], most: int) -> None:
        self._most = most
        if most:
            self._shown, self._held = records["shown"], records["held"]
            self._held_until = records["held_until"]

    def reached(self, rows: Ints, hour: float, period_hours: float) -> Bools:
        """Whose impressions, and bids that may become some, are as many as the cap allows, `[n]`.

        Args:
            rows: of the users.
            hour: now.
            period_hours: that the cap counts in.
        """
        if not self._most:
            return np.zeros(len(rows), np.bool_)
        shown = self._shown[rows] > hour - period_hours
        held = self._held_until[rows] > hour
        full: Bools = shown.sum(axis=1) + held.sum(axis=1) >= self._most
        return full

    def hold(self, row: int, bid: int, until: float) -> None:
        """Counts a bid until an hour, or until it is known what became of it."""
        if self._most:
            place = int(np.argmin(self._held_until[row]))  # a free one: they are not capped
            self._held[row, place] = bid
            self._held_until[row, place] = until

    def release(self, row: int, bid: int, shown_hour: float | None) -> None:
        """It is known what became of a bid: an impression at an hour, or None."""
        if not self._most:
            return
        self._held_until[row][self._held[row] == bid] = -np.inf
        if shown_hour is not None:
            shown = self._shown[row]
            shown[np.argmin(shown)] = shown_hour

    def not_after(self, rows: Ints, hour: float) -> None:
        """No impression is later than an hour, and no bid is held for longer than a day from it."""
        if self._most:
            self._shown[rows] = np.minimum(self._shown[rows], hour)
            self._held_until[rows] = np.minimum(self._held_until[rows], hour + _MOST_HELD_HOURS)


def cap_fields(most: int) -> dict[str, NDArray[Any]]:
    """What is kept of a new user for a cap, by name; empty without one."""
    if not most:
        return {}
    never = np.full(most, -np.inf)
    return {"shown": never, "held": np.zeros(most, np.int64), "held_until": never}

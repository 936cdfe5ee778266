"""Logs that stay readable while something fails thousands of times a second.

- `OncePerSecond`: one line a second, with how often it happened meanwhile.
"""

from __future__ import annotations

import logging
import time

_SECONDS = 1.0


class OncePerSecond(logging.Filter):
    """Lets one record a second through, whatever it says; also a filter for others' loggers.

    Args:
        seconds: between two lines.
    """

    def __init__(self, seconds: float = _SECONDS) -> None:
        super().__init__()
        self._seconds, self._next, self._held_back = seconds, 0.0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is written; it then says how many before it were not."""
        if record.levelno < logging.WARNING:
            return True
        now = time.monotonic()
        if now < self._next:
            self._held_back += 1
            return False
        if self._held_back:
            record.msg = f"{record.getMessage()} (and {self._held_back} more)"
            record.args = ()
        self._next, self._held_back = now + self._seconds, 0
        return True

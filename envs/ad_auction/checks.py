"""Checks of what users configure; every error is one line that names the value and the fix.

- `check_choice`, `check_whole`, `check_above_zero`: one value.
- `check_keys`: the keys of an env config.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable


def check_choice(name: str, value: object, known: Iterable[str]) -> None:
    """Raises ValueError unless the value is one of the known."""
    known = list(known)
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}; {_suggest(str(value), known)}")


def check_keys(keys: Iterable[str], known: Iterable[str]) -> None:
    """Raises ValueError on the first key that is not known."""
    known = list(known)
    for key in keys:
        if key not in known:
            raise ValueError(f"unknown env config key {key!r}; {_suggest(key, known)}")


def check_whole(name: str, value: object, least: int) -> None:
    """Raises ValueError unless the value is a whole number of at least `least`."""
    if type(value) is not int or value < least:
        raise ValueError(f"{name} is {value!r}; give a whole number of at least {least}")


def check_above_zero(name: str, value: object) -> None:
    """Raises ValueError unless the value is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"{name} is {value!r}; give a number above 0")


def _suggest(value: str, known: list[str]) -> str:
    close = difflib.get_close_matches(value, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}choose one of: {', '.join(known)}"

"""Rows that cannot be used: counted, the first ones kept by line number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rllib_seq.errors import UserError

__all__ = ["BadRows"]

_EXAMPLES = 5


class BadRows:
    """Counts the bad rows of one file.

    >>> bad = BadRows(Path("events.csv"))
    >>> bad.add([7], ["event 'buy' is unknown"])
    >>> bad.count, bad.examples
    (1, ["line 7: event 'buy' is unknown"])
    """

    def __init__(self, path: Path, strict: bool = False) -> None:
        self.path = path
        self.strict = strict
        self.count = 0
        self.examples: list[str] = []

    def add(self, lines: Sequence[int], reasons: Sequence[str]) -> None:
        """Counts rows.

        Args:
            lines: 1-based line of each bad row (row number in a Parquet file).
            reasons: what is wrong with each; may be shorter than `lines`: only the first are told.

        Raises:
            UserError: there is a bad row and `strict` is set.
        """
        self.count += len(lines)
        room = _EXAMPLES - len(self.examples)
        told = [
            f"line {line}: {reason}"
            for line, reason in zip(lines[:room], reasons[:room], strict=False)
        ]
        self.examples += told
        if self.strict and len(lines):
            raise UserError(
                f"{self.path}, {self.examples[0]}; mend the row, or leave --strict out to skip it"
            )

"""States that streams carry from step to step, of any encoder or model.

- `CarriedStates`: parts of every row, and copies of them where sequences begin
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
Ints = NDArray[np.int64]

COPY = "number_of_copy"
"""Column of steps: number of the copy that `CarriedStates` made before it, or -1."""


class CarriedStates:
    """Parts of every row, and copies of them where sequences begin.

    Args:
        initial: parts of a new stream, by name.
        rows: how many streams.
        longest: most steps of a sequence: after so many in a row, the next one begins.
    """

    def __init__(self, initial: Mapping[str, Tensor], rows: int, longest: int) -> None:
        self._initial = initial
        self._parts = {name: part.repeat(rows, *[1] * part.dim()) for name, part in initial.items()}
        self._everyone = np.arange(rows)
        self._in_sequence = np.zeros(rows, np.int64)  # steps since it began
        self._longest = longest
        self._copies: list[dict[str, Tensor]] = []
        self.restart()

    def before(self, rows: Tensor, first: Tensor) -> tuple[dict[str, Tensor], Ints]:
        """Return the parts `[n, ...]` of rows `[n]` before their next step.

        Args:
            rows: which.
            first: which of them begin a stream, `[n]`; whatever was there is forgotten.

        Returns:
            the parts, which the next call may change, and numbers `[n]`: of the copy if a sequence
            begins here, else -1. All streams that begin share one copy.
        """
        parts = dict(self._parts) if self.has_all(rows) else self.of(rows)
        who, begun = rows.numpy(), first.numpy()
        numbers = np.where(begun, 0, -1)
        if begun.any():
            which = torch.from_numpy(np.flatnonzero(begun))
            for name, part in parts.items():
                part[which] = self._initial[name]
            self._in_sequence[who[begun]] = 0
        goes_on = (self._in_sequence[who] % self._longest == 0) & ~begun
        if goes_on.any():
            numbers[goes_on] = self._copy(parts, torch.from_numpy(goes_on))
        self._in_sequence[who] += 1
        return parts, numbers

    def of(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the parts `[n, ...]` of rows `[n]` as they are, copied."""
        return {name: part.index_select(0, rows) for name, part in self._parts.items()}

    def set(self, rows: Tensor, parts: Mapping[str, Tensor]) -> None:
        """Keep the parts `[n, ...]` of rows `[n]`; they belong to this object from then on."""
        if self.has_all(rows):
            self._parts = dict(parts)
            return
        for name, part in parts.items():
            self._parts[name].index_copy_(0, rows, part)

    def has_all(self, rows: Tensor) -> bool:
        """Whether these are all rows, in their order: then nothing needs to be copied."""
        return len(rows) == len(self._everyone) and np.array_equal(rows.numpy(), self._everyone)

    def copies(self, numbers: Ints) -> dict[str, Array]:
        """Return the copies `[S, ...]` with these numbers `[S]`."""
        if len(self._copies) > 1:  # one for all, once, however often it is asked for
            joined = {
                name: torch.cat([part[name] for part in self._copies]) for name in self._parts
            }
            self._copies = [joined]
        return {name: part.numpy()[numbers] for name, part in self._copies[0].items()}

    def all_copies(self) -> list[dict[str, Array]]:
        """Return all copies, by number: parts `[...]` by name."""
        parts = self.copies(np.arange(self._copied))
        names, columns = list(parts), list(parts.values())
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def restart(self) -> None:
        """Forget all copies; sequences begin with the next step of every row."""
        self._in_sequence[:] = 0
        self._copies = [{name: part[None] for name, part in self._initial.items()}]
        self._copied = 1

    def reopen(self, rows: Ints, parts: Mapping[str, Tensor]) -> Ints:
        """Let sequences of some rows begin one step ago.

        Args:
            rows: which, `[n]`.
            parts: before that step, `[n, ...]`.

        Returns:
            the numbers of their copies, `[n]`.
        """
        self._in_sequence[rows] = 1
        return self._copy(parts, torch.ones(len(rows), dtype=torch.bool))

    def _copy(self, parts: Mapping[str, Tensor], chosen: Tensor) -> Ints:
        self._copies.append({name: part[chosen] for name, part in parts.items()})
        numbers = self._copied + np.arange(int(chosen.sum()))
        self._copied += len(numbers)
        return numbers

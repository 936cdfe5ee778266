"""What the value network makes of streams, read once they were played.

- `ValueReader`: reads whole pieces at once, because no one needs values in order to act
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rllib_seq.nn import StreamEncoder
from rllib_seq.rollouts.pieces import RolloutBatch

Array = NDArray[Any]
Ints = NDArray[np.int64]


class ValueReading(NamedTuple):
    """What was made of a batch of N steps in P pieces."""

    features: Tensor | None
    """`[N, d]`, for the head of the values; of no use if they were not asked for."""
    begins: list[dict[str, Tensor]]
    """States before steps 0, S, 2S, ... of the pieces, `[P, ...]` each; S: the longest sequence.
    Of a piece that has no such step: whatever."""
    after: dict[str, Tensor]
    """States after the pieces, `[P, ...]`."""


class ValueReader:
    """Reads pieces with the encoder of the values, and carries its states from batch to batch.

    Args:
        encoder: of the values.
        rows: streams.
        longest: most steps of a sequence, S.
    """

    def __init__(self, encoder: StreamEncoder, rows: int, longest: int) -> None:
        self.encoder, self._longest = encoder, longest
        self._carried = encoder.initial_state(rows)
        self._following: defaultdict[int, deque[Tensor]] = defaultdict(deque)

    def follow(self, rows: Ints, inputs: Tensor) -> None:
        """Keep the step inputs `[n, W]` that follow the pieces of rows `[n]` which are cut now."""
        for row, following in zip(rows.tolist(), inputs, strict=True):
            self._following[row].append(following)

    def following(self, row: int) -> Tensor | None:
        """Return what follows a piece of a row, `[W]`, once; pieces in their order."""
        return self._following[row].popleft() if self._following[row] else None

    def read(self, batch: RolloutBatch, inputs: Array, values: bool = True) -> ValueReading:
        """Read a batch; states are carried on.

        Args:
            batch: the pieces.
            inputs: raw step inputs of its steps, `[N, W]`.
            values: whether the features are needed. Without, steps are left out after which no
                state is: those of the last sequences of streams that terminated.
        """
        lengths, steps = torch.from_numpy(batch.lengths), torch.from_numpy(inputs)
        first = torch.from_numpy(batch.first)
        rows = torch.from_numpy(batch.rows)
        fresh = torch.from_numpy(batch.starts == 0)
        state = {name: part[rows] for name, part in self._carried.items()}
        for part in state.values():
            part[fresh] = 0.0
        ends = torch.from_numpy(batch.terminated).long()
        features: Tensor | None = None
        begins, done = [], 0
        while done < int(lengths.max()):
            begins.append({name: part.clone() for name, part in state.items()})
            needed = lengths > (done if values else done + ends * self._longest)
            going = torch.nonzero(needed).squeeze(1)
            if not len(going):
                break
            left = (lengths[going] - done).clamp(max=self._longest)
            place = torch.arange(int(left.max()))
            real = place < left[:, None]  # (G, T)
            where = (first[going, None] + done + place).clamp(max=len(steps) - 1)
            before = {name: part[going] for name, part in state.items()}
            with torch.inference_mode():
                read, after = self.encoder.sequence(before, steps[where], left)
                if features is None:
                    features = read.new_zeros(len(steps), read.shape[2])
                if values:
                    features[where[real]] = read[real]
                for name, part in after.items():
                    state[name][going] = part
            done += self._longest
        on = torch.from_numpy(~(batch.terminated | batch.truncated))
        for name, part in state.items():
            self._carried[name][rows[on]] = part[on]
        return ValueReading(features, begins, state)

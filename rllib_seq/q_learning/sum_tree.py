"""Sampling in proportion to priorities that change all the time.

- `SumTree`: priorities as the leaves of a binary tree of sums; many are read or written at once
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class SumTree:
    """Non-negative priorities of `capacity` leaves, all zero at first.

    Writing or drawing `n` leaves takes `log2(capacity)` array operations of length `n`.

    Examples:
        >>> tree = SumTree(4)
        >>> tree.set(np.array([1, 3]), np.array([1.0, 2.0]))
        >>> tree.total
        3.0
        >>> sorted(set(tree.sample(100, np.random.default_rng(0)).tolist()))
        [1, 3]
    """

    def __init__(self, capacity: int) -> None:
        self._leaves = 1 << max(0, capacity - 1).bit_length()
        # Node 1 is the root; the children of node i are the nodes 2i and 2i + 1.
        self._nodes: Floats = np.zeros(2 * self._leaves)

    @property
    def total(self) -> float:
        """Sum of all priorities."""
        return float(self._nodes[1])

    @property
    def nbytes(self) -> int:
        """Bytes of the tree."""
        return self._nodes.nbytes

    def get(self, leaves: Ints) -> Floats:
        """Priorities `[n]` of leaves `[n]`."""
        return self._nodes[self._leaves + leaves]

    def set(self, leaves: Ints, priorities: Floats) -> None:
        """Give leaves `[n]` the priorities `[n]`; of one that comes twice, the last counts."""
        node = self._leaves + leaves
        self._nodes[node] = priorities
        for _ in range(self._leaves.bit_length() - 1):
            node = node >> 1
            self._nodes[node] = self._nodes[2 * node] + self._nodes[2 * node + 1]

    def sample(self, count: int, rng: np.random.Generator) -> Ints:
        """Draw `count` leaves, each with probability priority / total, with replacement.

        Raises:
            ValueError: all priorities are zero.
        """
        if not self.total > 0:
            raise ValueError("there is nothing to sample: all priorities are zero")
        leaves = self._find(rng.random(count) * self.total)
        # Rounding may lead past the last leaf that has any priority.
        while (missed := self.get(leaves) == 0).any():
            leaves[missed] = self._find(rng.random(int(missed.sum())) * self.total)
        return leaves

    def _find(self, mass: Floats) -> Ints:
        """The leaf in which a point of [0, total) falls, if leaves lie side by side."""
        node = np.ones(len(mass), np.int64)
        for _ in range(self._leaves.bit_length() - 1):
            node *= 2
            left = self._nodes[node]
            right = mass >= left
            mass = np.where(right, mass - left, mass)
            node += right
        return node - self._leaves

"""How likely an impression is clicked: a logistic regression that few clicks do not fool.

- `ClickModel`: one weight per word of each feature, drawn to the base rate.

The weights have a normal prior: all features together change the odds by a factor of 0.6 to 1.6
(one standard deviation) unless clicks say otherwise. With a handful of clicks the probabilities
stay near the base rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_PRIOR = 0.5  # standard deviation of the sum of a row's weights, in log-odds


@dataclass(frozen=True, eq=False)
class ClickModel:
    """Log-odds of a click: a base rate plus a weight per feature."""

    base: float
    """Log-odds of the training data: `(clicks + 1/2) / (impressions + 1)`, Jeffreys' prior."""
    weights: dict[str, Floats]
    """Name of a feature to the weight of each of its words; 0 for one without impressions."""

    @classmethod
    def fit(cls, features: dict[str, Ints], clicked: Bools, sizes: dict[str, int]) -> ClickModel:
        """Finds the likeliest weights under their prior.

        Args:
            features: name to `[n]` word indices; n at least 1.
            clicked: `[n]`.
            sizes: name to number of words.

        Examples:
            >>> hour = np.repeat([0, 1], 5000)
            >>> clicked = np.arange(10_000) % np.where(hour == 0, 100, 50) == 0
            >>> model = ClickModel.fit({"hour": hour}, clicked, {"hour": 2})
            >>> model.probability({"hour": np.array([0, 1])}).round(3)
            array([0.01, 0.02])
        """
        n = len(clicked)
        base = float(special.logit((clicked.sum() + 0.5) / (n + 1)))
        names = list(features)
        # Rows that look alike count together: a long log has few kinds of rows.
        shape = tuple(sizes[name] for name in names)
        kind = np.zeros(n, np.int64)
        for name, size in zip(names, shape, strict=True):
            kind = np.unique(kind * size + features[name], return_inverse=True)[1]
        first = np.unique(kind, return_index=True)[1]
        shown = np.bincount(kind).astype(np.float64)
        clicks = np.bincount(kind, weights=clicked)
        ends = np.cumsum(shape)
        precision = max(1, len(names)) / _PRIOR**2  # of one weight
        columns = [
            features[name][first] + end - size
            for name, size, end in zip(names, shape, ends, strict=True)
        ]

        def loss(weights: Floats) -> tuple[float, Floats]:
            odds = base + np.sum([weights[column] for column in columns], axis=0)
            likelihood = shown * np.logaddexp(0.0, odds) - clicks * odds
            error = shown * special.expit(odds) - clicks
            gradient = weights * precision
            for column in columns:
                gradient = gradient + np.bincount(column, error, len(weights))
            return float(likelihood.sum() + precision * (weights @ weights) / 2), gradient

        total = int(ends[-1]) if len(ends) else 0
        found = np.zeros(total)
        if total:
            found = optimize.minimize(loss, found, jac=True, method="L-BFGS-B").x
        return cls(base, dict(zip(names, np.split(found, ends[:-1]), strict=True)))

    def probability(self, features: dict[str, Ints]) -> Floats:
        """`[n]` probabilities of a click; see `fit` for the features."""
        odds: Floats = np.full(len(next(iter(features.values()))), self.base)
        for name, weights in self.weights.items():
            odds = odds + weights[features[name]]
        return special.expit(odds)

"""Logistic regression with a ridge that a validation chooses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_RIDGES = (0.3, 3.0, 30.0, 300.0)


@dataclass(frozen=True, eq=False)
class Logistic:
    """Log-odds `base + x @ weights`."""

    base: float
    weights: Floats
    """`[F]`."""
    ridge: float

    @classmethod
    def fit(cls, x: Floats, y: Bools, ridge: float, base: float = 0.0) -> Logistic:
        """The likeliest weights under a normal prior.

        Args:
            x: `[n, F]`.
            y: `[n]`.
            ridge: precision of a weight; the base has none.
            base: where to begin.
        """
        signs = y.astype(np.float64)

        def loss(free: Floats) -> tuple[float, Floats]:
            odds = free[0] + x @ free[1:]
            error = special.expit(odds) - signs
            value = np.logaddexp(0, odds).sum() - signs @ odds + ridge * (free[1:] @ free[1:]) / 2
            return float(value), np.concatenate([[error.sum()], x.T @ error + ridge * free[1:]])

        start = np.zeros(x.shape[1] + 1)
        start[0] = base
        found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B").x
        return cls(float(found[0]), found[1:], ridge)

    @classmethod
    def choose(cls, x: Floats, y: Bools, later: Bools) -> Logistic:
        """The ridge with the least loss on the later part, then weights of all.

        Args:
            x: `[n, F]`.
            y: `[n]`.
            later: `[n]`, the part that validates.
        """
        losses = {
            ridge: log_loss(y[later], cls.fit(x[~later], y[~later], ridge).probability(x[later]))
            for ridge in _RIDGES
        }
        return cls.fit(x, y, min(losses, key=lambda ridge: losses[ridge]))

    def probability(self, x: Floats) -> Floats:
        """`[n]`."""
        odds: Floats = self.base + x @ self.weights
        return special.expit(odds)


def log_loss(y: Bools, probability: Floats) -> float:
    """Mean negative log-likelihood, nats per step."""
    p = np.clip(probability, 1e-6, 1 - 1e-6)
    return float(-np.where(y, np.log(p), np.log1p(-p)).mean())

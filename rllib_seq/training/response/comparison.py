"""Does memory pay: three models on steps that none has seen.

- `compare`: a response model beside two logistic regressions, on later days and on users that
  none was trained on (`Comparison`).
- `auc`: area under the ROC curve, with weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_seq.errors import UserError
from rllib_seq.training.response.history import Features, look_back
from rllib_seq.training.response.logistic import Logistic
from rllib_seq.training.response.model import ResponseModel, fit_response, later_part
from rllib_seq.training.response.table import ResponseTable

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

STATIC, COUNTS, MEMORY = "static fields", "counted history", "sequence model"
_HELD_TIME = 0.25
_HELD_USERS = 0.2
_RESAMPLES = 200
_MOST_STEPS = 150_000
_FEWEST = 10  # answers, and steps without one, that a part needs


@dataclass(frozen=True)
class Measure:
    """A number and its 95 % interval, from resampled users."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ModelRow:
    """A model on a held-out part."""

    part: str
    model: str
    steps: int
    users: int
    answers: int
    auc: Measure
    log_loss: Measure
    calibration: Measure
    """Predicted answers over real ones."""


@dataclass(frozen=True)
class Gain:
    """AUC of the sequence model less that of another, paired."""

    part: str
    over: str
    auc: Measure


@dataclass(frozen=True)
class Comparison:
    """The three models on held-out steps."""

    outcome: str
    steps: int
    rows: list[ModelRow]
    gains: list[Gain]
    sentence: str
    """Whether memory pays here, and how much."""
    sampled: int
    """Steps that all this rests on: those of users drawn from a large table."""

    def to_json(self) -> dict[str, Any]:
        """What `--json FILE` and `comparison.json` hold."""
        return dataclasses.asdict(self)


def compare(
    table: ResponseTable, seed: int = 0, progress: Callable[[str], None] = lambda _: None
) -> tuple[Comparison, ResponseModel]:
    """Trains on the first three quarters of time and four users of five; judges on the rest.

    Args:
        table: at least a few users.
        seed: of users and weights.
        progress: is called with what is done.

    Returns:
        The comparison, and the sequence model that was judged.

    Raises:
        UserError: too few answers to train or to judge.
    """
    rng = np.random.default_rng(seed)
    steps, users = len(table), np.unique(table.user)
    if len(table) > _MOST_STEPS:
        users = users[rng.random(len(users)) < _MOST_STEPS / len(table)]
        table = table.take(np.flatnonzero(np.isin(table.user, users)))
        progress(f"{len(table):,} steps of {len(users):,} users, drawn")
    unseen_users = rng.permutation(users)[: int(_HELD_USERS * len(users))]
    unseen = np.isin(table.user, unseen_users)
    later = later_part(table, _HELD_TIME)
    train = ~unseen & ~later
    parts = {"later days" if table.has_time else "later steps": later & ~unseen}
    parts["users never seen"] = unseen
    for name, inside in {"training": train, **parts}.items():
        answers = int(table.outcome[inside].sum())
        if min(answers, int(inside.sum()) - answers) < _FEWEST:
            raise UserError(
                f"the {name} part has {int(inside.sum()):,} steps and {answers:,} with the outcome "
                f"{table.name!r}; at least {_FEWEST} with and without it are needed"
            )
    learned = table.take(np.flatnonzero(train))
    validates = later_part(learned, _HELD_USERS)
    features = Features.fit(learned, look_back(learned))
    static, counted = features.static(table), features.counted(look_back(table))
    predicted = {}
    for name, x in ((STATIC, static), (COUNTS, np.concatenate([static, counted], axis=1))):
        progress(f"logistic regression: {name}")
        fitted = Logistic.choose(x[train], learned.outcome, validates)
        predicted[name] = fitted.probability(x)
    model = fit_response(table, train, seed, progress)
    predicted[MEMORY] = model.predict(table)
    rows: list[ModelRow] = []
    gains: list[Gain] = []
    for part, inside in parts.items():
        found, differences = _judge(table, part, np.flatnonzero(inside), predicted, rng)
        rows += found
        gains += differences
    sentence = _sentence(rows, gains)
    return Comparison(table.name, steps, rows, gains, sentence, len(table)), model


def auc(outcome: Bools, score: Floats, weight: Floats | None = None) -> float:
    """Chance that an answered step has the higher score than another; ties count half.

    Args:
        outcome: `[n]`.
        score: `[n]`.
        weight: `[n]`, how often each step counts; None: once.
    """
    order = np.argsort(score, kind="stable")
    return _auc(outcome[order], _ties(score[order]), None if weight is None else weight[order])


def _ties(ordered: Floats) -> NDArray[np.int64]:
    """`[n]`: number of the group of equal scores."""
    return np.concatenate([[0], np.cumsum(np.diff(ordered) > 0)])


def _auc(outcome: Bools, group: NDArray[np.int64], weight: Floats | None) -> float:
    weight = np.ones(len(outcome)) if weight is None else weight
    yes = np.bincount(group, weight * outcome)
    no = np.bincount(group, weight * ~outcome)
    below = np.cumsum(no) - no / 2
    pairs = yes.sum() * no.sum()
    return float((yes * below).sum() / pairs) if pairs else float("nan")


def _judge(
    table: ResponseTable,
    part: str,
    rows: NDArray[np.int64],
    predicted: dict[str, Floats],
    rng: np.random.Generator,
) -> tuple[list[ModelRow], list[Gain]]:
    """Measures of every model and gains of the last, with intervals from resampled users."""
    outcome = table.outcome[rows]
    users, user = np.unique(table.user[rows], return_inverse=True)
    draws = rng.multinomial(len(users), np.full(len(users), 1 / len(users)), _RESAMPLES)
    weights = [np.ones(len(rows)), *(draw[user].astype(np.float64) for draw in draws)]
    measured = {}
    for name, all_of_them in predicted.items():
        p = np.clip(all_of_them[rows], 1e-6, 1 - 1e-6)
        order = np.argsort(p, kind="stable")
        ties, ordered = _ties(p[order]), outcome[order]
        loss = -np.where(outcome, np.log(p), np.log1p(-p))
        measured[name] = np.array(
            [
                (
                    _auc(ordered, ties, w[order]),
                    (w @ loss) / w.sum(),
                    (w @ p) / max(float(w @ outcome), 1e-9),
                )
                for w in weights
            ]
        )
    answers = int(outcome.sum())
    found = [
        ModelRow(part, name, len(rows), len(users), answers, *map(_interval, values.T))
        for name, values in measured.items()
    ]
    gains = [
        Gain(part, name, _interval(measured[MEMORY][:, 0] - measured[name][:, 0]))
        for name in (STATIC, COUNTS)
    ]
    return found, gains


def _interval(values: Floats) -> Measure:
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return Measure(float(values[0]), float(low), float(high))


def _sentence(rows: list[ModelRow], gains: list[Gain]) -> str:
    part = rows[0].part
    scores = {row.model: row.auc.value for row in rows if row.part == part}
    gain = {row.over: row.auc for row in gains if row.part == part}
    over = gain[STATIC]
    span = f"{over.value:+.3f}, {over.low:+.3f} to {over.high:+.3f}"
    if over.low > 0:
        verdict = "Memory pays here"
    elif over.high < 0:
        verdict = "Memory does not pay here"
    else:
        verdict = "Memory makes no difference here that this log can show"
    text = (
        f"{verdict}: on {part} the sequence model's AUC is {scores[MEMORY]:.3f}, static fields "
        f"alone reach {scores[STATIC]:.3f} ({span})"
    )
    more = gain[COUNTS]
    text += f"; counted history reaches {scores[COUNTS]:.3f}"
    if more.low > 0:
        text += f", so order and timing add {more.value:.3f}"
    elif more.high < 0:
        text += f", so counting is better by {-more.value:.3f}"
    else:
        text += ", which is as good within the interval"
    return text + "."

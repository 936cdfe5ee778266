"""What is known of a user's past when a step comes, and the features made of it.

- `look_back`: counts and recency, from nothing that was known later (`History`).
- `Features`: fitted on training steps; static and counted features of any steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rllib_seq.training.response.table import ResponseTable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_WORDS = 32  # most frequent names of a field; the others are alike
_FEWEST = 5  # steps that a name needs
_PRIOR = 2.0  # steps at the base rate that a user's own rate begins with

COUNTED = (
    "log(1 + steps before)",
    "log(1 + answers before)",
    "log-odds of the user's own rate",
    "log(1 + time since the last step)",
    "log(1 + time since the last answer)",
    "no answer yet",
    "log(1 + steps since the last answer)",
    "answers since the last step",
)
"""The counted features, in order. The unit of time is a tenth of the median pause of a user."""

DECAYS = (0.5, 0.8, 0.95)
"""Per step, of what is remembered of older answers."""
TRACED = tuple(f"log-odds of the user's rate, decay {decay}" for decay in DECAYS)
"""Order, which counts leave out: the user's rate with older answers fading (Guadagni and Little
1983). The sequence model reads them beside the counts."""


@dataclass(frozen=True, eq=False)
class History:
    """The past of n steps, `[n]` each; of answers, those that were known by then."""

    steps: Floats
    answers: Floats
    since_step: Floats
    """Time; 0 for a user's first step."""
    since_answer: Floats
    """Time since the last answer was known, 0 without one."""
    steps_since: Floats
    """Steps since, 0 without one."""
    news: Floats
    """Answers that became known since the user's last step."""
    traces: Floats
    """`[n, 2 D]`: answers, then steps, each fading by `DECAYS`."""


def look_back(table: ResponseTable) -> History:
    """Returns the past of every step; linear but for one sort."""
    n, place = len(table), table.place
    answer = np.flatnonzero(table.outcome)
    # Steps and answers in one order: by user, time, and at one time by step; an answer comes
    # after its own step.
    user = np.concatenate([table.user, table.user[answer]])
    when = np.concatenate([table.time, table.known[answer]])
    number = np.concatenate([2 * np.arange(n), 2 * answer + 1])
    order = np.lexsort([number, when, user])
    is_answer = order >= n
    total = np.cumsum(is_answer)
    at = np.empty(n, np.int64)
    at[order[~is_answer]] = np.flatnonzero(~is_answer)
    begin = np.maximum.accumulate(np.where(table.first, np.arange(n), 0))
    answers: Ints = total[at] - total[at[begin]]  # nothing of a user comes before their first step
    last = np.maximum.accumulate(np.where(is_answer, np.arange(len(order)), -1))[at]
    had = answers > 0
    last = np.where(had, last, 0)
    since_answer = np.where(had, table.time - when[order[last]], 0.0)
    # Steps between the answer becoming known and now.
    done = np.cumsum(~is_answer)
    steps_since = np.where(had, done[at] - done[last], 0)
    before = np.concatenate([[0], answers[:-1]])
    first = table.first
    news = np.where(first, 0, answers - before).astype(np.float64)
    return History(
        steps=place.astype(np.float64),
        answers=answers.astype(np.float64),
        since_step=np.where(first, 0.0, np.diff(table.time, prepend=table.time[:1])),
        since_answer=since_answer,
        steps_since=steps_since.astype(np.float64),
        news=news,
        traces=_traces(place, news),
    )


def _traces(place: Ints, news: Floats) -> Floats:
    """`[n, 2 D]`, a step of all streams at a time."""
    decay = np.array(DECAYS)
    traces = np.zeros((len(place), 2 * len(DECAYS)))
    by_place = np.argsort(place, kind="stable")
    ends = np.cumsum(np.bincount(place))
    for first, end in zip(ends[:-1], ends[1:], strict=True):
        rows = by_place[first:end]
        before = traces[rows - 1]
        traces[rows, : len(decay)] = decay * before[:, : len(decay)] + news[rows, None]
        traces[rows, len(decay) :] = decay * before[:, len(decay) :] + 1
    return traces


def count_features(past: History, rate: float, unit: float) -> Floats:
    """`[n, 8]`, see `COUNTED`.

    Args:
        past: of the steps.
        rate: base rate of answers.
        unit: of time.
    """
    own = (past.answers + _PRIOR * rate) / (past.steps + _PRIOR)
    own = np.clip(own, 1e-4, 1 - 1e-4)
    return np.column_stack(
        [
            np.log1p(past.steps),
            np.log1p(past.answers),
            np.log(own / (1 - own)),
            np.log1p(past.since_step / unit),
            np.log1p(np.maximum(past.since_answer, 0) / unit),
            past.answers == 0,
            np.log1p(past.steps_since),
            np.minimum(past.news, 3),
        ]
    ).astype(np.float64)


def trace_features(past: History, rate: float) -> Floats:
    """`[n, D]`, see `TRACED`."""
    answers, steps = np.split(past.traces, 2, axis=1)
    own = np.clip((answers + rate) / (steps + 1), 1e-3, 1 - 1e-3)
    return np.log(own / (1 - own))


@dataclass(frozen=True, eq=False)
class Features:
    """How fields become numbers; from training steps alone."""

    numbers: dict[str, tuple[float, float, bool]]
    """Mean, spread, and whether any was missing."""
    words: dict[str, list[str]]
    """Names with a feature of their own."""
    clock: bool
    rate: float
    """Base rate of answers."""
    unit: float
    """Of times."""
    mean: Floats
    """`[8 + D]` of the counted and traced features."""
    spread: Floats

    @classmethod
    def fit(cls, table: ResponseTable, past: History) -> Features:
        """Learns means, spreads and names of training steps."""
        numbers = {}
        for name, values in table.numbers.items():
            seen = values[np.isfinite(values)]
            if len(seen) and (seen.std() > 0 or len(seen) < len(values)):
                spread = float(seen.std()) or 1.0
                numbers[name] = float(seen.mean()), spread, len(seen) < len(values)
        words = {}
        for name, (codes, names) in table.words.items():
            counts = np.bincount(codes, minlength=len(names))
            order = np.argsort(-counts, kind="stable")[:_WORDS]
            kept = [names[code] for code in order if counts[code] >= _FEWEST]
            if len(kept) > 1:
                words[name] = kept
        rate = (table.outcome.sum() + 0.5) / (len(table) + 1)
        pauses = past.since_step[past.since_step > 0]
        unit = float(np.median(pauses)) / 10 if len(pauses) else 1.0
        counted = np.concatenate(
            [count_features(past, float(rate), unit), trace_features(past, float(rate))], axis=1
        )
        spread = counted.std(axis=0)
        return cls(
            numbers,
            words,
            table.has_clock,
            float(rate),
            unit,
            counted.mean(axis=0),
            np.where(spread > 0, spread, 1.0),
        )

    @property
    def names(self) -> list[str]:
        """Of the static features, in order."""
        names = []
        for name, (_, _, missing) in self.numbers.items():
            names += [name, f"{name} missing"] if missing else [name]
        names += [f"{name}={word}" for name, words in self.words.items() for word in words]
        return names + (["hour sine", "hour cosine", "weekend"] if self.clock else [])

    def static(self, table: ResponseTable) -> Floats:
        """`[n, S]`: the step's own fields."""
        columns: list[Floats] = []
        for name, (mean, spread, missing) in self.numbers.items():
            values = table.numbers.get(name, np.full(len(table), np.nan))
            seen = np.isfinite(values)
            columns.append(np.clip(np.where(seen, (values - mean) / spread, 0.0), -5, 5))
            if missing:
                columns.append((~seen).astype(np.float64))
        for name, kept in self.words.items():
            codes, names = table.words[name]
            number = {word: i for i, word in enumerate(kept)}
            place = np.array([number.get(word, -1) for word in names] or [-1])[codes]
            columns += [(place == i).astype(np.float64) for i in range(len(kept))]
        if self.clock:
            turn = 2 * np.pi * (table.time / 86_400 % 1)
            weekend = (table.time // 86_400 + 3) % 7 >= 5  # 1970-01-01 was a Thursday
            columns += [np.sin(turn), np.cos(turn), weekend.astype(np.float64)]
        return np.column_stack(columns) if columns else np.zeros((len(table), 0))

    def counted(self, past: History) -> Floats:
        """`[n, 8]`: what is counted of the user's past, standardised."""
        values = count_features(past, self.rate, self.unit)
        return np.clip((values - self.mean[: len(COUNTED)]) / self.spread[: len(COUNTED)], -5, 5)

    def traced(self, past: History) -> Floats:
        """`[n, D]`: the user's fading rates, standardised."""
        values = trace_features(past, self.rate)
        return np.clip((values - self.mean[len(COUNTED) :]) / self.spread[len(COUNTED) :], -5, 5)

"""Event tables with outcomes.

- `ResponseTable`: steps of users, the outcome of each, and when it became known.
- `from_events`: the impressions (or visits) of an event log, and what came of them.
- `from_table`: any table with a column of outcomes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rllib_seq.errors import UserError
from rllib_seq.journeys.event_log import EventLog
from rllib_seq.journeys.local_time import to_local
from rllib_seq.journeys.reading.columns import decoded
from rllib_seq.journeys.reading.times import NO_TIME, TimeForm, time_hint, to_micros

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_TIMES = TimeForm()
_STEPS = (("impression",), ("visit", "click"), ("request",))
_WORDS = ("channel", "segment", "device", "creative")


@dataclass(frozen=True, eq=False)
class ResponseTable:
    """n steps, sorted by user and then by time; steps of one time keep their order."""

    user: Ints
    """`[n]` number of the user, ascending."""
    time: Floats
    """`[n]` seconds since 1970, on the wall clock of the log; without a clock: days, or the
    step's place in the user's stream."""
    outcome: Bools
    """`[n]`: whether the step was answered."""
    known: Floats
    """`[n]`: when the answer was known; infinity without one. No step before it may use it."""
    numbers: dict[str, Floats]
    """Static fields of the steps, `[n]` each, NaN where missing."""
    words: dict[str, tuple[Ints, list[str]]]
    """Static fields that are names: `[n]` codes and their names."""
    has_clock: bool
    """Whether times have hours."""
    has_time: bool
    """Whether steps of different users can be put in order."""
    name: str
    """Of the outcome, in words."""
    warnings: tuple[str, ...] = ()
    """What has to be known about the reading, in sentences."""

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: NDArray[Any]) -> ResponseTable:
        """Some of the steps, in their order; whole users keep their past."""
        return dataclasses.replace(
            self,
            user=self.user[rows],
            time=self.time[rows],
            outcome=self.outcome[rows],
            known=self.known[rows],
            numbers={name: values[rows] for name, values in self.numbers.items()},
            words={name: (codes[rows], names) for name, (codes, names) in self.words.items()},
        )

    @property
    def first(self) -> Bools:
        """`[n]`: whether the step is its user's first."""
        first = np.ones(len(self), np.bool_)
        first[1:] = self.user[1:] != self.user[:-1]
        return first

    @property
    def place(self) -> Ints:
        """`[n]`: steps that the user has had before."""
        start = np.flatnonzero(self.first)
        return np.arange(len(self)) - np.repeat(start, np.diff(start, append=len(self)))


def from_events(log: EventLog, outcome: str | None = None) -> ResponseTable:
    """The steps of an event log.

    Steps are impressions, else visits and clicks, else requests. A click answers the impression of
    its user before it. A conversion answers the last step before it.

    Args:
        log: sorted events.
        outcome: "click" or "conversion"; None: clicks if the log has impressions and clicks.

    Raises:
        UserError: no such outcome, or no step was answered.
    """
    kinds = next((kinds for kinds in _STEPS if log.is_event(*kinds).any()), None)
    if kinds is None:
        raise UserError("the log has no impression, visit or request; nothing to predict")
    if outcome is None:
        clicks = kinds == ("impression",) and log.is_event("click").any()
        outcome = "click" if clicks else "conversion"
    if outcome not in ("click", "conversion"):
        raise UserError(
            f"outcome is {outcome!r}, and the file is an event log; choose click or conversion"
        )
    if outcome == "click" and kinds != ("impression",):
        raise UserError("outcome is 'click', and the log has no impressions; try conversion")
    step = np.flatnonzero(log.is_event(*kinds))
    answer = np.flatnonzero(log.is_event(outcome))
    cause = np.searchsorted(step, answer) - 1
    own = cause >= 0
    own[own] = log.user[step[cause[own]]] == log.user[answer[own]]
    seconds = log.local_time / 1e6
    known = np.full(len(step), np.inf)
    np.minimum.at(known, cause[own], seconds[answer[own]])
    table = ResponseTable(
        user=log.user[step].astype(np.int64),
        time=seconds[step],
        outcome=np.isfinite(known),
        known=known,
        numbers={
            "floor": log.floor[step].astype(np.float64),
        },
        words={
            name: (getattr(log, name)[step].astype(np.int64), log.names[name])
            for name in _WORDS
            if len(log.names[name]) > 1
        },
        has_clock=log.has_clock,
        has_time=log.timed,
        name=outcome,
    )
    return _checked(table)


def from_table(
    table: pa.Table,
    user: str,
    outcome: str,
    time: str | None = None,
    known: str | None = None,
    ignore: tuple[str, ...] = (),
    times: TimeForm = _TIMES,
    timezone: str = "UTC",
) -> ResponseTable:
    """Steps of a table, one per row; all other columns are static fields.

    Args:
        table: rows in any order; without `time`, each user's rows are in order.
        user: column of the user.
        outcome: column of the answer: a boolean, or a number (above 0: answered).
        time: column of times, dates, or numbers of any unit.
        known: column of the same type: when an answer was known; None: at once.
        ignore: columns that are no static fields, because they were not known before the answer.
        times: how times are written that are text, or numbers of a unit.
        timezone: on whose wall clock the times count.

    Raises:
        UserError: a column is missing or of the wrong type, or no row was answered.
    """
    given = [name for name in (user, outcome, time, known, *ignore) if name is not None]
    for name in given:
        if name not in table.column_names:
            raise UserError(
                f"no column {name!r}; the table has: {', '.join(map(str, table.column_names))}"
            )
    codes = _codes(table[user])[0]
    answered = _numbers(table[outcome], outcome) > 0
    clock = False
    if time is None:
        order = np.argsort(codes, kind="stable")
        place = np.arange(len(order))
        start = np.flatnonzero(np.diff(codes[order], prepend=-1))
        when = np.empty(len(order))
        when[order] = place - np.repeat(start, np.diff(start, append=len(order)))
    else:
        when, clock = _times(table[time], time, times, timezone)
        if np.isnan(when).any():
            raise UserError(f"column {time!r} has {np.isnan(when).sum():,} rows without a time")
        order = np.lexsort([when, codes])
    if known is None:
        since = np.where(answered, when, np.inf)
    else:
        since = np.nan_to_num(_times(table[known], known, times, timezone)[0], nan=-np.inf)
        since = np.where(answered, np.maximum(since, when), np.inf)
    numbers, words = {}, {}
    for name in table.column_names:
        if name in given:
            continue
        kind = table[name].type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
            numbers[name] = _numbers(table[name], name)[order]
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
            coded, names = _codes(table[name])
            words[name] = coded[order], names
        else:
            raise UserError(f"column {name!r} is {kind}; give numbers or text, or --ignore {name}")
    return _checked(
        ResponseTable(
            user=codes[order],
            time=when[order],
            outcome=answered[order],
            known=since[order],
            numbers=numbers,
            words=words,
            has_clock=clock,
            has_time=time is not None,
            name=outcome,
        )
    )


def _checked(table: ResponseTable) -> ResponseTable:
    answered = int(table.outcome.sum())
    if not 0 < answered < len(table):
        which = "none" if not answered else "every one"
        raise UserError(
            f"{which} of {len(table):,} steps has the outcome {table.name!r}; nothing to predict"
        )
    return table


def _codes(column: Any) -> tuple[Ints, list[str]]:
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    coded = pc.fill_null(values.cast(pa.string()), "(none)").dictionary_encode()
    return coded.indices.to_numpy().astype(np.int64), coded.dictionary.to_pylist()


def _numbers(column: Any, name: str) -> Floats:
    try:
        values = column.cast(pa.float64())
    except pa.ArrowInvalid as error:
        raise UserError(f"column {name!r} is not a number: {error}") from error
    return np.array(pc.fill_null(values, np.nan).to_numpy(), np.float64)


def _times(column: Any, name: str, form: TimeForm, timezone: str) -> tuple[Floats, bool]:
    """Seconds on a wall clock, NaN where missing, and whether they have hours.

    Numbers stay as they are, unless their unit is given.
    """
    kind = column.type
    numbers = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if numbers and form.unit is None and form.pattern is None:
        return _numbers(column, name), False
    values = pa.concat_arrays([decoded(chunk) for chunk in column.chunks])
    micros = to_micros(values, form)
    lost = (micros == NO_TIME) & values.is_valid().to_numpy(zero_copy_only=False)
    if lost.any():
        value = values[int(lost.argmax())].as_py()
        hint = time_hint(value)
        raise UserError(
            f"column {name!r} has {value!r}, which is no time from 1990 to 2099"
            + (f"; {hint}" if hint else "")
        )
    clock = bool((micros[micros != NO_TIME] % 86_400_000_000 != 0).any())
    missing = micros == NO_TIME
    local = np.where(missing, 0, micros)
    if clock:
        local = to_local(local, timezone)
    return np.where(missing, np.nan, local / 1e6), clock

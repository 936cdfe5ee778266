"""What a response model does with the steps of users: fields in, probabilities out.

- `ScoringSteps`: see `service.Stepper`
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rllib_seq.serving.streams.model import StreamModel, finite_rows
from rllib_seq.serving.streams.spaces import finite_number
from rllib_seq.serving.streams.spec import MEMORY, PROBABILITY, STATE, STEP, StreamSpec

__all__ = ["ScoringSteps"]

_DAY = 86_400.0
_NUMBER: dict[str, Any] = {"shape": [], "dtype": "float64"}


class _Event(NamedTuple):
    time: float
    fields: list[float] | None
    """Static features of a step; None: an answer of the user became known."""


class ScoringSteps:
    """Steps of users, and what became known of their answers.

    Args:
        spec: of the export.
    """

    path = "/score"

    def __init__(self, spec: StreamSpec) -> None:
        self._facts = spec.facts
        self.fields: Mapping[str, Any] = {
            STATE + MEMORY: spec.state[MEMORY],
            "time": _NUMBER,  # of the last step
            "news": _NUMBER,  # answers that became known since
            "news_time": _NUMBER,  # of the latest of them
        }

    def read(self, item: Mapping[str, Any]) -> _Event:
        """See `Stepper.read`."""
        unknown = sorted(item.keys() - {"time", "fields", "answered"})
        if unknown:
            raise ValueError(
                f"{unknown[0]}: is unknown; give session, time, and fields or answered"
            )
        time = finite_number(item.get("time"), "time")
        if item.get("answered", False) not in (True, False):
            raise ValueError("answered: must be true or false")
        if item.get("answered", False):
            return _Event(time, None)
        fields = item.get("fields", {})
        if not isinstance(fields, Mapping):
            raise ValueError("fields: must be an object")
        return _Event(time, self._static(time, fields))

    def refusal(self, content: _Event, kept: Mapping[str, Any]) -> str:
        """See `Stepper.refusal`."""
        if content.fields is not None and kept["steps"] and content.time < kept["time"]:
            return (
                f"time: {content.time} is before the session's last step at {kept['time']}; give "
                "steps in order"
            )
        return ""

    def step(
        self, model: StreamModel, contents: Sequence[_Event], kept: Mapping[str, NDArray[Any]]
    ) -> tuple[list[dict[str, Any] | None], Mapping[str, NDArray[Any]]]:
        """See `Stepper.step`."""
        after = {name: rows.copy() for name, rows in kept.items()}
        answers: list[dict[str, Any] | None] = [{} for _ in contents]
        time = np.array([each.time for each in contents])
        scored = np.array([each.fields is not None for each in contents])
        noted = ~scored & (kept["steps"] > 0)  # an answer of an unknown user changes nothing
        after["news"][noted] += 1
        after["news_time"][noted] = time[noted]
        places = np.flatnonzero(scored)
        if len(places):
            pause = np.where(kept["steps"] > 0, time - kept["time"], 0.0)
            since = np.where(kept["news"] > 0, time - kept["news_time"], 0.0)
            news = np.stack([pause, kept["news"], since], axis=1)[places]
            static = np.array([each.fields for each in contents if each.fields is not None])
            static = static.reshape(len(places), -1)
            inputs = {STEP: np.concatenate([static, news], axis=1).astype(np.float32)}
            said, memory = model.step(inputs, {MEMORY: kept[STATE + MEMORY][places]})
            after[STATE + MEMORY][places] = memory[MEMORY]
            after["time"][places], after["news"][places] = time[places], 0
            after["steps"][places] += 1
            finite = finite_rows([said[PROBABILITY], memory[MEMORY]])
            for row, place in enumerate(places.tolist()):
                probability = float(said[PROBABILITY][row])
                answers[place] = {"probability": probability} if finite[row] else None
        return answers, after

    def _static(self, time: float, fields: Mapping[str, Any]) -> list[float]:
        values: list[float] = []
        for name, (mean, spread, missing) in self._facts["numbers"].items():
            value = fields.get(name)
            seen = value is not None and value == value  # pandas writes NaN where nothing is
            number = finite_number(value, f"fields.{name}") if seen else 0.0
            values.append(min(max((number - mean) / spread, -5.0), 5.0) if seen else 0.0)
            if missing:
                values.append(0.0 if seen else 1.0)
        for name, words in self._facts["words"].items():
            values += [float(fields.get(name) == word) for word in words]
        if self._facts["clock"]:
            turn = 2 * math.pi * (time / _DAY % 1)
            weekend = (time // _DAY + 3) % 7 >= 5
            values += [math.sin(turn), math.cos(turn), float(weekend)]
        return values

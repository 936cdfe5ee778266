"""An exported response model at work: one step of a user at a time, without PyTorch.

- `ResponseScorer`: remembers users and says how likely each answers now.

What it runs is written by `rllib-seq response LOG --output DIR`.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from rllib_seq.errors import UserError

__all__ = ["ResponseScorer"]

_DAY = 86_400.0


@dataclass
class _User:
    state: NDArray[np.float32]
    time: float | None = None
    news: int = 0
    news_time: float = 0.0


class ResponseScorer:
    """Probabilities of an answer, given the user's own past.

    Args:
        folder: with `response.onnx` and `response.json`.
        capacity: users in memory; the least recently seen is forgotten.

    Raises:
        UserError: the folder holds no exported response model.

    Examples:
        >>> scorer = ResponseScorer(Path("response"))  # doctest: +SKIP
        >>> scorer.score("ann", 1_780_000_000.0, {"channel": "app"})  # doctest: +SKIP
        0.021
        >>> scorer.answered("ann", 1_780_000_012.0)  # doctest: +SKIP
    """

    def __init__(self, folder: Path, capacity: int = 1_000_000) -> None:
        try:
            self._spec = json.loads((folder / "response.json").read_text())
            self._session = onnxruntime.InferenceSession(
                (folder / "response.onnx").read_bytes(), providers=["CPUExecutionProvider"]
            )
        except (OSError, ValueError) as error:
            raise UserError(
                f"{str(folder)!r} holds no response model: {error}; write one with "
                "rllib-seq response LOG --output DIR"
            ) from error
        if self._spec.get("format") != 1:
            raise UserError(
                f"{str(folder)!r} has format {self._spec.get('format')!r}, this version reads 1; "
                "export it again with rllib-seq response"
            )
        self._capacity = capacity
        self._users: OrderedDict[Hashable, _User] = OrderedDict()

    def score(self, user: Hashable, time: float, fields: Mapping[str, Any]) -> float:
        """How likely the user answers this step; the step is remembered.

        Args:
            user: any key.
            time: seconds since 1970 on the log's wall clock (or the unit of the table's times);
                not before the user's last step.
            fields: static fields by name, as in the table; missing ones are missing.

        Raises:
            UserError: the time lies before the user's last step.
        """
        known = self._users.pop(user, None) or _User(np.zeros(self._spec["state_size"], np.float32))
        self._users[user] = known
        if len(self._users) > self._capacity:
            self._users.popitem(last=False)
        pause = 0.0 if known.time is None else time - known.time
        if pause < 0:
            raise UserError(
                f"time {time} of user {user!r} is before their last step at {known.time}; give "
                "steps in order"
            )
        news = [pause, float(known.news), time - known.news_time if known.news else 0.0]
        step = np.array([*self._static(time, fields), *news], np.float32)
        probability, after = self._session.run(
            None, {"step": step[None], "state": known.state[None]}
        )
        known.state, known.time, known.news = after[0], time, 0
        return float(probability[0])

    def answered(self, user: Hashable, time: float) -> None:
        """An answer of a user became known; one of an unknown user changes nothing."""
        known = self._users.get(user)
        if known is not None:
            known.news += 1
            known.news_time = time

    def _static(self, time: float, fields: Mapping[str, Any]) -> list[float]:
        values: list[float] = []
        for name, (mean, spread, missing) in self._spec["numbers"].items():
            value = fields.get(name)
            number = math.nan if value is None else float(value)
            seen = math.isfinite(number)
            values.append(min(max((number - mean) / spread, -5.0), 5.0) if seen else 0.0)
            if missing:
                values.append(0.0 if seen else 1.0)
        for name, words in self._spec["words"].items():
            values += [float(fields.get(name) == word) for word in words]
        if self._spec["clock"]:
            turn = 2 * math.pi * (time / _DAY % 1)
            weekend = (time // _DAY + 3) % 7 >= 5
            values += [math.sin(turn), math.cos(turn), float(weekend)]
        return values

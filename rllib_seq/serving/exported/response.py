"""An exported response model at work: one step of a user at a time, without PyTorch.

- `ResponseScorer`: remembers users and says how likely each answers now.

What it runs is written by `rllib-seq response LOG --output DIR`; `rllib-seq serve DIR` does the
same over HTTP.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_seq.errors import UserError
from rllib_seq.serving.exported.spec import SPEC
from rllib_seq.serving.streams.model import load_stream_model
from rllib_seq.serving.streams.scoring import ScoringSteps
from rllib_seq.serving.streams.spec import RESPONSE, stream_kind

__all__ = ["ResponseScorer"]

_COUNT = {"steps": {"shape": [], "dtype": "int64"}}


class ResponseScorer:
    """Probabilities of an answer, given the user's own past.

    Args:
        folder: that `rllib-seq response LOG --output DIR` wrote.
        capacity: users in memory; the least recently seen is forgotten.

    Raises:
        UserError: the folder holds no exported response model.

    Example:
        >>> scorer = ResponseScorer(Path("response"))  # doctest: +SKIP
        >>> scorer.score("ann", 1_780_000_000.0, {"channel": "app"})  # doctest: +SKIP
        0.021
        >>> scorer.answered("ann", 1_780_000_012.0)  # doctest: +SKIP
    """

    def __init__(self, folder: Path, capacity: int = 1_000_000) -> None:
        if not (folder / SPEC).is_file() or stream_kind(folder) != RESPONSE:
            raise UserError(
                f"{str(folder)!r} holds no response model; write one with "
                "rllib-seq response LOG --output DIR"
            )
        self._model = load_stream_model(folder)
        self._steps = ScoringSteps(self._model.spec)
        self._capacity = capacity
        self._users: OrderedDict[Hashable, dict[str, NDArray[Any]]] = OrderedDict()

    def score(self, user: Hashable, time: float, fields: Mapping[str, Any]) -> float:
        """How likely the user answers this step; the step is remembered.

        Args:
            user: any key.
            time: seconds since 1970 on the log's wall clock (or the unit of the table's times);
                not before the user's last step.
            fields: static fields by name, as in the table; missing ones are missing.

        Raises:
            UserError: the time lies before the user's last step, or a field is wrong.
        """
        answer = self._take(user, {"time": float(time), "fields": dict(fields)})
        return float(answer["probability"])

    def answered(self, user: Hashable, time: float) -> None:
        """An answer of a user became known; one of an unknown user changes nothing."""
        if user in self._users:
            self._take(user, {"time": float(time), "answered": True})

    def _take(self, user: Hashable, item: Mapping[str, Any]) -> dict[str, Any]:
        kept = self._users.pop(user, None) or self._new()
        self._users[user] = kept
        if len(self._users) > self._capacity:
            self._users.popitem(last=False)
        try:
            event = self._steps.read(item)
        except ValueError as error:
            raise UserError(str(error)) from error
        why = self._steps.refusal(event, {name: rows[0] for name, rows in kept.items()})
        if why:
            raise UserError(f"user {user!r}, {why}")
        (answer,), after = self._steps.step(self._model, [event], kept)
        if answer is None:
            raise UserError(f"user {user!r}, the model's numbers are not finite for this step")
        self._users[user] = dict(after)
        return answer

    def _new(self) -> dict[str, NDArray[Any]]:
        fields = {**_COUNT, **self._steps.fields}
        return {name: np.zeros((1, *part["shape"]), part["dtype"]) for name, part in fields.items()}

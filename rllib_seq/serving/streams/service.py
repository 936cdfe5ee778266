"""From steps of sessions to answers; no HTTP, no Ray.

- `StreamService`: a model, sessions and storage put together
- `Stepper`: what a kind of export does with a step: `acting.ActingSteps`, for example
- `StepQuery`, `StepAnswer`

Calls come one after the other, see `rllib_seq.serving.service`.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rllib_seq.errors import UserError
from rllib_seq.serving.openrtb.identity import user_key
from rllib_seq.serving.settings import Settings
from rllib_seq.serving.state.clock import BookClock, SteadyClock
from rllib_seq.serving.state.session_cache import CampaignClock, SessionCache
from rllib_seq.serving.state.storage import Conflict, Storage
from rllib_seq.serving.streams.model import StreamModel
from rllib_seq.serving.streams.sessions import StreamSessions

__all__ = ["FAILED", "LATE", "StepAnswer", "StepQuery", "Stepper", "StreamService"]

Arrays = Mapping[str, NDArray[Any]]
_ATTEMPTS = 20
_HOUR = 3600.0
_NOT_FINITE = (
    "body: the model's numbers are not finite for this step, and the session stays as it was; "
    "give numbers as in training"
)


class StepQuery(NamedTuple):
    """One step of a session."""

    user: int
    """Key of the session; random without one."""
    remembered: bool
    """Whether it is kept."""
    begins: bool
    """Whether the session begins again with this step."""
    content: Any
    """What `Stepper.read` made of the request."""


class StepAnswer(NamedTuple):
    """What is said to a step."""

    values: dict[str, Any] | None
    why: str = "answered"
    """"answered"; "refused": `detail` says why; "late"; "error"."""
    detail: str = ""
    bid: None = None
    """Nothing is taken back."""


LATE, FAILED = StepAnswer(None, "late"), StepAnswer(None, "error")


class Stepper(Protocol):
    """What an export does with steps."""

    path: str
    """Of its requests."""
    fields: Mapping[str, Any]
    """What is kept of a session: shape and type by name; zeros for a new one."""

    def read(self, item: Mapping[str, Any]) -> Any:
        """The content of a query, of the fields of a request but `session` and `reset`.

        Raises:
            ValueError: one is missing or wrong; begins with its name.
        """

    def refusal(self, content: Any, kept: Mapping[str, Any]) -> str:
        """Why a step cannot be taken by a session; "" if it can."""

    def step(
        self, model: StreamModel, contents: Sequence[Any], kept: Arrays
    ) -> tuple[list[dict[str, Any] | None], Arrays]:
        """Answers for JSON, and what is kept of the sessions afterwards, `steps` counted.

        None answers a step whose numbers are not finite; nothing is kept of it.
        """


class _Totals:
    """What `SessionCache` tells of the totals."""

    def __init__(self, totals: dict[str, float]) -> None:
        self.totals = totals


class StreamService:
    """A model that remembers sessions.

    Args:
        model: that is run.
        stepper: what is done with it.
        settings: of the operator.
        storage: what must survive.
        clock: seconds since the epoch; None: a `SteadyClock`.
    """

    one_by_one = False

    def __init__(
        self,
        model: StreamModel,
        stepper: Stepper,
        settings: Settings,
        storage: Storage,
        clock: Callable[[], float] | None = None,
    ) -> None:
        clock = clock or SteadyClock()
        self.policy, self.stepper, self.settings = model, stepper, settings
        self._storage = storage
        self.state_errors: tuple[type[Exception], ...] = (Conflict, *storage.errors)
        """What calls raise that could not read or write the state."""
        self.counts: Counter[str] = Counter()
        """Since the start: answers by why."""
        started = float(storage.constant("started", repr(clock()).encode()))
        self.clock = CampaignClock(clock, started)
        self._books = BookClock(clock, storage.last_written())
        self.money = _Totals(storage.totals())
        fields = {"steps": {"shape": [], "dtype": "int64"}, **stepper.fields}
        self.sessions = StreamSessions(
            fields, settings.max_users, settings.session_hours, settings.max_batch
        )
        ttl = settings.session_hours * _HOUR
        self.memory = SessionCache(self.sessions, storage, self.money, ttl, self.clock.hour())

    def query(self, item: Any) -> StepQuery:
        """What a request asks.

        Raises:
            ValueError: a field is missing or wrong; begins with its name.
        """
        if not isinstance(item, dict):
            raise ValueError("body: must be an object, or a list of objects")
        rest = dict(item)
        session, begins = rest.pop("session", None), rest.pop("reset", False)
        if not isinstance(begins, bool):
            raise ValueError("reset: must be true or false")
        if session is not None and not (isinstance(session, str) and 0 < len(session) <= 256):
            raise ValueError("session: must be a text of 1 to 256 letters")
        content = self.stepper.read(rest)
        if session is None:
            key = int.from_bytes(secrets.token_bytes(8), "little", signed=True)
            return StepQuery(key, False, begins, content)
        return StepQuery(self.key(session), True, begins, content)

    def key(self, session: str) -> int:
        """What stands for a session in memory and in the state."""
        return user_key(session, self.settings.user_secret)

    def answer(self, queries: Sequence[StepQuery]) -> list[StepAnswer]:
        """Answers steps of different sessions.

        Raises:
            Conflict: others kept changing the same sessions (only with a shared storage).
        """
        now = self._books()
        self.memory.prune(now)
        for attempt in range(_ATTEMPTS):
            try:
                answers = self._answer(queries, now)
                break
            except Conflict:
                if attempt == _ATTEMPTS - 1:
                    raise
        for answer in answers:
            self.counts[answer.why] += 1
        return answers

    def _answer(self, queries: Sequence[StepQuery], now: float) -> list[StepAnswer]:
        keys = np.array([query.user for query in queries], np.int64)
        remembered = np.array([query.remembered for query in queries])
        rows = self.memory.claim(keys, self.clock.hour(), remembered)
        self.sessions.begin(rows[[query.begins for query in queries]])
        known, contents = self.sessions.get(rows), [query.content for query in queries]
        why = [
            self.stepper.refusal(content, {name: part[row] for name, part in known.items()})
            for row, content in enumerate(contents)
        ]
        answers = [StepAnswer(None, "refused", reason) for reason in why]
        taken = np.array([not reason for reason in why])
        if not taken.any():
            return answers
        places = np.flatnonzero(taken)
        kept = {name: part[taken] for name, part in known.items()}
        said, after = self.stepper.step(self.policy, [contents[i] for i in places], kept)
        steps = after["steps"].tolist()
        for place, values, count in zip(places.tolist(), said, steps, strict=True):
            answers[place] = (
                StepAnswer(None, "refused", _NOT_FINITE)
                if values is None
                else StepAnswer({**values, "steps": count})
            )
        finite = np.array([values is not None for values in said])
        taken[places] = finite
        self.sessions.put(rows[taken], {name: part[finite] for name, part in after.items()})
        written = taken & remembered
        self.memory.write(
            rows[written], keys[written].tolist(), now, {"requests": float(finite.sum())}
        )
        return answers

    def replace(self, model: StreamModel) -> None:
        """Lets another export answer from now on; sessions stay.

        Raises:
            UserError: it has other spaces, state or outputs.
        """
        if not (isinstance(model, StreamModel) and self.policy.spec.same_interface(model.spec)):
            raise UserError(
                "the new export has other spaces, states or outputs than the one that is served; "
                "start another server for it"
            )
        self.policy = model

    def withdraw(self, bid: Any) -> None:
        """Nothing: a step that was late is a step."""

    def forget(self, key: int) -> None:
        """Forgets a session."""
        self.memory.forget(key)

    def check_state(self) -> None:
        """Raises one of `state_errors` if the state cannot be written."""
        self._storage.check()

    def log_bytes(self) -> int:
        """What is written and waits to be brought into the state file."""
        return self._storage.log_bytes()

    def close(self) -> None:
        """Lets go of the storage."""
        self._storage.close()

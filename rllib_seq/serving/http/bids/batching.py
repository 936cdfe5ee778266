"""Requests that wait together run the model together, in a thread of their own.

- `Batcher`: takes requests one by one, asks the service for many at once.

The event loop reads requests and writes answers; one other thread has the service to itself, so
calls of it still come one after the other. While it runs the model or writes state, both of which
let go of the interpreter, the loop reads the requests of the next batch. There is no timer: a batch
is whatever has come by the time the one before is done, or, after a pause, by the end of the turn
of the loop. A batch takes at most one request of a user (or, where the campaign is the stream, one
request), the oldest; their others stay in line. Anyone who waits past their deadline, because the
thread is kept by a state that stands still, is given so by the loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, TypeVar

from rllib_seq.serving.decisions import BidDecision
from rllib_seq.serving.quiet_log import OncePerSecond
from rllib_seq.serving.settings import Settings

__all__ = ["FAILED", "LATE", "Batcher"]

_LOG = logging.getLogger(__name__)
_LOG.addFilter(OncePerSecond())
_T = TypeVar("_T")

LATE = BidDecision(None, "late")
FAILED = BidDecision(None, "error")
_MOST_WAITING = 10_000
_TICK_SECONDS = 0.004  # how late a late answer may be


class _Waiting(NamedTuple):
    query: Any
    deadline: float
    answer: asyncio.Future[Any]


class Batched(Protocol):
    """A service that answers many requests at once, see `BidService` and `StreamService`."""

    settings: Settings
    counts: Counter[str]
    state_errors: tuple[type[Exception], ...]

    @property
    def one_by_one(self) -> bool:
        """Whether all requests are steps of one stream."""

    def answer(self, queries: Any) -> list[Any]:
        """Answers to queries of different users (`query.user`).

        If one is late, its `bid` is taken back, unless that is None.
        """

    def withdraw(self, bid: Any) -> None:
        """Takes back what was answered too late."""


class Batcher:
    """Collects requests for a service; belongs to one event loop.

    Args:
        service: that answers; no one else may call it meanwhile.
        late: the answer to who has waited past their deadline.
        failed: the answer if the service fails.
    """

    def __init__(self, service: Batched, late: Any = LATE, failed: Any = FAILED) -> None:
        self._service, self._late, self._failed = service, late, failed
        self._waiting: deque[_Waiting] = deque()
        self._open: list[_Waiting] = []  # those who may still become late, oldest first
        self._busy = self._ticking = False
        self._thread = ThreadPoolExecutor(1, "service")

    async def answer(self, query: Any, deadline: float) -> Any:
        """The answer to a request; none rather than a late one.

        Args:
            query: the request.
            deadline: on the clock of `time.monotonic`.
        """
        loop = asyncio.get_running_loop()
        if len(self._waiting) >= _MOST_WAITING:
            return self._late
        waiting = _Waiting(query, deadline, loop.create_future())
        self._waiting.append(waiting)
        self._open.append(waiting)
        if not self._ticking:
            self._ticking = True
            loop.call_later(_TICK_SECONDS, self._tick, loop)
        if not self._busy:
            self._busy = True
            loop.call_soon(self._start, loop)
        return await waiting.answer

    async def call(self, function: Callable[..., _T], *arguments: object) -> _T:
        """Calls something that uses the service, between two batches."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, function, *arguments)

    def close(self) -> None:
        """Ends the thread after what is under way."""
        self._thread.shutdown()

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._thread.submit(self._run, loop)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        """In the thread: a batch, then whatever else was to be called, then the next batch."""
        batch, late = self._next_batch()
        if not batch and not late:
            loop.call_soon_threadsafe(self._rest, loop)
            return
        try:
            answers = self._answers(batch)
        except Exception as error:
            # Those who wait must hear of it, and the next batch must have its turn. It
            # is logged as it is, counted, and answered as an error (`nbr` 1).
            expected = isinstance(error, self._service.state_errors)
            _LOG.error("a batch of requests failed: %r", error, exc_info=not expected)
            self._service.counts["error"] += len(batch)
            answers = [self._failed] * len(batch)
        answers = [*answers, *[self._late] * len(late)]
        loop.call_soon_threadsafe(self._finish, [*batch, *late], answers)
        self._thread.submit(self._run, loop)

    def _rest(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing waited; but something may have come since."""
        self._busy = bool(self._waiting)
        if self._busy:
            self._start(loop)

    def _finish(self, batch: list[_Waiting], answers: list[Any]) -> None:
        for waiting, answer in zip(batch, answers, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(answer)
            elif answer.bid is not None:  # it was reported to be late in the meantime
                self._thread.submit(self._withdraw, answer)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tells those who are late, and comes again while someone waits."""
        now = time.monotonic()
        still = []
        for waiting in self._open:
            if waiting.answer.done():
                continue
            if now > waiting.deadline:
                waiting.answer.set_result(self._late)
            else:
                still.append(waiting)
        self._open = still
        self._ticking = bool(still)
        if self._ticking:
            loop.call_later(_TICK_SECONDS, self._tick, loop)

    def _answers(self, batch: list[_Waiting]) -> list[Any]:
        answers = self._service.answer([waiting.query for waiting in batch]) if batch else []
        now = time.monotonic()
        for place, (waiting, answer) in enumerate(zip(batch, answers, strict=True)):
            if answer.bid is not None and now > waiting.deadline:
                self._withdraw(answer)
                answers[place] = self._late
        return answers

    def _next_batch(self) -> tuple[list[_Waiting], list[_Waiting]]:
        """The oldest request of each user, as many as fit; and those who are late already."""
        most = 1 if self._service.one_by_one else self._service.settings.max_batch
        batch: dict[int, _Waiting] = {}
        left: list[_Waiting] = []
        late: list[_Waiting] = []
        now = time.monotonic()
        while self._waiting and len(batch) < most:
            waiting = self._waiting.popleft()
            if now > waiting.deadline:
                late.append(waiting)
            elif waiting.query.user in batch:
                left.append(waiting)
            else:
                batch[waiting.query.user] = waiting
        self._waiting.extendleft(reversed(left))
        self._service.counts["late"] += len(late)
        return list(batch.values()), late

    def _withdraw(self, answer: Any) -> None:
        assert answer.bid is not None
        try:
            self._service.withdraw(answer.bid)
        except self._service.state_errors as error:
            # The bid does not leave all the same; its budget is free when its hold ends.
            _LOG.error("a late bid could not be taken back: %s", error)

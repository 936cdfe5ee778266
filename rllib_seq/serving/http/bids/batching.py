"""Requests that wait together run the model together, in a thread of their own.

- `Batcher`: takes requests one by one, asks the service for many at once.

The event loop reads requests and writes answers; one other thread has the service to itself, so
calls of it still come one after the other. There is no timer: a batch is whatever has come until
the loop finds nothing more to read, or as many as a batch may have. A batch costs much more than a
request in it, and two threads that both have work take the interpreter from each other, so it pays
to read first. A batch takes at most one request of a user (or, where the campaign is the stream,
one request), the oldest; their others stay in line. Anyone who waits past their deadline, because
the thread is kept by a state that stands still, is given so by the loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

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


class _Waiting:
    """Someone who is given an answer, once."""

    __slots__ = ("answered", "deadline", "query", "tell")

    def __init__(self, query: Any, deadline: float, tell: Callable[[Any], None]) -> None:
        self.query, self.deadline, self.tell = query, deadline, tell
        self.answered = False


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
        self._most = 1 if service.one_by_one else service.settings.max_batch
        self._thread = ThreadPoolExecutor(1, "service")

    async def answer(self, query: Any, deadline: float) -> Any:
        """See `submit`."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def tell(what: Any) -> None:
            if not answer.done():  # who asked may have gone
                answer.set_result(what)

        self.submit(query, deadline, tell)
        return await answer

    def submit(self, query: Any, deadline: float, tell: Callable[[Any], None]) -> None:
        """Has a request answered; late rather than too late.

        Args:
            query: the request.
            deadline: on the clock of `time.monotonic`.
            tell: is called with the answer, in the loop.
        """
        loop = asyncio.get_running_loop()
        if len(self._waiting) >= _MOST_WAITING:
            tell(self._late)
            return
        waiting = _Waiting(query, deadline, tell)
        self._waiting.append(waiting)
        self._open.append(waiting)
        if not self._ticking:
            self._ticking = True
            loop.call_later(_TICK_SECONDS, self._tick, loop)
        if not self._busy:
            self._busy = True
            self._gather(loop, 0)

    async def call(self, function: Callable[..., _T], *arguments: object) -> _T:
        """Calls something that uses the service, between two batches."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, function, *arguments)

    def close(self) -> None:
        """Ends the thread after what is under way."""
        self._thread.shutdown()

    def _gather(self, loop: asyncio.AbstractEventLoop, before: int) -> None:
        """Lets the loop read while more requests come, then has a batch answered."""
        waiting = len(self._waiting)
        if before < waiting < self._most:
            # What is read in one turn of the loop is a request here in the next.
            loop.call_soon(loop.call_soon, self._gather, loop, waiting)
        else:
            self._thread.submit(self._run, loop)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        """In the thread: a batch; what else was to be called comes before the next."""
        batch, late = self._next_batch()
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
        loop.call_soon_threadsafe(self._finish, loop, [*batch, *late], answers)

    def _finish(
        self, loop: asyncio.AbstractEventLoop, batch: list[_Waiting], answers: list[Any]
    ) -> None:
        for waiting, answer in zip(batch, answers, strict=True):
            if not waiting.answered:
                self._tell(waiting, answer)
            elif answer.bid is not None:  # it was reported to be late in the meantime
                self._thread.submit(self._withdraw, answer)
        self._busy = bool(self._waiting)
        if self._busy:
            self._gather(loop, 0)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """Answers those who are late, and comes again while someone waits."""
        now = time.monotonic()
        still = []
        for waiting in self._open:
            if waiting.answered:
                continue
            if now > waiting.deadline:
                self._tell(waiting, self._late)
            else:
                still.append(waiting)
        self._open = still
        self._ticking = bool(still)
        if self._ticking:
            loop.call_later(_TICK_SECONDS, self._tick, loop)

    def _tell(self, waiting: _Waiting, answer: Any) -> None:
        waiting.answered = True
        try:
            waiting.tell(answer)
        except Exception:
            # Others must have their answers, and their turn, whatever becomes of this one.
            _LOG.exception("an answer could not be given")

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
        batch: dict[int, _Waiting] = {}
        left: list[_Waiting] = []
        late: list[_Waiting] = []
        now = time.monotonic()
        while self._waiting and len(batch) < self._most:
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

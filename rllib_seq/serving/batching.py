"""Requests that wait together run the model together.

- `Batcher`: takes requests one by one, asks the service for many at once.

There is no timer: a batch is closed when a turn of the event loop has brought no other request, or
after a millisecond, so a lone request hardly waits. A batch takes at most one request of a user
(or, where the campaign is the stream, one request), the oldest; his others stay in line.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import NamedTuple

from rllib_seq.serving.service import Answer, Ask, BidService

__all__ = ["LATE", "Batcher"]

_LOG = logging.getLogger(__name__)

LATE = Answer(None, "late")
FAILED = Answer(None, "error")
_MOST_WAITING = 10_000
_GATHER_SECONDS = 0.001


class _Waiting(NamedTuple):
    ask: Ask
    deadline: float
    answer: asyncio.Future[Answer]


class Batcher:
    """Collects requests for a service; belongs to one event loop.

    Args:
        service: that answers.
    """

    def __init__(self, service: BidService) -> None:
        self._service = service
        self._waiting: deque[_Waiting] = deque()
        self._scheduled = False
        self._gathered, self._gather_until = 0, 0.0

    async def ask(self, ask: Ask, deadline: float) -> Answer:
        """The answer to a request; no bid rather than a late one.

        Args:
            ask: the request.
            deadline: on the clock of `time.monotonic`.
        """
        loop = asyncio.get_running_loop()
        if len(self._waiting) >= _MOST_WAITING:
            return LATE
        waiting = _Waiting(ask, deadline, loop.create_future())
        self._waiting.append(waiting)
        if not self._scheduled:
            self._schedule(loop)
        return await waiting.answer

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = True
        self._gathered, self._gather_until = 0, time.monotonic() + _GATHER_SECONDS
        loop.call_soon(self._gather)

    def _gather(self) -> None:
        """Looks after every turn of the loop whether more have come."""
        waiting = len(self._waiting)
        grows = self._gathered < waiting < self._service.settings.max_batch
        if grows and time.monotonic() < self._gather_until:
            self._gathered = waiting
            asyncio.get_running_loop().call_soon(self._gather)
        else:
            self._run()

    def _run(self) -> None:
        self._scheduled = False
        batch = self._next_batch()
        if batch:
            try:
                answers = self._service.answer([waiting.ask for waiting in batch])
            except Exception:  # one bad batch must not end the server
                _LOG.exception("a batch of %d requests failed", len(batch))
                answers = [FAILED] * len(batch)
            now = time.monotonic()
            for waiting, answer in zip(batch, answers, strict=True):
                if answer.bid is not None and now > waiting.deadline:
                    self._withdraw(answer)
                    answer = LATE
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)
        if self._waiting:
            self._schedule(asyncio.get_running_loop())

    def _next_batch(self) -> list[_Waiting]:
        """The oldest request of each user, as many as fit; those who are late are told so."""
        most = 1 if self._service.one_by_one else self._service.settings.max_batch
        batch: dict[int, _Waiting] = {}
        left: list[_Waiting] = []
        now = time.monotonic()
        while self._waiting and len(batch) < most:
            waiting = self._waiting.popleft()
            if now > waiting.deadline:
                self._service.counts["late"] += 1
                if not waiting.answer.done():
                    waiting.answer.set_result(LATE)
            elif waiting.ask.user in batch:
                left.append(waiting)
            else:
                batch[waiting.ask.user] = waiting
        self._waiting.extendleft(reversed(left))
        return list(batch.values())

    def _withdraw(self, answer: Answer) -> None:
        assert answer.bid is not None
        try:
            self._service.withdraw(answer.bid)
        except Exception:  # the bid does not leave; its budget is free when its hold ends
            _LOG.exception("a late bid could not be taken back")

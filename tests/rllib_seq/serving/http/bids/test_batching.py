"""Requests that wait together: the order of a user, deadlines and failures."""

import asyncio
import threading
import time
from collections import Counter

import pytest
from serving_helpers import ask

from rllib_seq.serving.decisions import BidDecision
from rllib_seq.serving.http.bids.batching import FAILED, LATE, Batcher
from rllib_seq.serving.openrtb.bid_ids import Bid
from rllib_seq.serving.settings import Settings


class Slow:
    """A service that remembers who was asked together, and takes its time."""

    one_by_one = False
    state_errors = (OSError,)

    def __init__(self, seconds=0.0):
        self.settings = Settings(export="", max_batch=4)
        self.counts = Counter()
        self.batches, self.seconds, self.withdrawn = [], seconds, []

    def answer(self, asks):
        self.batches.append([each.user for each in asks])
        time.sleep(self.seconds)
        return [BidDecision(Bid(each.user, each.user, 0, 0, 0, 1.0, 0.0), "bid") for each in asks]

    def withdraw(self, bid):
        self.withdrawn.append(bid.user)


def asked(service, users, seconds=600.0):
    async def run():
        batcher = Batcher(service)
        deadline = time.monotonic() + seconds
        try:
            return await asyncio.gather(*(batcher.answer(ask(user), deadline) for user in users))
        finally:
            batcher.close()

    return asyncio.run(run())


def test_batches_hold_a_user_once_and_keep_their_order():
    service = Slow()
    answers = asked(service, [1, 2, 1, 3, 1, 4, 5])
    assert [answer.bid.user for answer in answers] == [1, 2, 1, 3, 1, 4, 5]
    assert service.batches == [[1, 2, 3, 4], [1, 5], [1]]


@pytest.mark.slow
def test_no_bid_rather_than_a_late_one():
    """The service stands still until askers are answered; its later bids are taken back."""
    service, begun, reported = Slow(), threading.Event(), threading.Event()
    answer = service.answer

    def stands_still(queries):
        begun.set()
        assert reported.wait(600)
        return answer(queries)

    service.answer = stands_still

    async def run():
        batcher = Batcher(service)
        deadline = time.monotonic() + 3.0
        asking = [asyncio.create_task(batcher.answer(ask(1), deadline)) for _ in range(2)]
        await asyncio.to_thread(begun.wait, 600)
        answers = await asyncio.gather(*asking)
        reported.set()
        while not service.withdrawn or not service.counts["late"]:
            await asyncio.sleep(0.01)
        batcher.close()
        return answers

    assert asyncio.run(run()) == [LATE, LATE]
    assert service.batches == [[1]]  # the second was late before its turn
    assert service.withdrawn == [1]
    assert service.counts["late"] == 1


def test_a_batch_that_fails_is_told_so_and_the_next_has_its_turn():
    service = Slow()
    answer = service.answer

    def fails_once(asks):
        service.answer = answer
        raise RuntimeError("once")

    service.answer = fails_once
    answers = asked(service, [1, 1])
    assert answers[0] == FAILED
    assert answers[1].bid.user == 1
    assert service.counts["error"] == 1


def test_where_the_campaign_is_the_stream_requests_come_one_by_one():
    service = Slow()
    service.one_by_one = True
    asked(service, [1, 2, 3])
    assert service.batches == [[1], [2], [3]]


def test_an_answer_that_cannot_be_given_holds_up_no_one():
    async def run():
        batcher = Batcher(Slow())
        deadline = time.monotonic() + 60.0
        for user in (1, 1):
            batcher.submit(ask(user), deadline, lambda answer: 1 / 0)
        answers = [await batcher.answer(ask(user), deadline) for user in (1, 2)]
        batcher.close()
        return [answer.bid.user for answer in answers]

    assert asyncio.run(run()) == [1, 2]


def test_what_is_read_in_following_turns_of_the_loop_is_one_batch():
    service = Slow()

    async def run():
        batcher = Batcher(service)
        deadline = time.monotonic() + 60.0

        async def later(user):
            for _ in range(user):
                await asyncio.sleep(0)
            return await batcher.answer(ask(user), deadline)

        await asyncio.gather(*(later(user) for user in (1, 2, 3)))
        batcher.close()

    asyncio.run(run())
    assert service.batches == [[1, 2, 3]]

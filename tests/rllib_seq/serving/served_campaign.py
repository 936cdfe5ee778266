"""A campaign of the simulator, played through a bid service."""

from collections import defaultdict

import numpy as np

from rllib_seq.serving.decisions import BidQuery

CAMPAIGN = 5


class Served:
    """The same campaign through the bid service: requests, then notices of what became of them."""

    name = "served"

    def __init__(self, service, clock, one_by_one=False):
        self.service, self.clock, self.one_by_one = service, clock, one_by_one
        self.start_seconds = clock.now
        observe = service.sessions.observe

        def observed(*arguments):
            self.observed = observe(*arguments)
            return self.observed

        service.sessions.observe = observed
        self.made = defaultdict(list)
        self.offered = {}

    def start(self, simulator):
        self.simulator = simulator
        self.converted = np.zeros(simulator.num_users, bool)

    def _tell_conversions(self):
        """Those that have come since; the ledger counts them when they happen."""
        happens = self.simulator.state.conversion_hour
        for user in np.flatnonzero(self.waiting(happens)):
            self.converted[user] = True
            back = self.clock.now
            self.clock.now = self.start_seconds + happens[user] * 3600
            assert self.service.notice("conversion", user=int(user), event="1") == "counted"
            self.clock.now = back

    def waiting(self, happens):
        return np.isfinite(happens) & (happens <= self.simulator.hour) & ~self.converted

    def bids(self, users):
        self.clock.now = self.start_seconds + self.simulator.hour * 3600
        self._tell_conversions()
        users = users[:1] if self.one_by_one else users
        state = self.simulator.state
        expected = self.simulator.observe(users)
        asks = [
            BidQuery(
                int(u), int(state.channel[u]), int(state.segment[u]), int(state.device[u]), 0.0
            )
            for u in users
        ]
        answers = self.service.answer(asks)
        np.testing.assert_allclose(self.observed, expected, atol=1e-6)
        bids = np.array([0.0 if a.bid is None else a.bid.amount for a in answers])
        for user, answer, bid in zip(users, answers, bids, strict=True):
            assert answer.why in ("bid", "policy", "budget")
            self.made[int(user)].append(None if answer.why == "budget" else float(bid))
            self.offered[int(user)] = answer.bid
        return bids

    def update(self, users, outcome):
        for i, user in enumerate(users):
            bid = self.offered.pop(int(user))
            if bid is not None:
                name = self.service.sealer.seal(bid)
                if outcome.won[i]:
                    price = float(outcome.paid[i])
                    assert self.service.notice("win", name, price=price) == "counted"
                    assert self.service.notice("billing", name, price=price) == "known"
                else:
                    assert self.service.notice("loss", name) == "counted"
                if outcome.clicked[i]:
                    assert self.service.notice("click", name) == "counted"
            event = f"{self.simulator.request[user]}"
            if outcome.visited[i]:
                self.service.notice("visit", user=int(user), event=event)
            if outcome.converted[i] and self.simulator.preset.users.delay is None:
                self.service.notice("conversion", user=int(user), event="1")

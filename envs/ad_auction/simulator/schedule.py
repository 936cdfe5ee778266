"""Who comes when: seats, clocks and queues of campaigns that run side by side.

- `Schedule`: seats users in slots, moves each campaign's clock from tick to tick, and keeps the
  queue of its pending requests.
- `PURPOSES`: everything that is left to chance; each has keys of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.draws import Seed, categorical, purpose_keys, uniforms
from rllib_seq.envs.ad_auction.simulator.campaign import Groups
from rllib_seq.envs.ad_auction.simulator.state import NEVER, UserState
from rllib_seq.envs.ad_auction.worlds.world import Preset

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# The order fixes every number that is ever drawn: append, never reorder.
PURPOSES = (
    *("price", "click", "conversion", "churn", "move", "visit", "delay", "channel"),
    *("gap", "session", "back"),
    *("arrival", "stage", "segment", "device"),
    "rivals",
)
_OF_USERS = ("arrival", "stage", "segment", "device")
OF_REQUESTS = tuple(name for name in PURPOSES if name not in (*_OF_USERS, "rivals"))


class Schedule:
    """Clocks, seats and queues of E campaigns.

    Args:
        preset: the world.
        num_users: of each campaign, all in all.
        slots: of each campaign; a journey's end makes room for the user who comes next.
        state: `[E * slots]` rows.
        deliver: is given the rows of conversions that happen.
        forget: is given the rows that others take.

    Attributes:
        hours: `[E]`, the clocks.
        ticks: `[E]`, the same in ticks; -1 before the first.
        keys: `[purposes, E]`, see `draws`.
    """

    def __init__(
        self,
        preset: Preset,
        num_users: int,
        slots: int,
        state: UserState,
        deliver: Callable[[Ints], None],
        forget: Callable[[Ints], None],
    ) -> None:
        self._preset, self._num_users, self._slots = preset, num_users, slots
        self._state, self._deliver, self._forget = state, deliver, forget
        self._tick_hours = preset.users.traffic.tick_hours
        campaigns = len(state.number) // slots
        self.hours = np.zeros(campaigns)
        self.ticks = np.full(campaigns, -1)
        self.keys = np.zeros((len(PURPOSES), campaigns), np.uint64)
        self._seated = np.zeros(campaigns, np.int64)  # users who have had a slot
        self._log_to_come = np.zeros(campaigns)  # log share of arrivals after the last seated
        self._next_conversion = np.full(campaigns, np.inf)
        # Its length balances looking at everybody once against looking at the list at every tick.
        gap = preset.users.traffic.mean_gap_hours / self._tick_hours
        self._window = max(1, int(np.sqrt(gap)))
        self._window_end = np.zeros(campaigns, np.int64)
        self._soon = np.zeros((campaigns, slots), np.int64)
        self._soon_size = np.zeros(campaigns, np.int64)
        self._queue = np.zeros((campaigns, slots), np.int64)
        self._head = np.zeros(campaigns, np.int64)
        self._tail = np.zeros(campaigns, np.int64)

    def start(self, campaigns: Ints, seeds: Sequence[Seed]) -> None:
        """Starts new campaigns."""
        self.hours[campaigns] = 0.0
        self.ticks[campaigns] = -1
        self._seated[campaigns] = 0
        self._log_to_come[campaigns] = 0.0
        self._next_conversion[campaigns] = np.inf
        self._soon_size[campaigns] = 0
        self._window_end[campaigns] = 0
        for campaign, seed in zip(campaigns.tolist(), seeds, strict=True):
            self.keys[:, campaign] = purpose_keys(seed, len(PURPOSES))
            self._seat(campaign, np.arange(self._slots))
        self._advance(campaigns)

    def pending(self) -> Ints:
        """Rows whose requests are due now, in the order in which they are served."""
        if len(self.hours) == 1:
            return self._queue[0, self._head[0] : self._tail[0]].copy()  # the next tick writes it
        size = self._tail - self._head
        campaign = np.repeat(np.arange(len(size)), size)
        place = np.arange(len(campaign)) - np.repeat(np.cumsum(size) - self._tail, size)
        return campaign * self._slots + self._queue[campaign, place]

    def shown(self) -> Ints:
        """`[E]`: the row that is next in each campaign; its first when it is over.

        Then no one acts any more on what is observed of it.
        """
        each = np.arange(len(self.hours))
        slot = self._queue[each, np.where(self.over, 0, self._head)]
        return each * self._slots + np.where(self.over, 0, slot)

    @property
    def over(self) -> Bools:
        """`[E]`: whether every journey of a campaign has ended."""
        return self._head == self._tail

    def expect(self, campaign: Ints, hour: Floats) -> None:
        """Notes when conversions will happen, `[n]` each; infinity: not at all."""
        np.minimum.at(self._next_conversion, campaign, hour)

    def serve(self, groups: Groups) -> None:
        """Takes so many first requests off the queues of these campaigns."""
        campaigns = groups.campaigns
        self._head[campaigns] += groups.size
        through = campaigns[self._head[campaigns] == self._tail[campaigns]]
        if len(through):
            self._advance(through)

    def _seat(self, campaign: int, slots: Ints) -> None:
        """Gives free slots to the users who come next."""
        state, model = self._state, self._preset.users
        rows = campaign * self._slots + slots
        self._forget(rows)
        state.next_tick[rows] = NEVER
        state.ended[rows] = True
        first = int(self._seated[campaign])
        rows = rows[: self._num_users - first]
        number = np.arange(first, first + len(rows))
        self._seated[campaign] = first + len(rows)
        keys = self.keys[[PURPOSES.index(name) for name in (*_OF_USERS, "channel")], campaign]
        arrival, stage, segment, device, channel = uniforms(
            keys[:, None], number, np.zeros(1, np.int64)
        )
        # Arrivals one after the other, as if all were drawn alike and sorted: what is left after
        # the k-th is what was left before times the (N - k)-th root of a uniform.
        shares = np.log1p(-arrival) / (self._num_users - number)
        to_come = self._log_to_come[campaign] + np.cumsum(shares)
        if len(rows) == 0:
            return
        self._log_to_come[campaign] = to_come[-1]
        tick = model.traffic.first_tick(-np.expm1(to_come))
        if tick[0] <= self.ticks[campaign]:
            raise ValueError(
                f"slots is {self._slots}; at hour {self.hours[campaign]:g} more users are there at "
                "the same time; give more slots"
            )
        audience = model.audience
        state.number[rows] = number
        state.stage[rows] = categorical(model.initial_share, stage)
        state.segment[rows] = segment = categorical(audience.segment_share, segment)
        state.device[rows] = categorical(audience.device_share[segment], device)
        state.channel[rows] = categorical(model.channel_share, channel)
        in_flight = tick * self._tick_hours < self._preset.flight_hours
        state.next_tick[rows] = np.where(in_flight, tick, NEVER)
        state.ended[rows] = ~in_flight

    def _advance(self, campaigns: Ints) -> None:
        """Moves campaigns to the next tick that has requests; past the last, to the end."""
        while True:
            self._reseat(campaigns)
            slots, ticks = self._upcoming(campaigns)
            upcoming = ticks.min(axis=1, initial=NEVER)
            over = upcoming == NEVER
            hour = np.where(over, self._preset.flight_hours, upcoming * self._tick_hours)
            # A conversion ends a journey and may make room for a user who comes before that hour.
            if not self._pay_out(campaigns, hour) or self._slots == self._num_users:
                break
        self.ticks[campaigns] = np.where(over, self.ticks[campaigns], upcoming)
        self.hours[campaigns] = np.where(np.isfinite(hour), hour, self.hours[campaigns])
        due = (ticks == upcoming[:, None]) & ~over[:, None]
        self._tail[campaigns] = _pack(self._queue, campaigns, slots, due)
        self._head[campaigns] = 0

    def _upcoming(self, campaigns: Ints) -> tuple[Ints, Ints]:
        """The slots that are next and when, `[m, width]` each, in order; NEVER fills up.

        To look at every user at every tick would cost more than the tick. So those who come in the
        next window are listed, and all are looked at again when it has passed. Who is served in a
        window is in its list already, and a new user opens a new one.
        """
        ticks = self._state.next_tick.reshape(len(self.hours), self._slots)
        slots, upcoming = self._listed(campaigns, ticks)
        passed = upcoming.min(axis=1, initial=NEVER) >= self._window_end[campaigns]
        if passed.any():
            which = campaigns[passed]
            everybody = ticks[which]
            first = everybody.min(axis=1)
            self._window_end[which] = end = np.where(first == NEVER, NEVER, first + self._window)
            each = np.broadcast_to(np.arange(self._slots), everybody.shape)
            self._soon_size[which] = _pack(self._soon, which, each, everybody < end[:, None])
            slots, upcoming = self._listed(campaigns, ticks)
        return slots, upcoming

    def _listed(self, campaigns: Ints, ticks: Ints) -> tuple[Ints, Ints]:
        size = self._soon_size[campaigns]
        slots = self._soon[campaigns, : size.max()]
        upcoming = ticks[campaigns[:, None], slots]
        if len(campaigns) > 1:
            upcoming[np.arange(slots.shape[1]) >= size[:, None]] = NEVER
        return slots, upcoming

    def _reseat(self, campaigns: Ints) -> None:
        """Gives the slots of ended journeys to the users who come next."""
        if self._slots == self._num_users:
            return
        ended = self._state.ended.reshape(len(self.hours), self._slots)
        for campaign in campaigns[self._seated[campaigns] < self._num_users].tolist():
            free = np.flatnonzero(ended[campaign])
            if len(free):
                self._seat(campaign, free)
                self._soon_size[campaign] = 0

    def _pay_out(self, campaigns: Ints, until: Floats) -> bool:
        """Delivers the conversions that happen up to these hours; whether there were any."""
        late = self._next_conversion[campaigns] <= np.minimum(until, np.finfo(np.float64).max)
        if not late.any():
            return False
        campaigns, until = campaigns[late], until[late]
        state = self._state
        hours = state.conversion_hour.reshape(len(self.hours), self._slots)[campaigns]
        which, slot = np.nonzero(np.isfinite(hours) & (hours <= until[:, None]))
        rows = campaigns[which] * self._slots + slot
        self._deliver(rows)
        state.conversion_hour[rows] = np.inf
        state.ended[rows] = state.next_tick[rows] == NEVER
        hours[which, slot] = np.inf
        self._next_conversion[campaigns] = hours.min(axis=1)
        return True


def _pack(target: Ints, rows: Ints, slots: Ints, chosen: Bools) -> Ints:
    """Writes the chosen slots to the left of `target[rows]`; how many there are, `[m]`."""
    which, place = np.nonzero(chosen)
    count = chosen.sum(axis=1)
    target[rows[which], np.arange(len(which)) - (np.cumsum(count) - count)[which]] = slots[
        which, place
    ]
    return count

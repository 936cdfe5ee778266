"""What the server remembers of every user, in bounded memory.

- `Sessions`: windows, counts and signals of up to `capacity` users, and the counts of the campaign.

The counts are the simulator's own (`simulator.tracking`), and so is the builder of
observations: what a policy was trained on is what it is served.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.journey import features
from rllib_seq.envs.ad_auction.journey.signals import Signals
from rllib_seq.envs.ad_auction.journey.users import Reaction
from rllib_seq.envs.ad_auction.simulator.campaign import Groups
from rllib_seq.envs.ad_auction.simulator.state import Served
from rllib_seq.envs.ad_auction.simulator.tracking import Tracker, exposure_at, wear_out
from rllib_seq.journeys.store import SequenceStore, StoredWindow
from rllib_seq.serving.exported.spec import Spec
from rllib_seq.serving.frequency_cap import FrequencyCap, cap_fields

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_CAMPAIGN = np.zeros(1, np.int64)  # the key and the row of the only stream
# Of a user, as `simulator.state.UserState` has them, and as they are for a new one.
_SEEN: dict[str, Any] = {
    "version": 0,
    "request": 0,
    "number": 0,
    "episode": 0,
    "segment": 0,
    "device": 0,
    "clicked": False,
    "visited": False,
    "last_profit": 0.0,
    "exposure": 0.0,
    "shown_hour": 0.0,
    "shown_creative": -1,
    "repeats": 0,
}
# Of them and of what the tracker keeps: when something happened.
_HOURS = ("shown_hour", "request_hour", "click_hour", "visit_hour", "first_hour")


class Sessions:
    """The memory of a bid server.

    Args:
        spec: of the policy.
        capacity: users in memory at a time; who was seen least recently makes room.
        ttl_hours: a user who has not been seen for so long starts again.
        cap: most impressions that a frequency cap counts; 0 for none.
        guests: most requests at a time of users who are not remembered.
    """

    def __init__(
        self, spec: Spec, capacity: int, ttl_hours: float, cap: int, guests: int = 1
    ) -> None:
        preset = spec.config.build_preset()
        self._layout = spec.config.build_layout(preset)
        self._half_life = preset.users.creatives.half_life_hours
        self._value, self._price_of_budget = preset.value, 1.0 + preset.shadow_price
        channels = len(self._layout.channels)
        rows = capacity + guests
        tracker = Tracker(rows, 1, channels) if self._layout.kind != "raw" else None
        counts = tracker.user_arrays() if tracker else {}
        dim, steps, memory = len(spec.facts["observation"]), spec.steps_kept, spec.memory_size
        self._of_user = spec.stream == "user"
        if self._of_user:
            blank = _record(counts, cap, memory)
            self._store = self._windows = SequenceStore(
                capacity, steps, dim, ttl_hours, blank, guests
            )
        else:
            blank = _record(counts, cap, 0)
            self._store = SequenceStore(capacity, 1, 1, ttl_hours, blank, guests)
            self._windows = SequenceStore(1, steps, dim, blank=_record({}, 0, memory))
            self._windows.claim(_CAMPAIGN, 0.0)
        self._memory = self._windows.records["memory"]
        records = self._store.records
        self._seen: Any = SimpleNamespace(**{name: records[name] for name in _SEEN})
        self.cap = FrequencyCap(records, cap)
        """How often users were shown ads."""
        if tracker is not None:
            for name in counts:
                setattr(tracker, name, records[name])
        self._tracker = tracker
        self._random = np.random.default_rng()
        self.rows = rows
        """Of users and guests."""

    def __len__(self) -> int:
        return len(self._store)

    @property
    def capacity(self) -> int:
        """Users that there can be."""
        return self._store.capacity

    @property
    def nbytes(self) -> int:
        """Memory of as many users as there can be; constant."""
        return self._store.nbytes

    @property
    def evicted(self) -> int:
        """Users who made room."""
        return self._store.evicted_lru + self._store.evicted_ttl

    def claim(self, keys: Ints, hour: float) -> tuple[Ints, Bools]:
        """Rows of different users `[n]`, and who was not in memory `[n]`."""
        return self._store.claim(keys, hour)

    def guests(self, count: int) -> Ints:
        """Rows `[count]` of users without a past, who are gone after the next call."""
        return self._store.spare_rows(count)

    def forget(self, key: int) -> None:
        """Removes a user."""
        self._store.forget([key])

    def find(self, key: int) -> int | None:
        """The row of a user, if they are in memory."""
        rows, known = self._store.find([key])
        return int(rows[0]) if known[0] else None

    def reset(self, rows: Ints) -> None:
        """Makes new users of them."""
        self._store.reset(rows)

    def pack(self, rows: Ints) -> list[bytes]:
        """All that is remembered of users; begins with the version, eight bytes."""
        return self._store.pack(rows)

    def unpack(self, rows: Ints, packed: list[bytes], hour: float) -> None:
        """Users as they were packed.

        Args:
            rows: for them.
            packed: see `pack`.
            hour: now; what they did later than that, by a clock that was wrong, they do now.
        """
        self._store.unpack(rows, packed)
        records = self._store.records
        for name in _HOURS:
            if name in (records.dtype.names or ()):
                records[name][rows] = np.minimum(records[name][rows], hour)
        self.cap.not_after(rows, hour)

    def versions(self, rows: Ints) -> list[int]:
        """How often each was changed."""
        return self._seen.version[rows].tolist()

    def changed(self, rows: Ints) -> None:
        """Raises the versions."""
        self._seen.version[rows] += 1

    def pack_campaign(self) -> bytes:
        """What is remembered of the campaign and not of a user."""
        arrays = self._tracker.campaign_state() if self._tracker else []
        parts = [array.tobytes() for array in arrays]
        if not self._of_user:
            parts += self._windows.pack(_CAMPAIGN)
        return b"".join(parts)

    def unpack_campaign(self, packed: bytes, hour: float) -> None:
        """The campaign as it was packed; nothing of it is later than `hour`, which is now."""
        start = 0
        for array in self._tracker.campaign_state() if self._tracker else []:
            part = packed[start : start + array.nbytes]
            array[...] = np.frombuffer(part, array.dtype).reshape(array.shape)
            start += array.nbytes
        if self._tracker is not None:
            self._tracker.not_after(hour)
        if not self._of_user:
            self._windows.unpack(_CAMPAIGN, [packed[start:]])

    def observe(
        self,
        rows: Ints,
        keys: Ints,
        asked: Any,
        hour: float,
        budget_left: float,
        flight_left: float,
    ) -> NDArray[np.float32]:
        """Observations of requests of different users, float32 `[n, D]`.

        Args:
            rows: of the users.
            keys: of the users.
            asked: has `channel`, `segment` and `device`, `[n]` each.
            hour: now, since the Monday midnight before the campaign started.
            budget_left: share.
            flight_left: share.
        """
        seen, n = self._seen, len(rows)
        seen.number[rows] = keys
        seen.segment[rows] = asked.segment
        seen.device[rows] = asked.device
        counted = {}
        if self._tracker is not None:
            hours, campaign = np.full(n, hour), np.zeros(n, np.int64)
            exposure = exposure_at(seen, rows, hours, self._half_life)
            counted = self._tracker.signals(seen, rows, campaign, hours, exposure)
        signals = Signals(
            asked.channel,
            seen.clicked[rows],
            seen.visited[rows],
            seen.last_profit[rows],
            np.full(n, budget_left),
            np.full(n, flight_left),
            **counted,
        )
        return features.build(self._layout, signals)

    def past(self, rows: Ints) -> StoredWindow:
        """The steps of the streams before, `[n, L, ...]`."""
        return self._windows.fetch_claimed(self._streams(rows))

    def memory(self, rows: Ints) -> NDArray[np.float32]:
        """What a policy with a memory has made of the streams so far, `[n, M]`."""
        return np.asarray(self._memory[self._streams(rows)])

    def requests(self, rows: Ints) -> Ints:
        """Requests that users have had, which is the number of the next one, `[n]`."""
        return np.asarray(self._seen.request[rows])

    def episodes(self, rows: Ints) -> Ints:
        """Random numbers `[n]` that stand for users until they are forgotten."""
        return np.asarray(self._seen.episode[rows])

    def step(
        self,
        rows: Ints,
        asked: Any,
        observation: NDArray[np.float32],
        actions: Ints,
        memory: NDArray[np.float32],
        hour: float,
    ) -> None:
        """Books requests; nothing is known yet of what will come of them."""
        seen, n, streams = self._seen, len(rows), self._streams(rows)
        hours, nothing = np.full(n, hour), np.zeros(n)
        self._windows.append_claimed(streams, observation, actions, nothing, hours)
        if memory.shape[1]:
            self._memory[streams] = memory
        request = seen.request[rows]
        if self._tracker is not None:
            never, zero = np.zeros(n, np.bool_), np.zeros(n, np.int64)
            served = Served(
                *(rows, zero, Groups.of(zero, 1), hours, request, zero, asked.channel, zero),
                *(nothing, nothing, never, nothing),
            )
            self._tracker.request(
                served, Reaction(never, never, never, never, zero, nothing, nothing)
            )
        new = rows[request == 0]
        seen.episode[new] = self._random.integers(2**63, size=len(new))
        seen.request[rows] = request + 1
        seen.clicked[rows] = seen.visited[rows] = False
        seen.last_profit[rows] = 0.0

    def _streams(self, rows: Ints) -> Ints:
        """Rows of the windows that users write into."""
        return rows if self._of_user else np.zeros(len(rows), np.int64)

    def win(
        self, row: int, hour: float, request: int, channel: int, creative: int, paid: float
    ) -> None:
        """Books an impression.

        Args:
            row: of the user.
            hour: now.
            request: the number of the request, see `step`.
            channel: of it.
            creative: that is shown.
            paid: currency units.
        """
        seen, rows = self._seen, np.array([row])
        last = request == seen.request[row] - 1
        reward = self.reward_of_spend(paid)
        if last:
            seen.last_profit[row] = reward / self._value
        if self._tracker is not None:
            wear_out(seen, rows, np.array([hour]), np.array([creative]), self._half_life)
            self._tracker.win(row, hour, channel, paid, last)
        self.pay(row, reward)

    def click(self, row: int, hour: float, request: int) -> None:
        """Books a click on the impression of a request."""
        self._seen.clicked[row] |= request == self._seen.request[row] - 1
        if self._tracker is not None:
            self._tracker.click(row, hour)

    def visit(self, row: int, hour: float) -> None:
        """Books a visit of the site."""
        self._seen.visited[row] = True
        if self._tracker is not None:
            self._tracker.visit(row, hour)

    def convert(self, row: int, hour: float, value: float) -> None:
        """Books a conversion and what it is worth."""
        if self._tracker is not None:
            self._tracker.convert(np.array([row]), np.array([hour]))
        self.pay(row, value)

    def pay(self, row: int, reward: float) -> None:
        """Adds to the reward of the stream's last step."""
        self._windows.credit(np.array([row]) if self._of_user else _CAMPAIGN, [reward])

    def reward_of_spend(self, paid: float) -> float:
        """What money that was spent counts for, with the price of budget."""
        return -self._price_of_budget * paid

    def segment(self, row: int) -> int:
        """Of the user's last request."""
        return int(self._seen.segment[row])

    def last_request(self, row: int) -> int:
        """The number of a user's last request; -1 before the first."""
        return int(self._seen.request[row]) - 1


def _record(counts: dict[str, NDArray[Any]], cap: int, memory: int) -> np.void:
    """A new user, with counts of the simulator, a frequency cap and what a policy carries."""
    fields: list[tuple[Any, ...]] = []
    values: list[Any] = []
    for name, value in _SEEN.items():
        fields.append((name, np.asarray(value).dtype))
        values.append(value)
    for name, array in counts.items():
        fields.append((name, array.dtype, array.shape[1:]))
        values.append(array[0])
    for name, array in cap_fields(cap).items():
        fields.append((name, array.dtype, array.shape))
        values.append(array)
    fields.append(("memory", np.float32, (memory,)))
    values.append(np.zeros(memory, np.float32))
    blank: np.void = np.array([tuple(values)], np.dtype(fields))[0]
    return blank

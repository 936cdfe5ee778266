"""What must survive a crash, and what several servers share.

- `Storage`: the interface; `opening.open_storage` finds the implementation.
- `Hold`: budget that is set aside for a bid until it is known what became of it.
- `Change`: what one step of the server writes, all of it or nothing.
- `Notice`, `Adjustment`: entries of the books.

The rule behind it: nothing leaves the server, neither a bid nor the answer to a notice, before what
it stands for is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

TOTALS = (
    *("requests", "bids", "wins", "losses", "clicks", "visits", "conversions"),
    *("spend", "value"),
)
"""Of a campaign: counts, and currency units."""


class Hold(NamedTuple):
    """Budget set aside for a bid."""

    bid: int
    amount: float
    """Currency units."""
    until: float
    """Seconds since the epoch; free again from then on."""


class Notice(NamedTuple):
    """A notice that was booked."""

    subject: str
    """The bid that it is about (its number), or the user ("u" and their key)."""
    name: str
    """Kind and event, distinguished from all others of the subject."""
    until: float
    """Seconds since the epoch: how long it is known."""
    at: float = 0.0
    """Seconds since the epoch."""
    amount: float = 0.0
    """Spent or earned, currency units."""
    flag: str = ""
    """What was odd about it, see `prices.FLAGS`."""


class Adjustment(NamedTuple):
    """A correction of the books by their keeper; never changed or deleted."""

    at: float
    """Seconds since the epoch."""
    total: str
    """One of `TOTALS`."""
    amount: float
    """Added to it."""
    reason: str


class Conflict(Exception):
    """Another server has changed these users in the meantime; nothing was written."""

    def __init__(self, keys: list[int]) -> None:
        super().__init__(f"{len(keys)} users were changed by another server")
        self.keys = keys


@dataclass
class Change:
    """What is written together."""

    now: float
    """Seconds since the epoch."""
    sessions: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    """By user: the version before, and everything after."""
    totals: dict[str, float] = field(default_factory=dict)
    """Added to the totals."""
    campaign: bytes | None = None
    """Signals of the campaign; a storage that is shared does not keep them."""
    notice: Notice | None = None
    """That this is the booking of."""
    release: int | None = None
    """A bid whose budget is no longer set aside."""


class Storage(Protocol):
    """Where state is kept."""

    shared: bool
    """Other servers write, too."""
    errors: tuple[type[Exception], ...]
    """What any call below raises if the state cannot be read or written."""

    def constant(self, name: str, value: bytes) -> bytes:
        """Sets a value if there is none yet, and returns the one that there is."""

    def known_constant(self, name: str) -> bool:
        """Whether a value was set."""

    def load(self, keys: Sequence[int]) -> list[bytes | None]:
        """What is remembered of users."""

    def load_campaign(self) -> bytes | None:
        """The signals of the campaign, if they are kept."""

    def totals(self) -> dict[str, float]:
        """The totals of the campaign, by name."""

    def held(self, now: float) -> float:
        """Budget that is set aside, currency units."""

    def hold(self, holds: Sequence[Hold], budget: float, now: float) -> list[bool]:
        """Sets budget aside for bids, one after the other, as long as spend and holds allow.

        Args:
            holds: what is wanted.
            budget: hard limit, currency units.
            now: seconds since the epoch; older holds are free.

        Returns:
            Which were set aside.
        """

    def known(self, subject: str, name: str) -> bool:
        """Whether a notice was written before."""

    def names_of(self, subject: str) -> list[str]:
        """The names of all notices about a bid."""

    def write(self, change: Change) -> dict[str, float] | None:
        """Writes a change.

        Returns:
            The totals after it; None if its notice was known, and then nothing is written.

        Raises:
            Conflict: a user has another version than the change says.
        """

    def forget(self, key: int) -> None:
        """Removes a user and the notices about them, from what is on the disk, too."""

    def prune(self, now: float, seen_before: float) -> None:
        """Forgets notices that are too old, and users who were last seen before."""

    def last_written(self) -> float | None:
        """`Change.now` of the last change; None: there was none, or servers share the storage."""

    def check(self) -> None:
        """Writes something that changes nothing; raises one of `errors` if that fails."""

    def log_bytes(self) -> int:
        """What is written and waits to be brought into the file; 0 where there is no such log."""

    def adjust(self, adjustment: Adjustment) -> dict[str, float]:
        """Corrects a total and keeps why; returns the totals after it."""

    def adjustments(self) -> list[Adjustment]:
        """All of them, oldest first."""

    def notices(self) -> Iterator[Notice]:
        """Those that are known, in no order."""

    def close(self) -> None:
        """Lets go."""

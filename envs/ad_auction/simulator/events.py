"""What happened in a campaign, event by event, in the schema of docs/guides/discover.md.

- `EventRecorder`: is filled by the simulator; gives columns or a CSV file that `rllib-seq discover`
  reads.
"""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.journey.users import JourneyModel, Reaction
from rllib_seq.envs.ad_auction.simulator.state import Served, UserState

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

EVENTS = ("request", "impression", "click", "visit", "conversion")
START = datetime(2024, 1, 1, tzinfo=UTC)
"""The Monday midnight at which every campaign starts."""
_COLUMNS = (
    *("campaign", "hour", "user", "event", "channel", "segment", "device", "creative"),
    *("price", "market_price", "floor", "value"),
)


class EventRecorder:
    """Rows in the order in which they happened, of each campaign on its own.

    Bid, market price and floor stand at the request, which has an impression after it where the bid
    won. What is paid follows from them and the auction.

    Args:
        model: gives the names.
    """

    def __init__(self, model: JourneyModel) -> None:
        self._model = model
        self._parts: list[NDArray[np.float64]] = []

    def clear(self) -> None:
        """Forgets everything."""
        self._parts.clear()

    def add(self, event: str, **columns: NDArray[np.generic] | float) -> None:
        """Appends events of one kind; what is not given is missing."""
        n = len(np.asarray(columns["user"]))
        part = np.full((len(_COLUMNS), n), np.nan)
        part[_COLUMNS.index("event")] = EVENTS.index(event)
        for name, values in columns.items():
            part[_COLUMNS.index(name)] = values
        self._parts.append(part)

    def add_served(
        self, state: UserState, served: Served, reaction: Reaction, floor: float
    ) -> None:
        """Appends requests and what came of them at once."""
        rows = served.rows
        shared: dict[str, Any] = {
            "campaign": served.campaign,
            "hour": served.hour,
            "user": state.number[rows],
            "channel": served.channel,
            "segment": state.segment[rows],
            "device": state.device[rows],
        }
        prices = {"price": served.bid, "market_price": served.market_price}
        self.add("request", **shared, **prices, floor=floor)
        shown: dict[str, Any] = {**shared, "creative": served.creative}
        for event, happened, columns in (
            ("impression", served.won, shown),
            ("click", reaction.clicked, shown),
            ("visit", reaction.visited, shared),
        ):
            if happened.any():
                self.add(event, **{name: column[happened] for name, column in columns.items()})

    def add_conversions(
        self, state: UserState, rows: Ints, campaign: Ints, hour: Floats, value: Floats
    ) -> None:
        """Appends conversions when they happen."""
        self.add(
            "conversion",
            campaign=campaign,
            hour=hour,
            user=state.number[rows],
            segment=state.segment[rows],
            device=state.device[rows],
            value=value,
        )

    def columns(self, campaign: int = 0) -> dict[str, NDArray[np.float64]]:
        """The events of one campaign: indices, hours, currency units; NaN where missing."""
        rows = np.concatenate([np.zeros((len(_COLUMNS), 0)), *self._parts], axis=1)
        rows = rows[:, rows[0] == campaign]
        return dict(zip(_COLUMNS[1:], rows[1:], strict=True))

    def write(self, path: Path, campaign: int = 0) -> None:
        """Writes the events of one campaign as CSV."""
        model = self._model
        names = {
            "event": EVENTS,
            "channel": model.channels,
            "segment": model.audience.segments,
            "device": model.audience.devices,
            "creative": model.creatives.names,
        }
        columns = self.columns(campaign)
        texts: list[list[str]] = [
            [(START + timedelta(hours=hour)).isoformat() for hour in columns["hour"].tolist()],
            [f"user_{user:.0f}" for user in columns["user"].tolist()],
        ]
        for name in _COLUMNS[3:]:
            values = columns[name].tolist()
            if name in names:
                texts.append(["" if v != v else names[name][int(v)] for v in values])
            else:
                texts.append(["" if v != v else repr(v) for v in values])
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["timestamp", "user_id", *_COLUMNS[3:]])
            writer.writerows(zip(*texts, strict=True))

"""What a bidder can count: the signals behind full observations, kept up to date step by step.

- `Tracker`: arrays per user and per campaign. Nothing here knows the hidden stage.
- `wear_out`: what an impression leaves with its user, beside the counts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.journey.users import Reaction
from rllib_seq.envs.ad_auction.simulator.state import Served, UserState

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SESSION_PAUSE = 0.5
"""Hours without a request that end a session."""
RECENT_HALF_LIFE = 6.0
"""Hours after which a campaign's request counts half in its win rate and mean price."""
DAY = 24.0


class Tracker:
    """Counts, per user `[rows]` and per campaign `[E]`.

    A simulator knows at once what became of a request and tells `request`. A server tells `request`
    that nothing has, and `win`, `click` and `visit` when it hears of them: the counts are the same.

    Args:
        rows: campaigns times slots.
        num_campaigns: E.
        num_channels: C.
    """

    def __init__(self, rows: int, num_campaigns: int, num_channels: int) -> None:
        self._slots = rows // num_campaigns
        self.impressions = np.zeros(rows, np.int64)
        self.clicks = np.zeros(rows, np.int64)
        self.visits = np.zeros(rows, np.int64)
        self.session = np.zeros(rows, np.int64)
        """Requests of the session up to the last, without it."""
        self.won = np.zeros(rows, np.bool_)
        self.gone = np.zeros(rows, np.bool_)
        """Would have left, where the reward lets no one leave: no longer counted anywhere."""
        self.last_paid = np.zeros(rows)
        self.spent = np.zeros(rows)
        self.first_hour = np.full(rows, np.nan)
        self.request_hour = np.full(rows, -np.inf)
        self.click_hour = np.full(rows, -np.inf)
        self.visit_hour = np.full(rows, -np.inf)
        self.touches = np.zeros((rows, num_channels))
        self.last_channel = np.full(rows, -1)
        """Of the last impression of those who are counted; -1 before the first."""
        self.credit = np.zeros((num_campaigns, num_channels))
        self.conversions = np.zeros(num_campaigns)
        self.conversion_hour = np.full(num_campaigns, -np.inf)
        self.all_impressions = np.zeros(num_campaigns)
        self._recent = np.zeros((4, num_campaigns))  # requests, wins, paid; impressions of a day
        self._recent_hour = np.zeros(num_campaigns)

    @property
    def bytes_per_user(self) -> int:
        """Memory of one row."""
        rows = len(self.impressions)
        arrays = [a for a in vars(self).values() if isinstance(a, np.ndarray) and len(a) == rows]
        return sum(array.nbytes for array in arrays) // rows

    def clear_campaigns(self, campaigns: Ints) -> None:
        """Forgets what was counted of these campaigns."""
        for counts in (self.credit, self.conversions, self.all_impressions, self._recent_hour):
            counts[campaigns] = 0.0
        self._recent[:, campaigns] = 0.0
        self.conversion_hour[campaigns] = -np.inf

    def clear_users(self, rows: Ints) -> None:
        """Forgets users whose slots others take."""
        for counts in (self.impressions, self.clicks, self.visits, self.session):
            counts[rows] = 0
        self.won[rows] = self.gone[rows] = False
        self.last_paid[rows] = self.spent[rows] = 0.0
        self.touches[rows] = 0.0
        self.last_channel[rows] = -1
        self.first_hour[rows] = np.nan
        for hours in (self.request_hour, self.click_hour, self.visit_hour):
            hours[rows] = -np.inf

    def request(self, served: Served, reaction: Reaction) -> None:
        """Counts requests that have been served."""
        rows, hour, won, paid = served.rows, served.hour, served.won, served.paid
        clicked, visited = reaction.clicked, reaction.visited
        channel, groups = served.channel, served.groups
        counted = ~self.gone[rows]
        first = np.isnan(self.first_hour[rows])
        self.first_hour[rows] = np.where(first, hour, self.first_hour[rows])
        again = hour - self.request_hour[rows] <= SESSION_PAUSE
        self.session[rows] = np.where(again, self.session[rows] + 1, 0)
        self.request_hour[rows] = hour
        self.impressions[rows] += won
        self.clicks[rows] += clicked
        self.visits[rows] += visited
        self.won[rows] = won
        self.last_paid[rows] = np.where(won, paid, self.last_paid[rows])
        self.spent[rows] += paid
        self.click_hour[rows] = np.where(clicked, hour, self.click_hour[rows])
        self.visit_hour[rows] = np.where(visited, hour, self.visit_hour[rows])
        self.touches[rows, channel] += won
        self.last_channel[rows] = np.where(won & counted, channel, self.last_channel[rows])

        which, now = groups.campaigns, hour[groups.start]
        wins = won & counted
        sums = groups.sums(np.stack([counted, wins, paid * counted, wins]))
        self._recent[:, which] = self._recent_at(which, now) + sums
        self._recent_hour[which] = now
        self.all_impressions[which] += sums[3]

    def win(self, row: int, hour: float, channel: int, paid: float, last: bool) -> None:
        """Counts that a request of the only campaign was won after all.

        Args:
            row: the user.
            hour: now.
            channel: of the request.
            paid: currency units.
            last: whether it was the user's last request.
        """
        self.impressions[row] += 1
        self.won[row] |= last
        self.last_paid[row] = paid
        self.spent[row] += paid
        self.touches[row, channel] += 1
        self.last_channel[row] = channel
        now = np.array([hour])
        self._recent[:] = self._recent_at(np.zeros(1, np.int64), now)
        self._recent[1:, 0] += (1.0, paid, 1.0)
        self._recent_hour[:] = now
        self.all_impressions[0] += 1

    def click(self, row: int, hour: float) -> None:
        """Counts a click."""
        self.clicks[row] += 1
        self.click_hour[row] = hour

    def visit(self, row: int, hour: float) -> None:
        """Counts a visit."""
        self.visits[row] += 1
        self.visit_hour[row] = hour

    def user_arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays of the users by name, `[rows, ...]`; clear before the first is counted."""
        names = [
            *("impressions", "clicks", "visits", "session", "won", "gone", "last_paid", "spent"),
            *("first_hour", "request_hour", "click_hour", "visit_hour", "touches", "last_channel"),
        ]
        return {name: getattr(self, name) for name in names}

    def campaign_state(self) -> list[NDArray[np.float64]]:
        """The arrays of the campaigns, for reading and writing."""
        return [
            *(self.credit, self.conversions, self.conversion_hour, self.all_impressions),
            *(self._recent, self._recent_hour),
        ]

    def not_after(self, hour: float) -> None:
        """Nothing of the campaigns is later, whatever a clock said that was wrong."""
        for hours in (self.conversion_hour, self._recent_hour):
            np.minimum(hours, hour, out=hours)

    def convert(self, rows: Ints, hour: Floats) -> None:
        """Counts conversions at the hours at which they happen, `[n]` each."""
        campaign = rows // self._slots
        touched = self.last_channel[rows] >= 0
        np.add.at(self.credit, (campaign[touched], self.last_channel[rows[touched]]), 1.0)
        np.add.at(self.conversions, campaign, 1.0)
        np.maximum.at(self.conversion_hour, campaign, hour)

    def signals(
        self, state: UserState, rows: Ints, campaign: Ints, hour: Floats, exposure: Floats
    ) -> dict[str, Any]:
        """The fields of `features.Signals` beyond "raw", by name; `[n]`, now."""
        requests, wins, paid, recent_impressions = self._recent_at(campaign, hour)
        since_request = hour - self.request_hour[rows]
        shown = self.impressions[rows] > 0
        return {
            "requests": state.request[rows],
            "since_impression": np.where(shown, hour - state.shown_hour[rows], np.inf),
            "segment": state.segment[rows],
            "device": state.device[rows],
            "creative": state.shown_creative[rows],
            "repeats": state.repeats[rows],
            "hour": hour,
            "number": state.number[rows],
            "exposure": exposure,
            "impressions": self.impressions[rows],
            "clicks": self.clicks[rows],
            "visits": self.visits[rows],
            "won": self.won[rows],
            "since_request": since_request,
            "since_click": hour - self.click_hour[rows],
            "since_visit": hour - self.visit_hour[rows],
            "session": np.where(since_request <= SESSION_PAUSE, self.session[rows] + 1, 0),
            "win_rate": wins / np.maximum(requests, 1e-300),
            "mean_paid": paid / np.maximum(wins, 1e-300),
            "last_paid": self.last_paid[rows],
            "spent": self.spent[rows],
            "age": np.where(np.isnan(self.first_hour[rows]), 0.0, hour - self.first_hour[rows]),
            "touches": self.touches[rows],
            "credit": self.credit[campaign],
            "conversions": self.conversions[campaign],
            "campaign_impressions": self.all_impressions[campaign],
            "recent_impressions": recent_impressions,
            # Without an end of the flight the last conversions come after the last request.
            "since_conversion": np.maximum(hour - self.conversion_hour[campaign], 0.0),
        }

    def _recent_at(self, campaign: Ints, hour: Floats) -> Floats:
        """`[4, n]`: the sums of the recent past at these hours."""
        passed = hour - self._recent_hour[campaign]
        halved = np.exp2(-passed / RECENT_HALF_LIFE)
        return self._recent[:, campaign] * np.stack(
            [halved, halved, halved, np.exp2(-passed / DAY)]
        )


def wear_out(users: Any, rows: Ints, hour: Floats, creative: Ints, half_life_hours: float) -> None:
    """Counts impressions that wear out the next, see `users.Creatives`.

    Args:
        users: has the arrays `exposure`, `shown_hour`, `shown_creative` and `repeats`.
        rows: `[n]`, different users.
        hour: `[n]`, now.
        creative: `[n]`, what was shown.
        half_life_hours: of the exposure.
    """
    users.exposure[rows] = exposure_at(users, rows, hour, half_life_hours) + 1.0
    users.shown_hour[rows] = hour
    again = users.shown_creative[rows] == creative
    users.repeats[rows] = np.where(again, users.repeats[rows], 0) + 1
    users.shown_creative[rows] = creative


def exposure_at(users: Any, rows: Ints, hour: Floats, half_life_hours: float) -> Floats:
    """`[n]`: the impressions that users still feel."""
    return users.exposure[rows] * np.exp2((users.shown_hour[rows] - hour) / half_life_hours)

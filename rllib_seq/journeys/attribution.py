"""Which channel earned a conversion: seven answers, each a pure function.

- `first_touch`, `last_touch`, `linear`, `position_based`, `time_decay`: rules per journey.
- `markov`: removal effect in a first-order chain over channels.
- `shapley`: each channel's fair share in the game "journeys that these channels alone explain".
- `attribute`: all of them.

Credits of every model sum to the value of all journeys with a touchpoint (tested as a property);
`Paths.unattributed` is the value of the others.
They describe what came together with conversions, not what caused them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rllib_seq.journeys.event_log import EventLog
from rllib_seq.journeys.split import TOUCHPOINTS

NO_NAME = "(none)"
"""How a log calls a missing channel."""

Floats = NDArray[np.float64]
_HALF_LIFE_HOURS = 7 * 24.0  # the default of Google Analytics
_ENDS = 0.4  # of the value for the first and for the last touchpoint, the same


class Paths(NamedTuple):
    """J journeys of one touchpoint or more, T touchpoints in all, C channels."""

    channel: NDArray[np.integer]
    """`[T]`, journey after journey, oldest first."""
    first: NDArray[np.int64]
    """`[J]`: index of each journey's first touchpoint, ascending from 0."""
    hours_before: Floats
    """`[T]`: from the touchpoint to its journey's end."""
    converted: NDArray[np.bool_]
    """`[J]`."""
    value: Floats
    """`[J]`, 0 where not converted."""
    num_channels: int

    unattributed: float = 0.0
    """Value of the conversions without a touchpoint that could be credited."""

    @classmethod
    def from_log(cls, log: EventLog, lookback: float | None = None) -> Paths:
        """What each conversion can be credited to, across sessions.

        A user's touchpoints since the conversion before are one journey, however long the user was
        silent between them. Conversions that follow each other without a touchpoint in between
        share a journey. Touchpoints older than the lookback earned nothing: they are a journey
        without a conversion, as are those after the last conversion (cut at silences longer than
        the lookback). Touchpoints without a channel are left out.

        Args:
            log: sorted events.
            lookback: seconds before a conversion in which a touchpoint is credited; None: no limit.
                Ignored if the log has no times.
        """
        window = np.inf if lookback is None or not log.timed else lookback * 1e6
        touch = log.is_event(*TOUCHPOINTS) & named_channels(log)[log.channel]
        kept = np.flatnonzero(touch | log.is_event("conversion"))
        touch, user, time = touch[kept], log.user[kept], log.time[kept]
        value = log.value[kept]
        # A run: touchpoints of one user, then the conversions after them.
        begins = np.ones(len(kept), np.bool_)
        begins[1:] = (user[1:] != user[:-1]) | (touch[1:] & ~touch[:-1])
        run = np.cumsum(begins) - 1
        runs = int(run[-1]) + 1 if len(run) else 0
        at = np.flatnonzero(touch)
        last_touch = np.full(runs, -np.inf)
        last_touch[run[at]] = time[at]  # in order of time: the last one stays
        at = np.flatnonzero(~touch)[::-1]
        first_conversion = np.full(runs, np.inf)
        first_conversion[run[at]] = time[at]  # backwards: the first one stays

        paid = np.flatnonzero(~touch)
        worth = np.where(np.isnan(value[paid]), 1.0, value[paid])
        silence = time[paid] - last_touch[run[paid]]
        earned = np.isfinite(silence) & (silence <= window)
        run_value = np.bincount(run[paid[earned]], worth[earned], runs)

        at = np.flatnonzero(touch)
        run, time = run[at], time[at]
        before = first_conversion[run] - time
        credited = before <= window if np.isfinite(window) else np.isfinite(before)
        starts = np.ones(len(at), np.bool_)
        starts[1:] = (run[1:] != run[:-1]) | (credited[1:] != credited[:-1])
        starts[1:] |= ~credited[1:] & (np.diff(time) > window)
        first = np.flatnonzero(starts)
        converted = credited[first]
        last = np.append(first[1:], len(at))[: len(first)] - 1
        end = np.where(converted, first_conversion[run[first]], time[last].astype(np.float64))
        of_touch = np.cumsum(starts) - 1
        return cls(
            channel=log.channel[kept[at]],
            first=first,
            hours_before=(end[of_touch] - time) / 3.6e9,
            converted=converted,
            value=np.where(converted, run_value[run[first]], 0.0),
            num_channels=len(log.names["channel"]),
            unattributed=float(worth[~earned].sum()),
        )

    def earning(self) -> Paths:
        """Only the journeys with a value."""
        kept = self.value != 0
        inside = np.repeat(kept, self.length)
        count = self.length[kept]
        return Paths(
            self.channel[inside],
            np.cumsum(count) - count,
            self.hours_before[inside],
            self.converted[kept],
            self.value[kept],
            self.num_channels,
            self.unattributed,
        )

    @property
    def length(self) -> NDArray[np.int64]:
        """`[J]` touchpoints per journey."""
        return np.diff(self.first, append=len(self.channel))

    @property
    def last(self) -> NDArray[np.int64]:
        """`[J]` index of each journey's last touchpoint."""
        return self.first + self.length - 1


def first_touch(paths: Paths) -> Floats:
    """`[C]`: all to the first touchpoint."""
    return _sum(paths, paths.channel[paths.first], paths.value)


def last_touch(paths: Paths) -> Floats:
    """`[C]`: all to the last touchpoint."""
    return _sum(paths, paths.channel[paths.last], paths.value)


def linear(paths: Paths) -> Floats:
    """`[C]`: the same to every touchpoint."""
    return _weighted(paths, np.ones(len(paths.channel)))


def time_decay(paths: Paths) -> Floats:
    """`[C]`: half as much per week before the journey's end, `2^(-hours / 168)`."""
    last = np.repeat(paths.hours_before[paths.last], paths.length)
    # Relative to the last touchpoint, so that a late conversion does not underflow.
    return _weighted(paths, np.exp2((last - paths.hours_before) / _HALF_LIFE_HOURS))


def position_based(paths: Paths) -> Floats:
    """`[C]`: 40 % to the first, 40 % to the last, the rest to those between; two halves of two."""
    inner = paths.length - 2
    between = np.where(inner > 0, (1 - 2 * _ENDS) / np.maximum(inner, 1), 0.0)
    weights = np.repeat(between, paths.length)
    weights[paths.first] = _ENDS
    weights[paths.last] = _ENDS
    return _weighted(paths, weights)


def transition_counts(paths: Paths) -> Floats:
    """`[C + 3, C + 3]` counts from row to column; after the channels: start, conversion, null."""
    states = paths.num_channels + 3
    start, conversion, null = range(paths.num_channels, states)
    follows = np.ones(len(paths.channel), np.bool_)
    follows[paths.first] = False
    after = np.flatnonzero(follows)
    ends = np.where(paths.converted, conversion, null)
    channel = paths.channel.astype(np.int32)
    pairs = np.concatenate(
        [
            start * states + channel[paths.first],
            channel[after - 1] * states + channel[after],
            channel[paths.last] * states + ends,
        ]
    )
    return np.bincount(pairs, minlength=states * states).reshape(states, states).astype(np.float64)


def removal_effects(counts: Floats, worth: Floats | None = None) -> Floats:
    """`[C]`: share of the conversions, or of their value, that is lost if a channel led nowhere.

    With the fundamental matrix `N = (I - Q)^-1` of the absorbing chain and `b = N r` what a journey
    brings from each state on, taking channel c away loses the paths that reach it:
    `N[start, c] / N[c, c] * b[c] / b[start]`.

    Args:
        counts: `[C + 3, C + 3]`, see `transition_counts`.
        worth: `[C + 1]` mean value of a conversion right after each channel (and the start); None
            counts conversions.
    """
    channels = len(counts) - 3
    total = counts[: channels + 1].sum(axis=1, keepdims=True)
    chance = counts[: channels + 1] / np.maximum(total, 1)
    visits = np.linalg.inv(np.eye(channels + 1) - chance[:, : channels + 1])
    brings = visits @ (chance[:, channels + 1] * (1.0 if worth is None else worth))
    if brings[channels] == 0:
        return np.zeros(channels)
    reached = visits[channels, :channels] / np.diag(visits)[:channels]
    return reached * brings[:channels] / brings[channels]


def markov(paths: Paths) -> Floats:
    """`[C]`: the value in proportion to the removal effects on value (Anderl et al. 2016).

    A conversion is worth the mean of those that followed the same last channel, as in
    ChannelAttribution, whose simulation this is the exact expectation of.
    """
    counts = transition_counts(paths)
    conversions = counts[: paths.num_channels + 1, paths.num_channels + 1]
    value = np.zeros(paths.num_channels + 1)
    if len(paths.first):
        value[:-1] = _sum(paths, paths.channel[paths.last], paths.value)
    effects = removal_effects(counts, value / np.maximum(conversions, 1))
    total = paths.value.sum()
    return effects * (total / effects.sum()) if effects.sum() > 0 else effects


def shapley(paths: Paths) -> Floats:
    """`[C]`: Shapley values of `v(S)` = value of the journeys whose channels all lie in S.

    Every journey's part of that game is a unanimity game, whose Shapley value is its worth in equal
    parts to its distinct channels; so the sum over journeys is exact for any number of channels
    (tested against the sum over all coalitions).
    """
    journey = np.repeat(np.arange(len(paths.first)), paths.length)
    pairs = np.unique(journey * paths.num_channels + paths.channel)
    journey, channel = pairs // paths.num_channels, pairs % paths.num_channels
    distinct = np.bincount(journey, minlength=len(paths.first))
    return _sum(paths, channel, paths.value[journey] / distinct[journey])


MODELS = {
    "last touch": last_touch,
    "first touch": first_touch,
    "linear": linear,
    "time decay": time_decay,
    "position based": position_based,
    "markov": markov,
    "shapley": shapley,
}


def attribute(paths: Paths) -> dict[str, Floats]:
    """Credits `[C]` of every model."""
    earning = paths.earning()  # all that the rules look at; the chain needs the others too
    return {name: model(paths if name == "markov" else earning) for name, model in MODELS.items()}


def named_channels(log: EventLog) -> NDArray[np.bool_]:
    """`[C]`: which channels have a name; a touchpoint without one is no channel's."""
    return np.array([name.strip() not in ("", NO_NAME) for name in log.names["channel"]], np.bool_)


def _weighted(paths: Paths, weights: Floats) -> Floats:
    """Splits every journey's value over its touchpoints in proportion to `[T]` weights."""
    if not len(paths.first):
        return np.zeros(paths.num_channels)
    rate = paths.value / np.add.reduceat(weights, paths.first)
    return _sum(paths, paths.channel, weights * np.repeat(rate, paths.length))


def _sum(paths: Paths, channel: NDArray[np.integer], value: Floats) -> Floats:
    return np.bincount(channel, value, paths.num_channels).astype(np.float64)

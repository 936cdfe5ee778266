"""Journeys played as arrays: all streams of many episodes act in one forward pass per tick.

- `VectorSampler`: plays an `ArrayEnv` with a bidder and collects what its streams did
- `StreamActor`, `ActionBatch`: who decides, and what
- `Campaign`: an episode that was played to its end
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.array_env import ArrayEnv
from rllib_seq.rollouts.pieces import INFO, Pieces, RolloutBatch

Array = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class ActionBatch(NamedTuple):
    """What a bidder decides for `n` streams: a row of each column is stored with the step."""

    actions: Array
    """`[n, ...]`, as they are learned from."""
    columns: dict[str, Array]
    """`[n, ...]`, for training; `values` among them, if there are any."""
    served: Array | None = None
    """`[n, ...]`, as the environment takes them; None if that is the same."""


class StreamActor(Protocol):
    """Acts for many streams at once."""

    def __call__(self, rows: Ints, new: Bools, observations: Array, rewards: Floats) -> ActionBatch:
        """Decide for streams.

        Args:
            rows: of the streams, `[n]`.
            new: whether a stream begins, `[n]`.
            observations: `[n, ...]`.
            rewards: since each acted last, `[n]`.
        """

    def value_after(self, rows: Ints, observations: Array, rewards: Floats) -> Floats:
        """Value, `[n]`, the last observations of streams that are cut after a step.

        A time limit cut them off, or, if rewards come at once, the end of a batch.
        """


class Campaign(NamedTuple):
    """A campaign that was played to its end."""

    number: int
    """Which of those that are played side by side."""
    ticks: int
    """Forward passes in which some of its users acted."""
    profit: float
    """Sum of the rewards of all users."""
    per_user: Floats
    """`[U]`, the same for each of them, those who were never seen left out."""


class VectorSampler:
    """Plays E campaigns side by side and cuts what happens into batches.

    A step is complete when its reward is known: at once, or with the stream's next step or its end
    (`ArrayEnv.rewards_at_once`). What is not complete at the end of a batch opens the next one.

    Args:
        env: what is played.
    """

    def __init__(self, env: ArrayEnv) -> None:
        self.env = env
        self.campaigns: list[Campaign] = []
        """Those that ended; anyone who reads them empties the list."""
        self.with_infos = False
        """Whether journeys hold infos. To be set before the first is played."""
        self.rows = rows = env.num_episodes * env.slots
        """Streams of all episodes."""
        self._open = np.zeros(rows, np.bool_)  # acted, and its reward is not yet known
        self._steps = np.zeros(rows, np.int64)  # complete steps of the journey
        self._reward = np.zeros(rows)  # of the last step, if it came at once
        self._return = np.zeros(rows)
        self._ticks = np.zeros(env.num_episodes, np.int64)
        self._all_ticks = 0
        self._last: dict[str, Array] = {}  # columns of the open steps
        self._pieces = Pieces(rows)
        self._begin(np.arange(env.num_episodes))

    @property
    def open_rows(self) -> Ints:
        """Rows that acted in a step which the next batch completes."""
        return np.flatnonzero(self._open)

    def store(self, rows: Ints, columns: dict[str, Array]) -> None:
        """Keep columns of open steps until the steps are complete."""
        for name, column in columns.items():
            if name not in self._last:
                shape = (len(self._open), *column.shape[1:])
                self._last[name] = np.zeros(shape, column.dtype)
            self._last[name][rows] = column

    def sample(self, steps: int, bidder: StreamActor) -> RolloutBatch:
        """Play until at least `steps` steps are complete, and return them."""
        return self._play(bidder, lambda complete: complete >= steps, go_on=True)

    def sample_campaigns(self, bidder: StreamActor) -> RolloutBatch:
        """Play all campaigns from their starts to their ends; not to be mixed with `sample`."""
        journeys = self._play(bidder, lambda complete: bool(self.env.over.all()), go_on=False)
        self._begin(np.arange(self.env.num_episodes))
        return journeys

    def sample_episodes(self, count: int, bidder: StreamActor) -> RolloutBatch:
        """Play until `count` episodes have ended, and return those that go on, too."""
        return self._play(bidder, lambda complete: len(self.campaigns) >= count, go_on=True)

    def restart(self) -> None:
        """Begin all episodes, whatever is going on."""
        self._open[:] = False
        for column in (self._steps, self._reward, self._return, self._ticks):
            column[:] = 0
        self._begin(np.arange(self.env.num_episodes))

    def _play(
        self, bidder: StreamActor, enough: Callable[[int], bool], go_on: bool
    ) -> RolloutBatch:
        self._pieces = pieces = Pieces(self.rows)
        ticks_before = self._all_ticks
        while not enough(pieces.steps):
            self._tick(bidder, go_on)
        going = pieces.open_rows
        if self.env.rewards_at_once and len(going):
            self._cut(bidder, going)
        last = None if self.env.rewards_at_once else self._last
        return pieces.batch(last, self._all_ticks - ticks_before)

    def _tick(self, bidder: StreamActor, go_on: bool) -> None:
        """One request of every user who has one."""
        env = self.env
        rows = env.pending
        if env.rewards_at_once:
            rewards = self._reward[rows]
        else:
            rewards = env.take_rewards(rows)
            self._complete_open(rows, rewards)
        observations = env.observe(rows)
        new = self._steps[rows] + self._open[rows] == 0
        acts = bidder(rows, new, observations, rewards)
        columns = {"obs": observations, "actions": acts.actions, **acts.columns}
        acting = rows if env.slots == 1 else np.unique(rows // env.slots)
        self._ticks[acting] += 1
        self._all_ticks += len(acting)
        infos = env.serve(rows, acts.actions if acts.served is None else acts.served)
        if self.with_infos:
            columns |= {INFO + name: info for name, info in infos.items()}

        if env.rewards_at_once:
            self._reward[rows] = rewards = env.take_rewards(rows)
            self._return[rows] += rewards
            self._complete(rows, columns, rewards)
            over = rows[env.ended[rows]]
        else:
            self.store(rows, columns)
            self._open[rows] = True
            over = np.flatnonzero(env.ended & self._open)
            self._reward[over] = rewards = env.take_rewards(over)
            self._complete_open(over, rewards)
        if len(over):
            self._cut(bidder, over)
            self._steps[over] = 0
        done = np.flatnonzero(env.over)
        if len(done):
            self._finish(done[self._ticks[done] > 0])
            if go_on:
                self._begin(done)

    def _cut(self, bidder: StreamActor, rows: Ints) -> None:
        """End the pieces of rows whose streams end here, or that are cut."""
        env = self.env
        over, cut = env.ended[rows], env.truncated[rows]
        observations, values = env.observe(rows), np.zeros(len(rows))
        follows = cut | ~over
        if follows.any():
            values[follows] = bidder.value_after(
                rows[follows], observations[follows], self._reward[rows[follows]]
            )
        self._pieces.end(rows, observations, over & ~cut, cut, values)

    def _complete_open(self, rows: Ints, rewards: Floats) -> None:
        """The rewards of the open steps of these rows are known."""
        self._return[rows] += rewards
        known = self._open[rows]
        if known.any():
            rows, rewards = rows[known], rewards[known]
            self._open[rows] = False
            self._complete(rows, {name: part[rows] for name, part in self._last.items()}, rewards)

    def _complete(self, rows: Ints, columns: dict[str, Array], rewards: Floats) -> None:
        columns = {**columns, "rewards": rewards.astype(np.float32)}
        self._pieces.add(rows, self._steps[rows], columns)
        self._steps[rows] += 1

    def _finish(self, campaigns: Ints) -> None:
        slots = self.env.slots
        for campaign in campaigns.tolist():
            rows = slice(campaign * slots, (campaign + 1) * slots)
            returns = self._return[rows].copy()
            self.campaigns.append(
                Campaign(campaign, int(self._ticks[campaign]), float(returns.sum()), returns)
            )
            self._return[rows] = 0.0
        self._ticks[campaigns] = 0

    def _begin(self, campaigns: Ints) -> None:
        """Start these campaigns, and again those in which no one has a request."""
        while len(campaigns):
            self.env.begin(campaigns)
            campaigns = campaigns[self.env.over[campaigns]]

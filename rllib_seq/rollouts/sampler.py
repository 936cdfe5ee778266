"""Journeys played as arrays: all streams of many episodes act in one forward pass per tick.

- `VectorSampler`: plays an `ArrayEnv` with a bidder and collects what its streams did
- `RolloutBatch`: pieces of journeys, one after the other, as columns
- `generalized_advantages`: advantages and value targets of pieces of any length at once
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.array_env import ArrayEnv

Array = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_INFO = "info "  # in front of their names, among the columns of steps


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


class RolloutBatch(NamedTuple):
    """Pieces of journeys, each in order and all in one row: `N` steps of `P` pieces."""

    columns: dict[str, Array]
    """`[N, ...]`: `obs`, `actions`, `rewards` and the bidder's own."""
    lengths: Ints
    """`[P]`, steps of each piece; their sum is N."""
    rows: Ints
    """`[P]`, of the simulator: whose journey it is."""
    starts: Ints
    """`[P]`, steps of the journey before the piece."""
    terminated: Bools
    """`[P]`: the journey ended with the piece."""
    truncated: Bools
    """`[P]`: a time limit cut the journey off after the piece."""
    next_values: Floats
    """`[P]`: value of the step after the piece; 0 if the journey ended or nothing is valued."""
    valued: bool
    """Whether `next_values` holds those of pieces that go on, whatever the bidder stored."""
    next_observations: Array
    """`[P, D]`: what is seen after the piece."""
    ticks: int
    """Steps of all campaigns; in a step, all their users with a request act."""
    infos: dict[str, Array]
    """`[N]` by name, if they are asked for: what the steps brought, see `simulator.infos`,
    and how much of the journey was there before (`present`) and after (`survival`)."""


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


class _Ended(NamedTuple):
    """Pieces that end, what is seen after them, how their streams ended, and its value."""

    pieces: Ints
    observations: Array
    terminated: Bools
    truncated: Bools
    values: Floats


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
        self._piece = np.full(rows, -1)  # number of the piece in this batch
        self._ticks = np.zeros(env.num_episodes, np.int64)
        self._all_ticks = 0
        self._last: dict[str, Array] = {}  # columns of the open steps
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
        self._piece[:] = -1
        self._pieces: list[Ints] = []  # rows, in the order of their pieces
        self._starts: list[Ints] = []
        self._num_pieces = 0
        log: list[tuple[Ints, dict[str, Array]]] = []
        ended: list[_Ended] = []
        complete, ticks_before = 0, self._all_ticks
        while not enough(complete):
            for who, columns in self._tick(bidder, ended, go_on):
                log.append((who, columns))
                complete += len(who)
        going = np.flatnonzero(self._piece >= 0)
        if self.env.rewards_at_once and len(going):
            ended.append(self._cut(bidder, going))
        return self._pack(log, ended, self._all_ticks - ticks_before)

    def _tick(
        self, bidder: StreamActor, ended: list[_Ended], go_on: bool
    ) -> list[tuple[Ints, dict[str, Array]]]:
        """One request of every user who has one; returns the steps that this completes."""
        env, completed = self.env, []
        rows = env.pending
        if env.rewards_at_once:
            rewards = self._reward[rows]
        else:
            rewards = env.take_rewards(rows)
            completed.append(self._complete(rows, rewards))
        observations = env.observe(rows)
        new = self._steps[rows] + self._open[rows] == 0
        acts = bidder(rows, new, observations, rewards)
        columns: dict[str, Array] = {"obs": observations, "actions": acts.actions}
        self.store(rows, columns | acts.columns)
        self._open[rows] = True
        acting = rows if env.slots == 1 else np.unique(rows // env.slots)
        self._ticks[acting] += 1
        self._all_ticks += len(acting)
        infos = env.serve(rows, acts.actions if acts.served is None else acts.served)
        if self.with_infos:
            self.store(rows, {_INFO + name: info for name, info in infos.items()})

        if env.rewards_at_once:
            self._reward[rows] = rewards = env.take_rewards(rows)
            completed.append(self._complete(rows, rewards))
            over = rows[env.ended[rows]]
        else:
            over = np.flatnonzero(env.ended & self._open)
            self._reward[over] = rewards = env.take_rewards(over)
            completed.append(self._complete(over, rewards))
        if len(over):
            ended.append(self._cut(bidder, over))
            self._piece[over] = -1
            self._steps[over] = 0
        done = np.flatnonzero(env.over)
        if len(done):
            self._finish(done[self._ticks[done] > 0])
            if go_on:
                self._begin(done)
        return completed

    def _cut(self, bidder: StreamActor, rows: Ints) -> _Ended:
        """What follows the pieces of rows that end or are cut here."""
        env = self.env
        over, cut = env.ended[rows], env.truncated[rows]
        observations, values = env.observe(rows), np.zeros(len(rows))
        follows = cut | ~over
        if follows.any():
            values[follows] = bidder.value_after(
                rows[follows], observations[follows], self._reward[rows[follows]]
            )
        return _Ended(self._piece[rows], observations, over & ~cut, cut, values)

    def _complete(self, rows: Ints, rewards: Floats) -> tuple[Ints, dict[str, Array]]:
        """The open steps of these rows, with their rewards; the piece of each and the columns."""
        self._return[rows] += rewards
        known = self._open[rows]
        rows, rewards = rows[known], rewards[known]
        fresh = rows[self._piece[rows] < 0]
        self._piece[fresh] = self._num_pieces + np.arange(len(fresh))
        self._num_pieces += len(fresh)
        self._pieces.append(fresh)
        self._starts.append(self._steps[fresh].copy())
        self._open[rows] = False
        self._steps[rows] += 1
        columns = {name: column[rows] for name, column in self._last.items()}
        return self._piece[rows], {**columns, "rewards": rewards.astype(np.float32)}

    def _pack(
        self, log: list[tuple[Ints, dict[str, Array]]], ended: list[_Ended], ticks: int
    ) -> RolloutBatch:
        piece = np.concatenate([who for who, _ in log])
        order = np.argsort(piece, kind="stable")
        full = [columns for who, columns in log if len(who)]
        columns = {name: np.concatenate([part[name] for part in full])[order] for name in full[0]}
        infos = {
            name.removeprefix(_INFO): columns.pop(name)
            for name in list(columns)
            if name.startswith(_INFO)
        }
        rows = np.concatenate(self._pieces)
        # A journey that goes on has acted again, or its last step would not be complete.
        observations = self._last["obs"][rows]
        terminated, truncated = np.zeros((2, len(rows)), np.bool_)
        values = np.zeros(len(rows))
        if "values" in self._last:
            values[:] = self._last["values"][rows]
        for over in ended:
            pieces = over.pieces
            observations[pieces], values[pieces] = over.observations, over.values
            terminated[pieces], truncated[pieces] = over.terminated, over.truncated
        return RolloutBatch(
            columns,
            lengths=np.bincount(piece, minlength=self._num_pieces),
            rows=rows,
            starts=np.concatenate(self._starts),
            terminated=terminated,
            truncated=truncated,
            next_values=values,
            valued=self.env.rewards_at_once,
            next_observations=observations,
            ticks=ticks,
            infos=infos,
        )

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


def generalized_advantages(
    rewards: Floats,
    values: Floats,
    next_values: Floats,
    lengths: Ints,
    gamma: float,
    lambda_: float,
) -> tuple[Floats, Floats]:
    """Return advantages and value targets of pieces of trajectories (Schulman et al. 2016).

    `A_t = sum_k (gamma lambda)^k delta_{t+k}` with `delta_t = r_t + gamma v_{t+1} - v_t`.

    Args:
        rewards: `[N]`, pieces one after the other.
        values: `[N]`.
        next_values: of the step after each piece, 0 where nothing follows, `[P]`.
        lengths: of the pieces, at least 1, `[P]`; their sum is N.
        gamma: discount.
        lambda_: of the exponential average.

    Returns:
        advantages `[N]`, and targets `[N]` (advantages plus values).
    """
    ends = np.cumsum(lengths)
    following = np.append(values[1:], 0.0)
    following[ends - 1] = next_values
    deltas = rewards + gamma * following - values
    advantages = np.zeros(len(rewards))
    carried = np.zeros(len(lengths))
    # From the end of all pieces at once; the shorter ones are through earlier.
    for back in range(1, int(lengths.max()) + 1):
        going = lengths >= back
        steps = ends[going] - back
        carried[going] = deltas[steps] + gamma * lambda_ * carried[going]
        advantages[steps] = carried[going]
    return advantages, advantages + values

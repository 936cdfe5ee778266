"""A trained policy and its references on the held-out days of a log.

- `TrainedReplayBids`: a checkpoint's policy as a bidder in the replay.
- `evaluate_replay`: plays them all and prints the table; nothing is drawn, so there are no seeds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from scipy import stats

from rllib_seq.envs.ad_auction.log_replay.auction_log import AuctionLog
from rllib_seq.envs.ad_auction.log_replay.baselines import (
    HindsightBids,
    LinearBids,
    PacedBids,
    ReplayPolicy,
    ReplayResult,
    play_replay,
)
from rllib_seq.envs.ad_auction.log_replay.replay import LEVELS, Replay, observation_space
from rllib_seq.envs.ad_auction.log_replay.world import ReplayWorld
from rllib_seq.errors import UserError
from rllib_seq.training.acting.actor import Actor, PolicyActor
from rllib_seq.training.acting.loading import load_policy
from rllib_seq.training.evaluation.results import (
    Interval,
    LogDays,
    LogFacts,
    ReplayEvaluation,
    ReplayRow,
    ReplaySummary,
)
from rllib_seq.training.reports.replay_view import replay_table
from rllib_seq.training.run.console import progress_bar

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_FEW_CLICKS = 30  # logged on the held-out days: below, chance alone decides who gets more of them


class TrainedReplayBids:
    """A trained policy in the replay, greedy; see `replay_baselines.ReplayPolicy`.

    Args:
        actor: for the observations and levels of the replay.
    """

    name = "trained"

    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    def start(self, replay: Replay, episodes: list[slice]) -> None:
        """See `ReplayPolicy.start`.

        Raises:
            UserError: the policy was trained on other spaces.
        """
        wanted = observation_space(replay.world).shape
        shape = self._actor.observation_space.shape
        if shape != wanted or getattr(self._actor.action_space, "n", None) != len(LEVELS):
            raise UserError(
                f"the checkpoint was trained on observations {shape} and actions "
                f"{self._actor.action_space}; this log has {wanted} and Discrete({len(LEVELS)})"
            )
        self._replay = replay
        self._actor.start(len(episodes) * replay.slots)

    def bids(self, rows: Ints) -> Floats:
        """See `ReplayPolicy.bids`."""
        replay = self._replay
        levels = self._actor.act(rows, replay.observe(rows), replay.take_rewards(rows))
        return LEVELS[levels] * replay.linear_bids(rows)


def evaluate_replay(
    checkpoint: Path, world: ReplayWorld, paths: tuple[str, ...], console: Console
) -> ReplayEvaluation:
    """Plays a checkpoint and the references on the held-out days and prints the table.

    Args:
        checkpoint: a checkpoint folder.
        world: the log.
        paths: of the log, for the record.
        console: where progress and the table go.
    """
    episodes = world.held_out_episodes()
    fields = world.of_fields()
    players: list[tuple[ReplayPolicy, ReplayWorld]] = [
        (LinearBids(), fields),
        (PacedBids(), fields),
        (TrainedReplayBids(PolicyActor(load_policy(checkpoint))), world),
        (HindsightBids(), world),
        (HindsightBids(knows_clicks=True), world),
    ]
    if fields is not world:
        players.insert(2, (PacedBids(name="paced_response"), world))
    results = {}
    with progress_bar(console, "evaluating", len(players) * len(episodes)) as count:
        for policy, its_world in players:
            results[policy.name] = play_replay(
                its_world, its_world.held_out, episodes, policy, world
            )
            for _ in episodes:
                count()
    best = results["hindsight"].expected_clicks.sum()
    by_log = int(world.held_out.clicked.sum()) >= _FEW_CLICKS
    measure = "gains" if by_log else "expected_clicks"
    linear = getattr(results["linear"], measure)
    rows = [_row(name, result, best) for name, result in results.items()]
    rows.sort(key=lambda row: -(row.gains if by_log else row.expected_clicks))
    evaluation = ReplayEvaluation(
        checkpoint=str(checkpoint),
        episodes=len(episodes),
        log=_facts(world, paths),
        ranked_by=measure,
        policies=rows,
        summary=[
            ReplaySummary(name, _interval(getattr(result, measure) - linear))
            for name, result in results.items()
        ],
        notes=_notes(world, len(episodes)),
    )
    console.print(replay_table(evaluation.to_json()))
    for note in evaluation.notes:
        console.print(note, markup=False, highlight=False)
    return evaluation


def _row(name: str, result: ReplayResult, best: float) -> ReplayRow:
    requests, wins, clicks = (
        int(part.sum()) for part in (result.requests, result.wins, result.clicks)
    )
    expected, spend = float(result.expected_clicks.sum()), float(result.spend.sum())
    return ReplayRow(
        policy=name,
        signal="privileged" if name.startswith("hindsight") else "outcomes",
        spend=spend,
        budget=float(result.budget.sum()),
        requests=requests,
        wins=wins,
        win_rate=wins / requests,
        clicks=clicks,
        gains=float(result.gains.sum()),
        expected_clicks=expected,
        cpc=spend / clicks if clicks else None,
        expected_cpc=spend / expected if expected else None,
        pct_of_full_information=100 * expected / best if best else None,
    )


def _interval(difference: Floats) -> Interval:
    """Of a paired difference per episode."""
    count, half_width = len(difference), None
    if count > 1:
        error = float(difference.std(ddof=1)) / count**0.5
        half_width = float(stats.t.ppf(0.975, count - 1)) * error
    return Interval(float(difference.mean()), half_width)


def _facts(world: ReplayWorld, paths: tuple[str, ...]) -> LogFacts:
    config, market = world.config, world.market
    return LogFacts(
        files=list(paths),
        train=_days(world.train),
        held_out=_days(world.held_out),
        budget_ratio=config.budget_ratio,
        episode_requests=world.episode_requests,
        auction=config.auction,
        stream=config.stream,
        gain=config.gain,
        worth="fields" if world.train.worth is None else "response",
        mean_price=market.mean_price,
        mean_click_probability=market.mean_probability,
        linear_base=world.base,
    )


def _days(log: AuctionLog) -> LogDays:
    days = [str(np.datetime64(int(day), "D")) for day in log.days]
    return LogDays(days, requests=len(log), clicks=int(log.clicked.sum()))


def _notes(world: ReplayWorld, episodes: int) -> list[str]:
    """What a reader has to know before they believe the table."""
    learned, held = int(world.train.clicked.sum()), int(world.held_out.clicked.sum())
    notes = [f"WARNING: {each}." for each in (*world.held_out.warnings, *world.notes)]
    lost = 1 - float(world.held_out.shown.mean())
    if lost:
        notes.append(
            f"{100 * lost:.3g} % of the held-out requests were not won in the log: whether they "
            "would have been clicked is not known, so they count in expected clicks alone."
        )
    if world.modelled_prices:
        notes.append(
            f"{100 * world.modelled_prices:.3g} % of the held-out prices are modelled: the log "
            "says only on which side of the bid they were."
        )
    what = {"click": "clicks", "conversion": "conversions", "value": "conversions"}
    gains = what[world.config.gain]
    if held < _FEW_CLICKS:
        notes.append(
            f"{held} {gains} were logged on the held-out days: who gets them is chance. The table "
            f"ranks by expected {gains}, which are modelled: as good as a model of {learned} "
            f"{gains} can be."
        )
    else:
        notes.append(
            f"The table ranks by the {held:,} {gains} that were logged on the held-out days. "
            "Expected ones are modelled."
        )
    if world.train.worth is None:
        notes.append(
            f"Worth of a request: its own fields, by logistic regression on {learned} {gains}."
        )
    else:
        notes.append(
            f"Worth of a request: a response model of its user's past, of {learned} {gains}. "
            "linear and paced bid by the request's own fields, paced_response by that worth."
        )
    if episodes < 5:
        notes.append(
            f"Few held-out episodes ({episodes}): intervals are wide or missing. A longer log or a "
            "smaller --episode-requests gives more."
        )
    return notes

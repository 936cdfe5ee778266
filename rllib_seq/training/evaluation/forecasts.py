"""How good the auxiliary heads of a trained bidder are, in the campaigns that judge its bids.

- `RecordedBids`: the bidder, with everything that its heads forecast and what became of it
- `calibrate`: the scores, against outcomes and against the simulator's true probabilities

True probabilities: of winning, from the distribution of the market price, exactly. Of any event
within a horizon, given all that is hidden and given the bidder: some moments of a campaign
are continued several times, with the same present and every future drawn again. Each moment's mean
over its futures estimates its true probability without bias; `calibration.against_truth` takes out
what the few futures add.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.simulator.state import Outcome
from rllib_seq.envs.ad_auction.simulator.step import AuctionSimulator
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig
from rllib_seq.envs.ad_auction.worlds.values import expected_auction
from rllib_seq.training.evaluation.calibration import Truth, against_truth, scorecard
from rllib_seq.training.evaluation.policies import TrainedBids
from rllib_seq.training.evaluation.results import HeadCalibration, KnownTruth
from rllib_seq.training.seeds import Branch, branch_seed, evaluation_seed

_MOMENTS = 3  # of one campaign per seed, each with the requests of many users
_FUTURES = 8
_NEVER = np.iinfo(np.int64).max

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass
class _Campaign:
    """What a bidder forecast in one campaign, one entry per call of `bids`."""

    simulator: AuctionSimulator
    streams: list[Ints] = field(default_factory=list)
    steps: list[Ints] = field(default_factory=list)
    forecasts: list[dict[str, Floats]] = field(default_factory=list)
    win_probabilities: list[Floats] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)


class RecordedBids:
    """A trained bidder whose forecasts are written down.

    Args:
        bidder: with at least one auxiliary head.
    """

    def __init__(self, bidder: TrainedBids) -> None:
        self.bidder = bidder
        self.name = bidder.name
        self.campaigns: list[_Campaign] = []

    def start(self, simulator: AuctionSimulator) -> None:
        """See `BidPolicy.start`."""
        self.bidder.start(simulator)
        self.campaigns.append(_Campaign(simulator))

    def bids(self, users: Ints) -> Floats:
        """See `BidPolicy.bids`."""
        campaign = self.campaigns[-1]
        bids = self.bidder.bids(users)
        users = users[: len(bids)]
        if self.bidder.one_stream:
            campaign.streams.append(np.zeros(1, np.int64))
            campaign.steps.append(np.array([len(campaign.steps)]))
        else:
            campaign.streams.append(users)
            campaign.steps.append(campaign.simulator.request[users])
        campaign.forecasts.append(self.bidder.forecasts())
        preset, self._left = campaign.simulator.preset, campaign.simulator.ledger.remaining
        campaign.win_probabilities.append(expected_auction(preset, bids)[0])
        self._bids = bids
        return bids

    def update(self, users: Ints, outcome: Outcome) -> None:
        """See `BidPolicy.update`."""
        campaign = self.campaigns[-1]
        campaign.outcomes.append(outcome)
        # Requests are served in order, and a bid that could overspend the budget is not made.
        left = self._left - np.cumsum(outcome.paid) + outcome.paid
        campaign.win_probabilities[-1] *= self._bids <= left
        self.bidder.update(users, outcome)


def calibrate(
    recorded: RecordedBids,
    world: AuctionConfig,
    seeds: Sequence[int],
    on_future: Callable[[], None] = lambda: None,
) -> list[HeadCalibration]:
    """Scores every head of a bidder that has been evaluated.

    Args:
        recorded: has played equally many campaigns of every seed, see `evaluation.evaluate`.
        world: that of the evaluation.
        seeds: those of the evaluation.
        on_future: is called after each of `futures_in_all` futures.

    Returns:
        scores per head. No futures are played of a campaign that is one stream, and the truth may
        be unknown.
    """
    heads, estimates = recorded.bidder.heads, {}
    if not recorded.bidder.one_stream:
        estimates = _true_probabilities(recorded, world, seeds, on_future)
    cards = []
    for name, head in heads.items():
        forecast = _joined(each[name] for c in recorded.campaigns for each in c.forecasts)
        outcome = np.concatenate([_happened(c, name, head.horizon) for c in recorded.campaigns])
        known: KnownTruth | None = None
        if name == "won" and head.horizon == 1:
            exact = _joined(row for c in recorded.campaigns for row in c.win_probabilities)
            truth = against_truth(forecast, Truth(exact, np.zeros_like(exact)))
            known = KnownTruth(requests=len(forecast), futures=None, **vars(truth))
        elif name in estimates:
            judged, estimate = estimates[name]
            truth = against_truth(judged, estimate)
            known = KnownTruth(requests=len(judged), futures=_FUTURES, **vars(truth))
        cards.append(
            HeadCalibration(
                head=name,
                horizon=head.horizon,
                given_action=head.given_action,
                truth=known,
                **vars(scorecard(forecast, outcome)),
            )
        )
    return cards


def futures_in_all(recorded: RecordedBids, seeds: Sequence[int]) -> int:
    """How many futures `calibrate` plays."""
    return 0 if recorded.bidder.one_stream else len(seeds) * _MOMENTS * _FUTURES


def _joined(parts: Iterable[Floats]) -> Floats:
    return np.concatenate(list(parts))


def _happened(campaign: _Campaign, event: str, horizon: int) -> Floats:
    """`[N]`: whether the event happened within the horizon of each request, in order of service."""
    streams, steps = np.concatenate(campaign.streams), np.concatenate(campaign.steps)
    at = np.zeros((streams.max() + 1, steps.max() + horizon), np.bool_)
    at[streams, steps] = np.concatenate([getattr(o, event) for o in campaign.outcomes])
    soon: Bools = np.any(np.lib.stride_tricks.sliding_window_view(at, horizon, axis=1), axis=2)
    return soon[streams, steps].astype(np.float64)


def _true_probabilities(
    recorded: RecordedBids,
    world: AuctionConfig,
    seeds: Sequence[int],
    on_future: Callable[[], None],
) -> dict[str, tuple[Floats, Truth]]:
    """By event: forecasts at some moments of the first campaign of every seed, and the truth."""
    bidder, heads = recorded.bidder, recorded.bidder.heads
    simulator = AuctionSimulator(world.for_evaluation())
    episodes = len(recorded.campaigns) // len(seeds)
    forecasts: dict[str, list[Floats]] = {name: [] for name in heads}
    happened: dict[str, list[Floats]] = {name: [] for name in heads}
    for seed, campaign in zip(seeds, recorded.campaigns[::episodes], strict=True):
        simulator.reset(evaluation_seed(seed, 0))
        bidder.start(simulator)
        served = np.cumsum([len(streams) for streams in campaign.streams])
        share = (np.arange(_MOMENTS) + 0.5) / _MOMENTS
        moments = np.searchsorted(served, share * served[-1])
        for moment in range(moments[-1] + 1):
            if moment in moments:
                branch = [
                    _continued(bidder, simulator, _future_seed(seed, moment, i), on_future)
                    for i in range(_FUTURES)
                ]
                for name in heads:
                    forecasts[name].append(campaign.forecasts[moment][name])
                    happened[name].append(np.stack([each[name] for each in branch]))
            simulator.step(bidder.bids(simulator.pending))
    return {
        name: (np.concatenate(forecasts[name]), _estimate(np.concatenate(happened[name], axis=1)))
        for name in heads
    }


def _estimate(futures: Floats) -> Truth:
    """From `[F, N]`, unbiased estimates of N probabilities, one row per future."""
    return Truth(futures.mean(axis=0), futures.var(axis=0, ddof=1) / len(futures))


def _future_seed(seed: int, moment: int, future: int) -> np.random.SeedSequence:
    return branch_seed(seed, Branch.FUTURES, moment, future)


def _continued(
    bidder: TrainedBids,
    simulator: AuctionSimulator,
    seed: np.random.SeedSequence,
    on_future: Callable[[], None],
) -> dict[str, Floats]:
    """Plays one future of the users whose requests are pending.

    Returns:
        by event, `[n]`: whether it happens to them within the head's horizon; of conversions, the
        sum of their probabilities on the way, which has the same mean and varies less.
    """
    heads, who = bidder.heads, simulator.pending
    simulator = copy.deepcopy(simulator)
    simulator.resample_future(seed)
    bidder = bidder.fork(simulator)
    longest = max(head.horizon for head in heads.values())
    first = np.full(simulator.num_users, _NEVER)
    first[who] = simulator.request[who]
    # Without a budget users do not touch each other, and no one need bid for the others.
    alone = np.isinf(simulator.ledger.budget)
    happened = {name: np.zeros(simulator.num_users) for name in heads}
    while _going(simulator, who, first, longest).any():
        users = simulator.pending
        ahead = simulator.request[users] - first[users]
        asked = (0 <= ahead) & (ahead < longest) if alone else np.ones(len(users), np.bool_)
        bids = np.zeros(len(users))
        if asked.any():
            bids[asked] = bidder.bids(users[asked])
        outcome = simulator.step(bids)
        for name, head in heads.items():
            counts = (0 <= ahead) & (ahead < head.horizon)
            if name == "converted":
                happened[name][users] += counts * outcome.conversion_probability
            else:
                happened[name][users[counts & getattr(outcome, name)]] = 1.0
    on_future()
    return {name: rows[who] for name, rows in happened.items()}


def _going(simulator: AuctionSimulator, who: Ints, first: Ints, longest: int) -> Bools:
    """Which of these users will still make requests within the longest horizon."""
    within = simulator.request[who] - first[who] < longest
    return within & (simulator.channel(who) >= 0)

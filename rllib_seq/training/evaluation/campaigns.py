"""Trained and reference policies on the same fresh campaigns.

- `references`: the bidders that every result is compared with.
- `SIGNALS`: what they go by.
- `evaluate`: plays them all, paired: a campaign's draws are the same for every policy.
- `expected_profit`: of one policy, with the luck taken out.
- `summarize`: means with 95 % intervals over campaigns.

Evaluation seeds are children of another branch of the seed tree than the training seeds, so no
campaign is ever trained on, whatever the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rllib_seq.envs.ad_auction.references.baselines import RandomBids, SignalBids
from rllib_seq.envs.ad_auction.references.optimum import OptimalBids, Optimum, optimum
from rllib_seq.envs.ad_auction.references.oracles import (
    BayesBids,
    FullInformationBids,
    best_fixed,
    best_memoryless,
    best_one_step,
)
from rllib_seq.envs.ad_auction.simulator.campaign import Ledger
from rllib_seq.envs.ad_auction.simulator.play import BidPolicy, play
from rllib_seq.envs.ad_auction.simulator.step import AuctionSimulator
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig, Preset
from rllib_seq.envs.ad_auction.worlds.values import full_information, is_exact
from rllib_seq.training.evaluation.results import Interval, PolicyRow, PolicySummary
from rllib_seq.training.seeds import evaluation_seed

Floats = NDArray[np.float64]


SIGNALS = {"random": "outcomes"} | dict.fromkeys(
    ("fixed", "memoryless", "one_step", "bayes", "optimal", "full_information"), "privileged"
)
"""Privileged: worked out from the numbers of the world, which no bidder knows."""


def references(preset: Preset, best: Optimum | None = None) -> list[BidPolicy]:
    """Random, best without, with little and with all memory, full information: weakest first.

    Args:
        preset: the world.
        best: `optimum(preset)`, if it has been worked out already; None: it will be.
    """
    best = optimum(preset) if best is None else best
    return [
        RandomBids(),
        SignalBids("fixed", best_fixed(preset).bids),
        SignalBids("memoryless", best_memoryless(preset).bids),
        SignalBids("one_step", best_one_step(preset).bids),
        BayesBids(),
        *([] if best is None else [OptimalBids(best)]),
        FullInformationBids(),
    ]


class Campaigns(NamedTuple):
    """Result of `evaluate`."""

    preset: str
    num_users: int
    """Users of one campaign."""
    seeds: list[int]
    policies: list[str]
    ledgers: list[list[list[Ledger]]]
    """By policy, seed, campaign."""
    profit: Floats
    """`[policies, seeds, campaigns]`: profit per user, currency units."""
    signals: Mapping[str, str]
    """What policies go by, by name: "outcomes" or "privileged"."""


def evaluate(
    policies: Sequence[BidPolicy],
    world: AuctionConfig,
    seeds: Sequence[int],
    episodes: int,
    on_campaign: Callable[[], None] = lambda: None,
    signals: Mapping[str, str] = SIGNALS,
) -> Campaigns:
    """Plays `episodes` campaigns of every seed with every policy.

    Args:
        policies: whom to play; every policy plays the same campaigns.
        world: whose users, market and budget; rewards are always as sampled.
        seeds: evaluation seeds, at least one.
        episodes: campaigns per seed.
        on_campaign: is called after every campaign of every policy.
        signals: what policies go by, by name.
    """
    simulator = AuctionSimulator(world.for_evaluation())
    ledgers = [
        [
            [_play(simulator, policy, seed, episode, on_campaign) for episode in range(episodes)]
            for seed in seeds
        ]
        for policy in policies
    ]
    shadow_price = simulator.preset.shadow_price
    profit = np.array(
        [[[ledger.profit(shadow_price) for ledger in row] for row in table] for table in ledgers]
    )
    names = [policy.name for policy in policies]
    return Campaigns(
        *(world.preset, world.num_users, list(seeds), names, ledgers),
        profit=profit / world.num_users,
        signals=signals,
    )


def expected_profit(
    policy: BidPolicy, world: AuctionConfig, seeds: Sequence[np.random.SeedSequence]
) -> float:
    """Expected profit per user of a policy, currency units, mean over a campaign of each seed.

    How journeys end is no matter of luck here; where full information is exact, prices, channels
    and stages are none either (`values.Regret`).
    """
    preset = world.build_preset()
    exact = is_exact(preset)
    reward = "regret" if exact else "expected"
    simulator = AuctionSimulator(replace(world.for_evaluation(), reward=reward, reward_scale=1.0))
    earned = []
    for seed in seeds:
        play(simulator, policy, seed)
        earned.append(simulator.take_campaign_rewards()[0] / world.num_users)
    return float(np.mean(earned)) + (full_information(preset).value if exact else 0.0)


def _play(
    simulator: AuctionSimulator,
    policy: BidPolicy,
    seed: int,
    episode: int,
    on_campaign: Callable[[], None],
) -> Ledger:
    ledger = play(simulator, policy, evaluation_seed(seed, episode))
    on_campaign()
    return ledger


def rows(campaigns: Campaigns) -> list[PolicyRow]:
    """One row per policy and seed."""
    bayes, full = _by_seed(campaigns, "bayes"), _by_seed(campaigns, "full_information")
    optimal = _by_seed(campaigns, "optimal")
    table = []
    for p, policy in enumerate(campaigns.policies):
        for s, seed in enumerate(campaigns.seeds):
            ledgers = campaigns.ledgers[p][s]
            profit = campaigns.profit[p, s]
            spend = sum(ledger.spend for ledger in ledgers)
            budget = sum(ledger.budget for ledger in ledgers)
            wins = sum(ledger.wins for ledger in ledgers)
            requests = sum(ledger.requests for ledger in ledgers)
            conversions = sum(ledger.conversions for ledger in ledgers)
            table.append(
                PolicyRow(
                    policy=policy,
                    signal=campaigns.signals.get(policy),
                    seed=seed,
                    profit=float(profit.sum() * campaigns.num_users),
                    profit_per_user=float(profit.mean()),
                    spend=spend,
                    budget=budget if np.isfinite(budget) else None,
                    requests=int(requests),
                    wins=int(wins),
                    win_rate=_ratio(wins, requests),
                    clicks=int(sum(ledger.clicks for ledger in ledgers)),
                    conversions=int(conversions),
                    censored_conversions=int(sum(ledger.censored for ledger in ledgers)),
                    cpa=_ratio(spend, conversions),
                    roas=_ratio(sum(ledger.value for ledger in ledgers), spend),
                    pct_of_bayes=_ratio(100 * profit.mean(), bayes[s]),
                    pct_of_optimum=_ratio(100 * profit.mean(), optimal[s]),
                    pct_of_full_information=_ratio(100 * profit.mean(), full[s]),
                )
            )
    return table


def _by_seed(campaigns: Campaigns, policy: str) -> Floats:
    """`[seeds]`: mean profit per user of a policy; NaN if it did not play."""
    if policy not in campaigns.policies:
        return np.full(len(campaigns.seeds), np.nan)
    return campaigns.profit[campaigns.policies.index(policy)].mean(axis=1)


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole > 0 else None


def summarize(campaigns: Campaigns) -> list[PolicySummary]:
    """Per policy, best last: profit per user, and the paired difference to best memoryless."""
    memoryless = campaigns.profit[campaigns.policies.index("memoryless")]
    bayes, optimal = _by_seed(campaigns, "bayes").mean(), _by_seed(campaigns, "optimal").mean()
    summary = []
    for name, profit in zip(campaigns.policies, campaigns.profit, strict=True):
        over = profit - memoryless
        summary.append(
            PolicySummary(
                policy=name,
                signal=campaigns.signals.get(name),
                profit_per_user=_interval(profit),
                over_memoryless=_interval(over),
                pct_of_bayes=_ratio(100 * profit.mean(), bayes),
                pct_of_optimum=_ratio(100 * profit.mean(), optimal),
                beats_memoryless_on_seeds=int((over.mean(axis=1) > 0).sum()),
            )
        )
    return sorted(summary, key=lambda row: row.profit_per_user.mean)


def over(campaigns: Campaigns, policy: str, other: str) -> Interval:
    """Profit per user of one policy over another's on the same campaigns, paired."""
    profit = [campaigns.profit[campaigns.policies.index(name)] for name in (policy, other)]
    return _interval(profit[0] - profit[1])


def _interval(samples: Floats) -> Interval:
    flat = samples.ravel()
    if len(flat) < 2:
        return Interval(float(flat.mean()), 0.0)
    error = flat.std(ddof=1) / np.sqrt(len(flat))
    return Interval(float(flat.mean()), float(stats.t.ppf(0.975, len(flat) - 1) * error))

"""How far from hindsight the policies of `AdCampaign-v0` stay.

    rllib-seq train campaign --preset WORLD --stop-steps 400000 --storage runs
    rllib-seq bench pacing [WORLD ...] --folder runs

Every world of tick mode, one day, 2,000 requests per tick (--short: 500), expected conversions.
Baselines are fitted on the flights 1 to 3 and judged on twenty fresh ones, the same for all. With
`--folder`, the newest run of `tune_configs.campaign` of each world in it plays, too ("learned").
"best multipliers" are the best constants per channel, searched on the flight itself (the first five
flights): what a policy of constant multipliers could earn who knows the flight before. 100 % is the
relaxed optimum at the prices that come up when we do not bid; in `rivalry` competitors answer our
bids, so there it is a reference and no bound. It passes if no one beats the optimum of the other
worlds, `hindsight` reaches 99.9 % of it there, and what was learned is nowhere more than a standard
error below the best baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rllib_seq.benchmarks.result import Check, Result, Row, chosen
from rllib_seq.envs.ad_auction.tick.baselines import (
    ChannelMultipliers,
    FixedBid,
    best_multipliers,
    tick_baselines,
)
from rllib_seq.envs.ad_auction.tick.simulator import TickPolicy, TickSimulator, play_ticks
from rllib_seq.envs.ad_auction.tick.worlds import TICK_WORLDS, TickConfig
from rllib_seq.errors import UserError
from rllib_seq.training.evaluation.learned_multipliers import LearnedMultipliers
from rllib_seq.training.storage.files import read_json

PAST = (1, 2, 3)
FRESH = tuple(range(1000, 1020))
SEARCHED = 5
PRIVILEGED = ("hindsight", "best multipliers")


def world(name: str, folder: Path | None = None, requests: int = 2000) -> dict[str, Row]:
    """Figures of every policy in a world, means over the fresh flights."""
    print(f"{name} ...", flush=True)
    config = TickConfig(
        world=name,
        requests_per_tick=requests,
        conversions="expected",
        actions="around_pacing",
    )
    simulator = TickSimulator(config)
    optima = []
    for seed in FRESH:
        play_ticks(simulator, FixedBid(0.0), seed)
        optima.append(simulator.hindsight().score)
    policies = tick_baselines(config, PAST)
    if folder is not None:
        policies.append(LearnedMultipliers.from_checkpoint(_newest_run(folder, name)))
    played = {policy.name: _play(simulator, [policy] * len(FRESH), optima) for policy in policies}
    start = float(simulator.world.pacing.start(())[0])
    found = [best_multipliers(simulator, seed, start) for seed in FRESH[:SEARCHED]]
    best = [ChannelMultipliers(multipliers) for multipliers in found]
    played[ChannelMultipliers.name] = _play(simulator, best, optima)
    table = {policy: _row(policy, rows, played) for policy, rows in played.items()}
    table[ChannelMultipliers.name]["multipliers"] = np.mean(found, axis=0).round(3).tolist()
    return table


def _play(
    simulator: TickSimulator, policies: Sequence[TickPolicy], optima: Sequence[float]
) -> np.ndarray:
    """`[flights, 3]`: % of hindsight, spend of budget, CPA; one policy for each flight."""
    rows = []
    for policy, seed, optimum in zip(policies, FRESH, optima, strict=False):
        ledger = play_ticks(simulator, policy, seed)
        cpa = ledger.spend / max(ledger.conversions, 1e-9)
        rows.append([100 * simulator.score / optimum, ledger.spend / ledger.budget, cpa])
    return np.array(rows)


def _row(policy: str, rows: np.ndarray, played: dict[str, np.ndarray]) -> Row:
    mean, spread = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1)
    row: Row = {
        "signal": "privileged" if policy in PRIVILEGED else "outcomes",
        "flights": len(rows),
        "pct_of_hindsight": round(float(mean[0]), 2),
        "standard_deviation": round(float(spread[0]), 2),
        "spend_of_budget": round(float(mean[1]), 3),
        "cpa": round(float(mean[2]), 2),
    }
    if policy == LearnedMultipliers.name:
        rivals = [name for name in played if name not in (policy, *PRIVILEGED)]
        best = max(rivals, key=lambda name: played[name][:, 0].mean())
        over = rows[:, 0] - played[best][:, 0]
        row["best_baseline"] = best
        row["over_best_baseline"] = round(float(over.mean()), 2)
        row["standard_error"] = round(float(over.std(ddof=1) / np.sqrt(len(over))), 2)
    return row


def _newest_run(folder: Path, name: str) -> Path:
    for run in sorted(folder.glob("campaign*/config.json"), reverse=True):
        if read_json(run).get("env_config", {}).get("world") == name:
            return run.parent
    raise UserError(
        f"{str(folder)!r} has no run of world {name!r}; train one with: rllib-seq train campaign "
        f"--preset {name} --storage {folder}"
    )


def run(only: Sequence[str] = (), folder: Path | None = None, short: bool = False) -> Result:
    """All worlds, or those that are named.

    Args:
        only: worlds.
        folder: of runs of `tune_configs.campaign`.
        short: a quarter of the requests.

    Raises:
        UserError: there is no such world, or no run of it.
    """
    requests = 500 if short else 2000
    names = chosen(TICK_WORLDS, only)
    worlds = {name: world(name, folder, requests) for name in names}
    tables = {
        name: [{"policy": policy, **row} for policy, row in table.items()]
        for name, table in worlds.items()
    }
    checks = []
    least = 99.5 if short else 99.9  # what is left is one purchase, of fewer
    for name, table in worlds.items():
        share = {policy: row["pct_of_hindsight"] for policy, row in table.items()}
        if name != "rivalry":
            checks.append(Check(f"{name}, % of hindsight", max(share.values()), "<=", 100.0))
            checks.append(Check(f"{name}, hindsight", share["hindsight"], ">=", least))
        if "learned" in table:
            row = table["learned"]
            what = f"{name}, learned over {row['best_baseline']}"
            checks.append(Check(what, row["over_best_baseline"], ">=", -row["standard_error"]))
    return Result({"seeds": list(FRESH), "worlds": worlds}, tables, checks)

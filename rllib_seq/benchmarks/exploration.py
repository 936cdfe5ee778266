"""How DQN should explore journeys: per-step epsilon, a ladder of epsilons, or noise per journey.

    rllib-seq bench exploration

Three runs of `tune_configs.dqn` for each, alike in all but how they explore, then greedy bids on
campaigns that none of them played, beside the best memoryless bidder and the Bayes filter. With the
ladder, which `tune_configs.dqn` has, every run must earn more than the memoryless bidder on every
evaluation seed. Twenty minutes on two
idle cores.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rllib_seq.benchmarks.result import Check, Result
from rllib_seq.envs.ad_auction.references.baselines import SignalBids
from rllib_seq.envs.ad_auction.references.oracles import BayesBids, best_memoryless
from rllib_seq.q_learning import EpsilonLadder, use_sequence_q_learning
from rllib_seq.training.acting.actor import PolicyActor
from rllib_seq.training.acting.loading import acting_policy
from rllib_seq.training.config.checks import auction_config
from rllib_seq.training.evaluation.campaigns import evaluate
from rllib_seq.training.evaluation.policies import TrainedBids
from rllib_seq.training.run.console import make_console
from rllib_seq.training.run.ray_session import ray_session
from rllib_seq.tune_configs.dqn import SEQUENCE, rainbow

REQUESTS = 100_000
TRAINING_SEEDS = (0, 1, 2)
EVALUATION_SEEDS = (1000, 1001, 1002)
CAMPAIGNS, USERS = 4, 2048
EXPLORATIONS: dict[str, dict[str, Any]] = {
    "epsilon per step": {},
    "ladder per journey": {"ladder": EpsilonLadder()},
    "noise per journey": {"noisy": True},
}


def train(
    requests: int, seed: int, ladder: EpsilonLadder | None = None, noisy: bool = False
) -> Any:
    """Returns the trained bidder and the requests that it really saw."""
    config = rainbow().training(noisy=noisy).debugging(seed=seed)
    algorithm = use_sequence_q_learning(config, ladder, **SEQUENCE).build_algo()
    try:
        steps = 0
        while steps < requests:
            result = algorithm.train()
            steps = sum(result["env_runners"]["num_agent_steps_sampled_lifetime"].values())
        module = algorithm.learner_group._learner.module["bidder"]
        module.eval()
        return TrainedBids(PolicyActor(acting_policy(module))), steps
    finally:
        algorithm.stop()


def run(requests: int = REQUESTS, training_seeds: tuple[int, ...] = TRAINING_SEEDS) -> Result:
    """Trains and evaluates."""
    console = make_console()
    world = auction_config(rainbow())
    assert world is not None
    world = world.with_users(USERS).for_evaluation()
    bidders: list[Any] = [SignalBids("memoryless", best_memoryless(world.build_preset()).bids)]
    bidders.append(BayesBids())
    runs = []
    with ray_session(1, console):
        for name, settings in EXPLORATIONS.items():
            for seed in training_seeds:
                bidder, steps = train(requests, seed, **settings)
                bidder.name = f"{name}, seed {seed}"
                bidders.append(bidder)
                runs.append({"exploration": name, "seed": seed, "requests": steps})
                console.print(f"trained: {bidder.name}, {steps:,} requests")
    campaigns = evaluate(bidders, world, EVALUATION_SEEDS, CAMPAIGNS)
    by_seed = campaigns.profit.mean(axis=2)  # (bidders, seeds)
    memoryless, bayes = by_seed[0], by_seed[1]
    for row, profit in zip(runs, by_seed[2:], strict=True):
        row["profit_per_user"] = profit.round(4).tolist()
        row["pct_of_bayes"] = round(float(100 * profit.mean() / bayes.mean()), 1)
        row["seeds_above_memoryless"] = int((profit > memoryless).sum())
    profits = {
        name: np.array([row["profit_per_user"] for row in runs if row["exploration"] == name])
        for name in EXPLORATIONS
    } | {"best memoryless": memoryless[None], "Bayes": bayes[None]}
    rows = [
        {
            "exploration": name,
            "profit / user, by training seed": found.mean(axis=1).tolist(),
            "mean": float(found.mean()),
            "% of Bayes": float(100 * found.mean() / bayes.mean()),
        }
        for name, found in profits.items()
    ]
    checks = [
        Check(
            f"ladder, seed {row['seed']}: evaluation seeds above memoryless",
            row["seeds_above_memoryless"],
            ">=",
            len(EVALUATION_SEEDS),
        )
        for row in runs
        if row["exploration"] == "ladder per journey"
    ]
    figures = {
        "evaluation_seeds": EVALUATION_SEEDS,
        "memoryless": memoryless.round(4).tolist(),
        "bayes": bayes.round(4).tolist(),
        "runs": runs,
    }
    return Result(figures, {f"journey, {requests:,} requests, greedy bids": rows}, checks)

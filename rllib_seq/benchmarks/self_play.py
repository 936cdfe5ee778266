"""Do advertisers who learn against each other find the equilibrium of first price?

    rllib-seq bench self_play

Three advertisers with values U[0,1] in one market; the equilibrium is to bid 2/3 of the value, and
who bids so regrets nothing. Two kinds of learners, each with a policy of its own:

- `hedge`: multiplicative weights (`pacing.Hedge`), 60 ticks of 500 requests.
- `ppo`: RLlib's PPO on `"shared_market_auction"`, a small network each. A bid changes nothing
  later, so gamma is 0. It sees single auctions alone, which is far noisier.

Figures per learner: mean bid / value (weighted by value squared: the slope through the origin), and
the regret against the exact best response, per request; bidding the truth regrets .037. It passes
if all slopes are within .05 of 2/3.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.ppo import PPOConfig

import rllib_seq  # noqa: F401, names the environment
from rllib_seq.benchmarks.result import Check, Result, Row
from rllib_seq.envs.ad_auction.market.auctions import FIRST_PRICE, ChannelAuctions
from rllib_seq.envs.ad_auction.market.bidders import Bidder, Population
from rllib_seq.envs.ad_auction.market.pacing import Hedge
from rllib_seq.envs.ad_auction.market.valuations import UniformValues
from rllib_seq.envs.ad_auction.references.equilibrium import first_price_regret

ADVERTISERS = 3
EQUILIBRIUM = (ADVERTISERS - 1) / ADVERTISERS
STEPS = 240_000
TOLERANCE = 0.05
VALUES = (np.arange(200) + 0.5) / 200
GRID = np.linspace(0.0, 1.0, 401)


def hedge(ticks: int = 60, requests: int = 500) -> np.ndarray:
    """Strategies `[advertisers, V]` after learning by multiplicative weights."""
    rules = ChannelAuctions(np.zeros(1), np.full(1, FIRST_PRICE))
    plan = np.full(ticks, 1 / ticks)
    learners = [Bidder(Hedge())] * ADVERTISERS
    market = Population(learners, UniformValues(), rules, plan, ticks * requests)
    rng, zero = np.random.default_rng(0), np.zeros(requests, np.int64)
    market.reset([rng])
    for tick in range(ticks):
        market.prices(rng.random((requests, ADVERTISERS)), zero, zero, np.array([tick]))
        market.observe(np.zeros(requests))
    return market.multiplier[0][:, None] * VALUES


def ppo(steps: int = STEPS) -> np.ndarray:
    """Strategies `[advertisers, V]` after PPO of each against the others."""
    names = [f"advertiser_{i}" for i in range(ADVERTISERS)]
    config = (
        PPOConfig()
        .environment("shared_market_auction", env_config={"num_advertisers": ADVERTISERS})
        .env_runners(num_env_runners=0, rollout_fragment_length=50)
        .multi_agent(policies=set(names), policy_mapping_fn=lambda agent, *_, **__: agent)
        .rl_module(model_config={"fcnet_hiddens": [32, 32], "vf_share_layers": False})
        .training(
            gamma=0.0,
            lambda_=1.0,
            lr=[[0, 2e-3], [steps, 1e-4]],
            train_batch_size_per_learner=6000,
            minibatch_size=1000,
            num_epochs=6,
            vf_clip_param=1.0,
            entropy_coeff=0.0,
        )
        .debugging(seed=0, log_level="ERROR")
    )
    algorithm = config.build_algo()
    done, began = 0, time.monotonic()
    while done < steps:
        result = algorithm.train()
        done = int(result["num_env_steps_sampled_lifetime"])
        found = " ".join(f"{slope(bids):.3f}" for bids in _strategies(algorithm, names))
        print(
            f"ppo {done:,} auctions, {time.monotonic() - began:.0f} s: slopes {found}", flush=True
        )
    strategies = _strategies(algorithm, names)
    algorithm.stop()
    return strategies


def _strategies(algorithm: Any, names: list[str]) -> np.ndarray:
    rows = np.full((len(VALUES), 4), 0.5, np.float32)  # requests and minimum to win in the middle
    rows[:, 0], rows[:, 1] = VALUES, 1.0
    bids = []
    for name in names:
        with torch.no_grad():
            out = algorithm.get_module(name).forward_inference({"obs": torch.from_numpy(rows)})
        mean = out["action_dist_inputs"][:, 0].numpy()
        bids.append(np.clip((mean + 1) / 2, 0, 1) * VALUES)  # RLlib maps [-1, 1] to the space
    return np.stack(bids)


def slope(bids: np.ndarray) -> float:
    """Least squares of bid = slope * value."""
    return float(bids @ VALUES / (VALUES @ VALUES))


def run() -> Result:
    """Lets both kinds learn and compares with the equilibrium."""
    found: dict[str, Row] = {}
    checks = []
    for name, learn in (("hedge", hedge), ("ppo", ppo)):
        strategies = learn()
        slopes = [slope(bids) for bids in strategies]
        far = max(abs(each - EQUILIBRIUM) for each in slopes)
        checks.append(Check(f"{name}, farthest slope from equilibrium", far, "<=", TOLERANCE))
        found[name] = {
            "slopes": [round(each, 4) for each in slopes],
            "distance": round(float(np.abs(strategies - EQUILIBRIUM * VALUES).mean()), 4),
            "regret": [round(r, 5) for r in first_price_regret(VALUES, strategies, GRID).tolist()],
        }
    title = f"bid / value; the equilibrium is {EQUILIBRIUM:.4f}"
    rows = [{"learner": name, **row} for name, row in found.items()]
    return Result({"equilibrium": round(EQUILIBRIUM, 4), **found}, {title: rows}, checks)

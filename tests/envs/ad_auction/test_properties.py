"""What must hold for every seed, policy and world."""

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_seq.envs.ad_auction import PRESETS, AuctionConfig, AuctionSimulator
from rllib_seq.envs.ad_auction.multi_agent_env import MultiUserAdAuctionEnv
from rllib_seq.envs.ad_auction.simulator.events import EVENTS
from rllib_seq.envs.ad_auction.worlds.presets import COMPETITORS

WORLDS = st.sampled_from(list(PRESETS))
RIVALS = st.sampled_from([None, *COMPETITORS])
SEEDS = st.integers(0, 2**32)


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(
    preset=WORLDS, rivals=RIVALS, seed=SEEDS, budget=st.floats(0, 4), campaigns=st.integers(1, 3)
)
def test_budgets_hold_and_ledgers_are_what_the_events_say(preset, rivals, seed, budget, campaigns):
    config = AuctionConfig(preset, num_users=20, budget=budget, competitors=rivals)
    simulator = AuctionSimulator(config, campaigns, record=True)
    simulator.reset([seed + i for i in range(campaigns)])
    rng = np.random.default_rng(seed)
    while not simulator.done:
        rows = simulator.pending
        simulator.step(rng.choice(simulator.preset.bid_levels, len(rows)))
    rewards = simulator.take_campaign_rewards()
    for campaign in range(campaigns):
        ledger = simulator.ledgers.of(campaign)
        log = simulator.events.columns(campaign)
        counts = np.bincount(log["event"].astype(int), minlength=5)
        assert ledger.spend <= budget * (1 + 1e-12)
        assert counts.tolist() == [
            ledger.requests,
            ledger.wins,
            ledger.clicks,
            ledger.visits,
            ledger.conversions,
        ]
        assert np.nansum(log["value"]) == pytest.approx(ledger.value)
        to_beat = np.maximum(log["market_price"], simulator.preset.floor)
        won = (log["price"] > 0) & (log["price"] >= to_beat)
        assert to_beat[won].sum() == pytest.approx(ledger.spend)
        profit = ledger.profit(simulator.preset.shadow_price)
        assert rewards[campaign] == pytest.approx(profit, abs=1e-9)


@settings(deadline=None, max_examples=15)
@given(preset=WORLDS, rivals=RIVALS, seed=SEEDS, raised=st.integers(0, 14))
def test_raising_only_one_users_bid_loses_no_win_and_changes_nobody_else(
    preset, rivals, seed, raised
):
    config = AuctionConfig(preset, num_users=15, budget=1e9, competitors=rivals)
    logs = []
    for bid in (0.02, 0.3):
        simulator = AuctionSimulator(config, record=True)
        simulator.reset(seed)
        while not simulator.done:
            rows = simulator.pending
            simulator.step(np.where(rows == raised, bid, 0.05))
        logs.append(simulator.events.columns())

    def of_user(log, chosen):
        columns = np.stack(list(log.values()))[:, chosen]
        return columns[:, np.lexsort((columns[2], columns[0], columns[1]))]

    low, high = (of_user(log, log["user"] != raised) for log in logs)
    np.testing.assert_array_equal(low, high)  # every event, price and hour of the others
    request = EVENTS.index("request")
    mine = [(log["user"] == raised) & (log["event"] == request) for log in logs]
    prices = [log["market_price"][rows] for log, rows in zip(logs, mine, strict=True)]
    shared = min(map(len, prices))
    np.testing.assert_array_equal(prices[0][:shared], prices[1][:shared])
    floor = simulator.preset.floor
    won = [bid >= np.maximum(prices[0][:shared], floor) for bid in (0.02, 0.3)]
    assert (won[1] >= won[0]).all()


@pytest.mark.parametrize(
    ("preset", "rivals"), [*((preset, None) for preset in PRESETS), ("display", "rivalry")]
)
def test_a_seed_is_the_same_campaign_in_every_face(preset, rivals):
    config = {"preset": preset, "num_users": 20, "budget": 1e9, "competitors": rivals}
    level = 9
    env = gym.make("rllib_seq.envs.ad_auction:AdAuction-v0", **config).unwrapped
    env.reset(seed=3)
    while not env.simulator.done:
        env.step(level)
    envs = gym.make_vec("AdAuction-v0", num_envs=1, **config).unwrapped
    envs.reset(seed=3)
    while not envs.simulator.done:
        envs.step(np.array([level]))
    agents = MultiUserAdAuctionEnv(config)
    observations, _ = agents.reset(seed=3)
    while not agents.simulator.done:
        acting = [agents.possible_agents[u] for u in agents.simulator.pending]
        agents.step(dict.fromkeys(acting, level))
    scalar, lockstep, users = (adapter.simulator.ledger for adapter in (env, envs, agents))
    assert scalar == lockstep
    for name, total in vars(scalar).items():  # sums in another order
        assert getattr(users, name) == pytest.approx(total), name


@pytest.mark.slow
def test_a_seed_is_the_same_campaign_in_every_process():
    code = """
import numpy as np
from rllib_seq.envs.ad_auction import AuctionConfig, AuctionSimulator
simulator = AuctionSimulator(AuctionConfig("display", num_users=50, competitors="rivalry"))
simulator.reset(11)
seen = []
while not simulator.done:
    seen.append(simulator.observe(simulator.pending).tobytes())
    simulator.step(np.full(len(simulator.pending), 0.1))
import hashlib
print(hashlib.sha256(b"".join(seen)).hexdigest(), simulator.ledger)
"""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    assert len(outputs) == 1

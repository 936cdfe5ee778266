import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.tune.registry import ENV_CREATOR, _global_registry

import rllib_seq
from rllib_seq.envs.ad_auction.market.auctions import AUCTIONS
from rllib_seq.envs.ad_auction.references.equilibrium import best_response_play, first_price_regret
from rllib_seq.envs.ad_auction.self_play_env import FIELDS, SharedMarketEnv


def play(env, seed, share_of):
    """One episode; `share_of(agent index, observation)` is the action. Rewards `[requests, n]`."""
    observations, _ = env.reset(seed=seed)
    rewards, done = [], False
    while not done:
        for agent, row in observations.items():
            assert env.observation_spaces[agent].contains(row)
        actions = {
            agent: np.array([share_of(i, row)], np.float32)
            for i, (agent, row) in enumerate(observations.items())
        }
        observations, reward, terminateds, truncateds, _ = env.step(actions)
        rewards.append(list(reward.values()))
        done = terminateds["__all__"]
        assert not truncateds["__all__"]
        assert all(terminateds[agent] == done for agent in env.possible_agents)
    return np.array(rewards)


def test_it_is_an_rllib_env_and_registered():
    assert rllib_seq  # names it
    create = _global_registry.get(ENV_CREATOR, "shared_market_auction")
    env = create({"num_advertisers": 4})
    assert isinstance(env, MultiAgentEnv)
    assert env.possible_agents == [f"advertiser_{i}" for i in range(4)]
    assert set(env.observation_spaces) == set(env.action_spaces) == set(env.possible_agents)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    shares=st.lists(st.floats(0, 1, width=32), min_size=2, max_size=5),
    auction=st.sampled_from([*AUCTIONS]),
    budget=st.none() | st.floats(0.1, 5),
)
def test_advertisers_never_overspend_nor_lose_by_winning(seed, shares, auction, budget):
    config = {"num_advertisers": len(shares), "auction": auction, "requests": 20, "budget": budget}
    env = SharedMarketEnv(config)
    rewards = play(env, seed, lambda i, row: shares[i])
    assert (rewards >= 0).all()  # no one bids above their value
    assert ((rewards > 0).sum(axis=1) <= 1).all()
    won = rewards > 0
    assert (env.spent <= (np.inf if budget is None else budget * (1 + 1e-12))).all()
    paid = (env.values * won - rewards).sum(axis=0)
    if all(share < 1 for share in shares):
        assert env.spent == pytest.approx(paid)


def test_a_seed_fixes_the_episodes_that_follow():
    env = SharedMarketEnv()
    runs = []
    for _ in range(2):
        env.reset(seed=4)
        first = env.values
        env.reset()
        runs.append((first, env.values))
    assert (runs[0][0] == runs[1][0]).all() and (runs[0][1] == runs[1][1]).all()
    assert (runs[0][0] != runs[0][1]).any()


def test_observation_by_hand():
    env = SharedMarketEnv({"num_advertisers": 2, "requests": 4, "budget": 2.0})
    assert [name for name, _ in FIELDS] == ["value", "budget_left", "requests_left", "to_win"]
    env.reset(seed=0)
    env.values[:2] = [[0.5, 0.8], [0.1, 0.2]]
    half = {agent: np.array([0.5], np.float32) for agent in env.agents}
    observations, rewards, *_ = env.step(half)
    assert rewards == {"advertiser_0": 0.0, "advertiser_1": pytest.approx(0.4)}
    assert observations["advertiser_0"] == pytest.approx([0.1, 1.0, 0.75, 0.4])
    assert observations["advertiser_1"] == pytest.approx([0.2, 0.8, 0.75, 0.25])


def test_earnings_are_those_of_the_equilibrium():
    """n = 3, first price: each earns 1 / (n (n + 1)) per request; in second price the same."""
    for auction, share in (("first_price", 2 / 3), ("second_price", 1.0)):
        env = SharedMarketEnv({"auction": auction, "requests": 2000})
        rewards = play(env, 1, lambda i, row, share=share: share)
        assert rewards.mean(axis=0) == pytest.approx(np.full(3, 1 / 12), abs=0.015)


def test_regret_in_the_env_is_that_of_the_theory():
    """What a bidder gains in the env by their exact best response to truthful rivals."""
    values, grid = (np.arange(200) + 0.5) / 200, np.linspace(0, 1, 401)
    env = SharedMarketEnv({"requests": 3000})
    half = play(env, 2, lambda i, row: 0.5 if i == 0 else 0.75)[:, 0].mean()
    strategies = np.stack([0.5 * values, 0.75 * values, 0.75 * values])
    exact = first_price_regret(values, strategies, grid)[0]
    # Best response to two rivals at 3/4 v: again 2/3 v while the value is below 9/8.
    best = play(env, 2, lambda i, row: 2 / 3 if i == 0 else 0.75)[:, 0].mean()
    assert best - half == pytest.approx(exact, abs=0.004)
    assert exact > 0.004


def test_nobody_gains_by_leaving_what_best_response_play_found():
    values, grid = (np.arange(200) + 0.5) / 200, np.linspace(0, 1, 401)
    found = best_response_play(values, 3, grid, rounds=50)
    share = float((found @ values) / (values @ values))
    assert share == pytest.approx(2 / 3, abs=0.01)
    env = SharedMarketEnv({"requests": 2000})

    def earned(own):
        return play(env, 3, lambda i, row: own if i == 0 else share)[:, 0].mean()

    at_equilibrium = earned(share)
    for deviation in (0.4, 0.85, 1.0):
        assert earned(deviation) < at_equilibrium


def test_what_cannot_be_is_refused():
    for config, words in (
        ({"num_advertisers": 1}, "num_advertisers is 1; give a whole number of at least 2"),
        ({"auction": "third_price"}, "unknown auction 'third_price'"),
        ({"budget": 0}, "budget is 0; give a number above 0"),
        ({"bidders": 3}, "unknown env config key 'bidders'"),
    ):
        with pytest.raises(ValueError, match=words):
            SharedMarketEnv(config)
    env = SharedMarketEnv({"num_advertisers": 2})
    env.reset(seed=0)
    with pytest.raises(ValueError, match="missing or too many: .*advertiser_1"):
        env.step({"advertiser_0": np.ones(1)})
    with pytest.raises(ValueError, match="from 0 to 1"):
        env.step({"advertiser_0": np.ones(1), "advertiser_1": np.array([1.5])})


def test_markets_side_by_side_are_those_of_the_environment():
    config = {"num_advertisers": 3, "requests": 9, "budget": 0.7}
    arrays = SharedMarketEnv(config).array_env(2, seed=5)
    arrays.begin(np.arange(2))
    earned, seen = [], []
    for _ in range(9):
        rows = arrays.pending
        seen.append(arrays.observe(rows))
        arrays.serve(rows, 0.3 + 0.6 * seen[-1][:, :1])
        earned.append(arrays.take_rewards(rows).reshape(2, 3))
    assert arrays.over.all() and not len(arrays.pending)
    for market in range(2):
        env = SharedMarketEnv(config)
        rewards = play(env, 5 + market, lambda i, row: np.float32(0.3) + np.float32(0.6) * row[0])
        np.testing.assert_allclose([step[market] for step in earned], rewards, atol=1e-6)
        np.testing.assert_allclose(arrays.spent[market], env.spent, atol=1e-6)

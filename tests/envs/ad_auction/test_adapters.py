"""The Gymnasium and the RLlib adapter are the same simulator."""

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from rllib_seq.envs.ad_auction import PRESETS, AdAuctionEnv
from rllib_seq.envs.ad_auction.multi_agent_env import MultiUserAdAuctionEnv


@pytest.mark.parametrize("preset", PRESETS)
def test_gymnasium_checks_pass(preset):
    check_env(
        gym.make("AdAuction-v0", preset=preset, num_users=8).unwrapped, skip_render_check=True
    )


def test_a_fresh_python_makes_them_by_module_and_name():
    """Gymnasium 1.x loads no plugins: the module in front of the colon is what it imports."""
    code = """
import gymnasium as gym
for name in ("AdAuction-v0", "AdCampaign-v0"):
    assert name not in gym.registry
env = gym.make("rllib_seq.envs.ad_auction:AdAuction-v0", num_users=2)
print(env.reset(seed=1)[0].shape)
envs = gym.make_vec("rllib_seq.envs.ad_auction:AdAuction-v0", num_envs=3, num_users=2)
print(envs.reset(seed=1)[0].shape)
env = gym.make("rllib_seq.envs.ad_auction:AdCampaign-v0", requests_per_tick=5)
print(env.reset(seed=1)[0].shape)
print(gym.make("AdAuction-v0", num_users=2).reset(seed=1)[0].shape)  # from then on
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["(8,)", "(3, 8)", "(24,)", "(8,)"]


def run_multi(env, seed, action):
    """Total reward per agent, and the steps."""
    observations, _ = env.reset(seed=seed)
    totals, steps, over = {}, 0, set()
    done = False
    while not done:
        pending = {env.possible_agents[u] for u in env.simulator.pending}
        acting = {agent for agent in observations if agent not in over}
        assert acting == pending  # only users with a request are asked
        assert acting <= set(env.agents)
        steps += len(acting)
        observations, rewards, terminateds, truncateds, _ = env.step(dict.fromkeys(acting, action))
        assert rewards.keys() == observations.keys()
        for agent, row in observations.items():
            assert env.observation_spaces[agent].contains(row)
        for agent, reward in rewards.items():
            totals[agent] = totals.get(agent, 0.0) + reward
        done = terminateds.pop("__all__")
        assert not truncateds["__all__"]
        ended = {agent for agent, end in terminateds.items() if end}
        assert ended <= observations.keys()  # the last word comes with an observation
        assert not ended & over  # and once
        over |= ended
    assert over == set(env.possible_agents)
    return totals, steps


@pytest.mark.parametrize("preset", PRESETS)
def test_both_faces_play_the_same_campaign(preset):
    config = {"preset": preset, "num_users": 30}
    action = 12
    totals, steps = run_multi(MultiUserAdAuctionEnv(config), 9, action)

    env = AdAuctionEnv(**config)
    env.reset(seed=9)
    total, count, done = 0.0, 0, False
    while not done:
        _, reward, done, _, _ = env.step(action)
        total, count = total + reward, count + 1
    assert count == steps
    assert sum(totals.values()) == pytest.approx(total)
    assert total == pytest.approx(env.simulator.ledger.profit(env.simulator.preset.shadow_price))


def test_a_seed_fixes_the_campaigns_that_follow_and_campaigns_differ():
    env = MultiUserAdAuctionEnv({"num_users": 10})
    runs = []
    for _ in range(2):
        env.reset(seed=4)
        hours = []
        for _ in range(3):
            hours.append(env.simulator.hour)
            hours.append(env.simulator.channel(np.arange(10)).tolist())
            env.reset()
        runs.append(hours)
    assert runs[0] == runs[1]
    assert runs[0][1] != runs[0][3]


def test_it_is_an_rllib_env_with_spaces_for_every_agent():
    env = MultiUserAdAuctionEnv({"num_users": 3})
    assert isinstance(env, MultiAgentEnv)
    assert set(env.observation_spaces) == set(env.action_spaces) == set(env.possible_agents)
    assert env.action_spaces["user_0"] == gym.spaces.Discrete(17)


def test_wrong_actions_are_refused():
    env = MultiUserAdAuctionEnv({"num_users": 5})
    observations, _ = env.reset(seed=0)
    with pytest.raises(ValueError, match="missing or too many"):
        env.step({})
    with pytest.raises(ValueError, match="user_99"):
        env.step({**dict.fromkeys(observations, 0), "user_99": 0})
    for level in (-1, 17):
        with pytest.raises(ValueError, match=f"actions are .*{level}.*; give actions in Discrete"):
            env.step(dict.fromkeys(observations, level))
    scalar = AdAuctionEnv(num_users=5)
    scalar.reset(seed=0)
    with pytest.raises(ValueError, match="actions are .17.; give actions in"):
        scalar.step(17)


def test_the_campaign_outlives_the_users_who_came_first():
    """RLlib ends an episode once all agents that it has met are done, whatever comes later."""
    waited = 0
    env = MultiUserAdAuctionEnv({"num_users": 3, "preset": "journey"})
    for seed in range(30):
        observations, _ = env.reset(seed=seed)
        met, over, done, early = set(observations), set(), False, 0
        while not done:
            actions = dict.fromkeys(env.possible_agents, 9)
            pending = [env.possible_agents[u] for u in env.simulator.pending]
            observations, rewards, terminateds, _, _ = env.step({n: actions[n] for n in pending})
            done = terminateds.pop("__all__")
            over |= terminateds.keys()
            early += int(env.simulator.ended.sum() > len(over))
            assert done or met - over
            met |= observations.keys()
        assert over == met == set(env.possible_agents)
        waited += early
    assert waited  # some did have to wait


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("reward", ["sampled", "expected"])
def test_infos_say_what_the_last_request_brought(preset, reward):
    """Against the next observation, and in sum against the campaign's ledger."""
    env = MultiUserAdAuctionEnv({"preset": preset, "num_users": 150, "reward": reward})
    channels = len(env.simulator.preset.users.channels)
    rng = np.random.default_rng(2)
    observations, infos = env.reset(seed=9)
    assert infos == {}
    acted, over, caused, wins = set(), set(), 0.0, 0
    survival = dict.fromkeys(env.possible_agents, 1.0)
    while True:
        acting = {agent for agent in observations if agent not in over}
        acted |= acting
        actions = {agent: int(rng.integers(8, 17)) for agent in sorted(acting)}
        observations, _, terminateds, _, infos = env.step(actions)
        assert infos.keys() == observations.keys()
        over |= {agent for agent, end in terminateds.items() if end}
        for agent, info in infos.items():
            clicked, _, profit = observations[agent][channels : channels + 3]
            assert (info["won"], info["clicked"]) == (profit < 0, clicked == 1)
            if agent in acted:
                wins += survival[agent] * info["won"]
                caused += survival[agent] * info["converted"]
                left = info.get("survival", 1.0)
                if reward == "expected":
                    assert 0 <= left <= survival[agent] * (1 - info["converted"]) + 1e-9
                survival[agent] = left
        if terminateds["__all__"]:
            break
    ledger = env.simulator.ledger
    assert wins == pytest.approx(ledger.wins) and wins > 9
    assert caused == pytest.approx(ledger.conversions + ledger.censored) and caused > 0
    assert ("survival" in info) == (reward != "sampled")
    assert (min(survival.values()) < 1) == (reward != "sampled")


@pytest.mark.parametrize("reward", ["sampled", "regret"])
def test_infos_of_the_campaign_add_up_to_its_ledger(reward):
    env = AdAuctionEnv(num_users=40, reward=reward)
    env.reset(seed=3)
    caused, done = 0.0, False
    while not done:
        _, _, done, _, info = env.step(10)
        assert info["won"] == (info["paid"] > 0)
        caused += info["converted"]
    ledger = env.simulator.ledger
    assert caused == pytest.approx(ledger.conversions + ledger.censored) and caused > 0

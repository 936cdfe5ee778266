"""Stable-Baselines3 plays the same campaigns as Gymnasium's vector environment, and trains."""

import sys

import gymnasium as gym
import numpy as np
import pytest

import rllib_seq.envs.ad_auction  # noqa: F401, registers
from rllib_seq.envs.ad_auction.sb3_vec_env import sb3_vec_env

WORLD = {"num_users": 2, "actions": "multi_discrete"}


def test_campaigns_are_those_of_the_vector_environment():
    """Also over ends: sb3 restarts at once, Gymnasium's vector in the next step."""
    ours, theirs = sb3_vec_env(3, **WORLD), gym.make_vec("AdAuction-v0", num_envs=3, **WORLD)
    ours.seed(5)
    seen = ours.reset()
    np.testing.assert_array_equal(seen, theirs.reset(seed=5)[0])
    random, ends = np.random.default_rng(0), 0
    while ends < 5:
        actions = random.integers(0, theirs.single_action_space.nvec, (3, 2))
        seen, rewards, dones, infos = ours.step(actions)
        wanted, paid, ended, _, brought = theirs.step(actions)
        np.testing.assert_array_equal(rewards, paid.astype(np.float32))
        np.testing.assert_array_equal(dones, ended)
        for row, info in enumerate(infos):
            assert info["won"] == brought["won"][row]
            last = info.get("terminal_observation", seen[row])
            np.testing.assert_array_equal(last, wanted[row])
            assert ("terminal_observation" in info) == ended[row]
        ends += int(ended.sum())
        if ended.any():
            wanted, _ = theirs.reset(options={"reset_mask": ended})
            np.testing.assert_array_equal(seen, wanted)
    ours.close()


@pytest.mark.parametrize("actions", ["levels", "continuous"])
def test_ppo_trains(actions):
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecMonitor

    envs = VecMonitor(sb3_vec_env(4, num_users=2, actions=actions))
    model = PPO("MlpPolicy", envs, n_steps=16, batch_size=32, n_epochs=1, seed=0).learn(64)
    assert model.num_timesteps == 64
    action, _ = model.predict(envs.reset())
    assert envs.action_space.contains(action[0])


def test_without_sb3_one_line_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3.common.vec_env", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "rllib-seq\[sb3\]"'):
        sb3_vec_env(2)

"""Drawn worlds: valid, the same everywhere, and worth remembering in."""

import os
import pickle
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_seq.envs.ad_auction import AuctionConfig, AuctionSimulator, play
from rllib_seq.envs.ad_auction.multi_agent_env import MultiUserAdAuctionEnv
from rllib_seq.envs.ad_auction.references.baselines import SignalBids
from rllib_seq.envs.ad_auction.references.optimum import optimum
from rllib_seq.envs.ad_auction.references.oracles import BayesBids, best_memoryless, best_one_step
from rllib_seq.envs.ad_auction.worlds.drawn import drawn_numbers, drawn_preset, worth_of_bayes
from rllib_seq.envs.ad_auction.worlds.values import full_information, is_exact

SEEDS = st.integers(0, 2**31 - 1)


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, attempt=st.integers(0, 20))
def test_numbers_are_those_of_a_journey(seed, attempt):
    """That probabilities are valid and shares sum to 1, the model itself checks."""
    preset = drawn_numbers(seed, attempt)
    model = preset.users
    assert 3 <= len(model.stages) <= 5
    assert 2 <= len(model.channels) <= 4
    assert 16 <= model.requests_per_user <= 32
    assert (np.diff(model.visit) > 0).all()
    assert (model.hazard_won >= model.hazard_lost).all()
    assert model.hazard_won[-1] > model.hazard_lost[-1] > 0
    assert (model.move_up[:-1] > 0).all()
    assert (model.move_up[-1] == 0).all()
    assert is_exact(preset)
    highest = full_information(preset).advantage.max()
    assert preset.bid_levels[-1] == pytest.approx(highest)
    assert preset.bid_levels[1] < preset.prices.ppf(np.array([0.5]))[0]


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(seed=SEEDS)
def test_memory_pays_and_references_are_in_order(seed):
    preset = drawn_preset(seed)
    one_step, bayes = best_one_step(preset).value, worth_of_bayes(preset)
    assert 0 < best_memoryless(preset).value <= one_step + 1e-9
    assert bayes >= 1.3 * one_step
    assert bayes <= optimum(preset).upper_bound <= full_information(preset).value


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 8, 25])
def test_memory_pays_in_play(seed):
    """Among the seeds below 40, these are close to the least that memory has to pay."""
    users = 10_000
    world = AuctionConfig("drawn", users, world_seed=seed, reward="regret")
    simulator = AuctionSimulator(world)
    best = best_one_step(simulator.preset)
    earned = []
    for policy in (SignalBids("one_step", best.bids), BayesBids()):
        play(simulator, policy, seed=5)
        earned.append(simulator.take_rewards(np.arange(users)))
    gain = earned[1] - earned[0]  # on the same users
    error = gain.std() / np.sqrt(users)
    assert gain.mean() + 2 * error >= 0.3 * best.value
    assert gain.mean() - 2 * error > 0.2 * best.value


@pytest.mark.slow
def test_a_world_is_the_same_in_every_process():
    code = (
        "import pickle, sys; from rllib_seq.envs.ad_auction import AuctionConfig;"
        "p = AuctionConfig('drawn', world_seed=11).build_preset();"
        "sys.stdout.buffer.write(pickle.dumps((vars(p.users), p.bid_levels, vars(p.prices))))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "5"}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env=environment
    )
    users, levels, prices = pickle.loads(run.stdout)
    here = AuctionConfig("drawn", world_seed=11).build_preset()
    np.testing.assert_array_equal(levels, here.bid_levels)
    assert prices == vars(here.prices)
    for name in ("initial_share", "move_up", "click", "visit", "hazard_won", "churn"):
        np.testing.assert_array_equal(users[name], getattr(here.users, name))
    other = AuctionConfig("drawn", world_seed=12).build_preset()
    assert other.bid_levels[-1] != here.bid_levels[-1]


@pytest.mark.parametrize("seed", [3, 10, 20])  # 3, 4 and 2 channels
def test_every_face_has_the_widths_of_the_world(seed):
    config = {"preset": "drawn", "world_seed": seed, "num_users": 6}
    channels = len(drawn_preset(seed).users.channels)
    env = gym.make("AdAuction-v0", **config)
    envs = gym.make_vec("AdAuction-v0", num_envs=2, **config)
    agents = MultiUserAdAuctionEnv(config)
    first, _ = env.reset(seed=1)
    assert first.shape == env.observation_space.shape == (channels + 5,)
    assert first[:channels].sum() == 1
    both, _ = envs.reset(seed=1)
    np.testing.assert_array_equal(both[0], first)
    seen, _ = agents.reset(seed=1)
    assert all(row.shape == (channels + 5,) for row in seen.values())
    for _ in range(30):
        one = env.step(8)
        many = envs.step(np.array([8, 8]))
        np.testing.assert_array_equal(many[0][0], one[0])
        if one[2]:
            break
    full = gym.make("AdAuction-v0", observation="full", **config)
    assert full.reset(seed=1)[0].shape == full.observation_space.shape


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"preset": "drawn"}, "world_seed of preset 'drawn' is None; give a whole number"),
        ({"preset": "drawn", "world_seed": -1}, "world_seed of preset 'drawn' is -1"),
        ({"preset": "drawn", "world_seed": 1.5}, "world_seed of preset 'drawn' is 1.5"),
        ({"preset": "drawn", "world_seed": True}, "world_seed of preset 'drawn' is True"),
        ({"world_seed": 3}, "world_seed is 3, and preset 'journey' is not drawn"),
    ],
)
def test_bad_seeds_are_named(config, message):
    with pytest.raises(ValueError, match=message) as error:
        AuctionConfig.from_dict(config)
    assert "\n" not in str(error.value)

"""Campaigns side by side are bit by bit what each would be alone."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from rllib_seq.envs.ad_auction import PRESETS, AuctionConfig, AuctionSimulator, play
from rllib_seq.envs.ad_auction.references.baselines import SignalBids
from rllib_seq.envs.ad_auction.vector_env import AdAuctionVectorEnv


def same(first, second):
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_array_equal(first[key], second[key], err_msg=key)


@pytest.mark.parametrize(
    ("preset", "reward", "rivals"),
    [(preset, reward, None) for preset in PRESETS for reward in ("sampled", "regret")]
    + [("display", "sampled", "rivalry")],
)
def test_bit_identical_to_scalar_envs_through_autoresets(preset, reward, rivals):
    config = {"num_envs": 5, "preset": preset, "num_users": 3, "reward": reward}
    config["competitors"] = rivals
    lockstep = gym.make_vec("AdAuction-v0", **config)
    scalar = gym.make_vec("AdAuction-v0", vectorization_mode="sync", **config)
    assert isinstance(lockstep, AdAuctionVectorEnv)
    assert lockstep.single_observation_space == scalar.single_observation_space
    assert lockstep.action_space == scalar.action_space
    (first, _), (second, _) = lockstep.reset(seed=3), scalar.reset(seed=3)
    np.testing.assert_array_equal(first, second)
    lockstep.action_space.seed(0)
    terminations = np.zeros(5, int)
    for _ in range(200):
        actions = lockstep.action_space.sample()
        a, b = lockstep.step(actions), scalar.step(actions)
        for x, y in zip(a[:4], b[:4], strict=True):
            np.testing.assert_array_equal(x, y)
            assert x.dtype == y.dtype
        same(a[4], b[4])
        terminations += a[2]
        assert lockstep.observation_space.contains(a[0])
    assert (terminations >= 2).all()


def test_autoreset_ignores_the_action_after_the_end_and_starts_anew():
    envs = gym.make_vec("AdAuction-v0", num_envs=2, num_users=1)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    envs.reset(seed=0)
    terminated = np.zeros(2, bool)
    while not terminated.any():
        _, _, terminated, truncated, _ = envs.step(np.full(2, 9))
        assert not truncated.any()
    _, rewards, again, _, infos = envs.step(np.full(2, 16))
    assert (rewards[terminated] == 0).all()
    assert not again[terminated].any()
    np.testing.assert_array_equal(infos["_won"], ~terminated)
    assert (envs.unwrapped.simulator.ledgers.total("requests")[terminated] == 0).all()


def test_a_mask_restarts_some_campaigns_and_leaves_the_others():
    envs = gym.make_vec("AdAuction-v0", num_envs=3, num_users=8)
    first, _ = envs.reset(seed=0)
    for _ in range(10):
        current, *_ = envs.step(np.full(3, 9))
    mask = np.array([True, False, True])
    after, _ = envs.reset(seed=0, options={"reset_mask": mask})
    np.testing.assert_array_equal(after[mask], first[mask])
    np.testing.assert_array_equal(after[~mask], current[~mask])


@pytest.mark.parametrize(
    ("seed", "options"),
    [([1, 2], None), (1, {"reset_mask": np.ones(2, bool)}), (1, {"reset_mask": np.ones(3)})],
)
def test_seeds_and_masks_of_another_number_are_refused(seed, options):
    envs = AdAuctionVectorEnv(3, num_users=2)
    with pytest.raises(ValueError, match="for 3 campaigns; give one seed and one bool for each"):
        envs.reset(seed=seed, options=options)


def test_actions_that_are_none_are_refused():
    envs = AdAuctionVectorEnv(2, num_users=2)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match="actions are .*17.*; give actions in"):
        envs.step(np.array([3, 17]))
    with pytest.raises(ValueError, match="got 1 actions for 2 campaigns"):
        envs.step(np.array([3]))


@pytest.mark.parametrize("preset", PRESETS)
def test_whole_ticks_of_many_campaigns_end_as_each_alone(preset):
    """All pending requests of all campaigns at once, tight budgets included."""
    config = AuctionConfig(preset, num_users=40, budget=1.0)
    together, alone = AuctionSimulator(config, num_campaigns=4), AuctionSimulator(config)
    together.reset([5, 6, 7, 8])
    while not together.done:
        together.step(np.full(len(together.pending), 0.08))
    for campaign in range(4):
        policy = SignalBids("fixed", np.full((2, 2, 2, 3), 0.08))
        ledger = play(alone, policy, 5 + campaign)
        for name, total in vars(together.ledgers.of(campaign)).items():
            assert total == pytest.approx(getattr(ledger, name)), name

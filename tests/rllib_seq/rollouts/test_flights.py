"""Flights as RLlib sees them: whole episodes in lockstep, and the seed decides."""

import numpy as np
import pytest

from rllib_seq.rollouts.flights import FlightsEnv

CONFIG = {
    "world": "steady",
    "requests_per_tick": 20,
    "conversions": "expected",
    "actions": "around_pacing",
    "reward": "over_pacing",
    "flights": 3,
}


def play(env, seed):
    env.seed(seed)
    seen = [np.stack([env.reset_at(i)[0] for i in range(3)])]
    for tick in range(48):
        observations, rewards, over, cut, infos = env.vector_step([np.full(3, 0.1)] * 3)
        assert len(observations) == len(rewards) == len(infos) == 3
        assert over == [tick == 47] * 3
        assert not any(cut)
        seen.append(np.stack(observations))
    return np.stack(seen)


def test_flights_are_episodes_of_a_day_and_the_next_are_others():
    env = FlightsEnv(CONFIG)
    assert env.num_envs == 3
    first = play(env, 1)
    assert all(env.observation_space.contains(row) for row in first.reshape(-1, first.shape[-1]))
    following = np.stack([env.reset_at(i)[0] for i in range(3)])
    assert (following != first[0]).any(axis=1).all()
    np.testing.assert_array_equal(play(FlightsEnv(CONFIG), 1), first)
    assert (play(FlightsEnv(CONFIG), 2) != first).any()


def test_pacing_alone_is_paid_nothing():
    env = FlightsEnv(CONFIG)
    env.vector_reset()
    paid = [env.vector_step([np.zeros(3)] * 3)[1] for _ in range(48)]
    np.testing.assert_allclose(paid, 0.0, atol=1e-12)


def test_bad_keys_are_named():
    with pytest.raises(ValueError, match="unknown world 'stedy'; did you mean 'steady'"):
        FlightsEnv({**CONFIG, "world": "stedy"})

"""`evaluate_policy` in every kind of environment."""

import functools

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from scipy import stats

from rllib_seq import evaluate_policy
from rllib_seq.errors import UserError


class Counts(gym.Env):
    """Pays the number of its step; episodes last 2, 4, 2, 4 ... steps, or what is set."""

    observation_space = Box(0, 100, (1,), np.float32)
    action_space = Discrete(2)

    def __init__(self, lengths=(2, 4)):
        self._lengths, self._episode = lengths, -1

    def _seen(self):
        return np.array([self._t], np.float32)

    def reset(self, *, seed=None, options=None):
        self._episode += 1
        self._t = 0
        return self._seen(), {}

    def step(self, action):
        self._t += 1
        length = self._lengths[self._episode % len(self._lengths)]
        return self._seen(), float(self._t), False, self._t == length, {}


class Records:
    """A policy that checks what it is given of its streams."""

    observation_space, action_space = Counts.observation_space, Counts.action_space

    def predict(self, observations, state, episode_start, deterministic, reward):
        steps = np.zeros(len(observations), int) if state is None else state
        steps = np.where(episode_start, 0, steps)
        at = observations[:, 0].astype(int)
        assert (steps == at).all()
        assert (reward[~episode_start] == at[~episode_start]).all()
        return np.ones(len(observations), int), steps + 1


RETURNS = {2: 3.0, 4: 10.0}


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("vector", [SyncVectorEnv, AsyncVectorEnv])
def test_vectors_in_every_autoreset_mode(mode, vector):
    makers = [functools.partial(Counts, (2,)), functools.partial(Counts, (4, 2))]
    env = vector(makers, autoreset_mode=mode)
    found = evaluate_policy(Records(), env, episodes=5)
    env.close()
    # Three episodes of the first, two of the second, though the first one is faster.
    assert sorted(found.lengths) == [2, 2, 2, 2, 4]
    assert [RETURNS[length] for length in found.lengths] == list(found.returns)


def test_one_environment_and_the_interval():
    found = evaluate_policy(Records(), Counts(), episodes=4)
    assert found.lengths == (2, 4, 2, 4)
    assert found.returns == (3.0, 10.0, 3.0, 10.0)
    assert found.mean == 6.5 and found.mean_length == 3
    low, high = stats.t.interval(0.95, 3, loc=6.5, scale=stats.sem(found.returns))
    assert found.half_width == pytest.approx((high - low) / 2)
    assert "6.5 ±" in str(found) and "4 episodes" in str(found)
    assert found.to_json()["half_width"] == found.half_width
    assert evaluate_policy(Records(), Counts(), episodes=1).to_json()["half_width"] is None


def test_what_does_not_fit_is_one_line():
    with pytest.raises(UserError, match="episodes is 0"):
        evaluate_policy(Records(), Counts(), episodes=0)
    with pytest.raises(UserError, match="episodes is 2.5"):
        evaluate_policy(Records(), Counts(), episodes=2.5)
    with pytest.raises(UserError, match="cannot build environment 'CartPol-v1': .*CartPole"):
        evaluate_policy(Records(), "CartPol-v1")
    with pytest.raises(UserError, match="Counts'>; give an environment that is built"):
        evaluate_policy(Records(), Counts)
    with pytest.raises(UserError, match="trained on observations Box"):
        evaluate_policy(Records(), "CartPole-v1")


def test_flights_side_by_side_are_played_one_by_one():
    """RLlib steps them as arrays, which no episode can be played in."""
    from rllib_seq.training.acting.evaluation import environment_of
    from rllib_seq.training.config.modules import load_config

    config = load_config("tune_configs.campaign")
    env = environment_of(config)
    observation, _ = env.reset(seed=1)
    assert observation.shape == env.observation_space.shape == (25,)
    env.close()
    config.environment(lambda settings: object(), env_config={})
    with pytest.raises(UserError, match="is of type object, and .* gymnasium.Env; .*load_policy"):
        environment_of(config)

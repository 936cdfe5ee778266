"""A vector environment as arrays is what its environments are one by one."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from ray.rllib.models.preprocessors import get_preprocessor

from rllib_seq.envs.array_env import GymArrays, _flat
from rllib_seq.rollouts.sampler import ActionBatch, VectorSampler


def make():
    return gym.make("CartPole-v1", max_episode_steps=12)


class Policy:
    """Deterministic; values what it sees by its sum."""

    def __call__(self, rows, new, observations, rewards):
        actions = (observations[:, 2] > 0).astype(np.int64)
        return ActionBatch(actions, {"values": observations.sum(1), "new": new})

    def value_after(self, rows, observations, rewards):
        return observations.sum(1)


def played_alone(seed):
    """One episode of one environment: observations, rewards, last observation, how it ended."""
    env = make()
    observation, _ = env.reset(seed=seed)
    seen, rewards, over = [], [], False
    while not over:
        seen.append(observation)
        action = int(observation[2] > 0)
        observation, reward, terminated, truncated, _ = env.step(action)
        rewards.append(reward)
        over = terminated or truncated
    return np.array(seen), rewards, observation, terminated


@pytest.mark.parametrize("vector", [SyncVectorEnv, AsyncVectorEnv])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_every_autoreset_mode_plays_what_single_environments_play(vector, mode):
    envs = vector([make] * 3, autoreset_mode=mode)
    try:
        batch = VectorSampler(GymArrays(envs, seed=5)).sample(60, Policy())
    finally:
        envs.close()
    starts = np.cumsum(batch.lengths) - batch.lengths
    for row in range(3):
        piece = int(np.flatnonzero(batch.rows == row)[0])
        steps = slice(starts[piece], starts[piece] + batch.lengths[piece])
        seen, rewards, last, terminated = played_alone(5 + row)
        assert batch.starts[piece] == 0
        np.testing.assert_array_equal(batch.columns["obs"][steps], seen)
        np.testing.assert_array_equal(batch.columns["rewards"][steps], rewards)
        assert batch.terminated[piece] == terminated
        assert batch.truncated[piece] == (not terminated)
        np.testing.assert_array_equal(batch.next_observations[piece], last)
        value = 0.0 if terminated else last.sum()
        assert batch.next_values[piece] == pytest.approx(value)
    new = batch.columns["new"]
    assert new[starts[batch.starts == 0]].all()
    assert new.sum() == (batch.starts == 0).sum()


SPACES = [
    spaces.Dict(
        {
            "sign": spaces.Discrete(3),
            "place": spaces.Box(-1, 1, (2, 2), np.float32),
            "more": spaces.Dict({"many": spaces.MultiDiscrete([2, 4])}),
        }
    ),
    spaces.Tuple([spaces.Box(0, 1, (3,), np.float32), spaces.MultiBinary(4), spaces.Discrete(2)]),
    spaces.Discrete(5),
    spaces.MultiDiscrete([3, 2]),
]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
def test_observations_are_flat_as_rllib_has_them(space):
    space.seed(1)
    single = get_preprocessor(space)(space)
    batched = gym.vector.utils.batch_space(space, 6)
    batched.seed(2)
    rows = batched.sample()
    for number, one in enumerate(gym.vector.utils.iterate(batched, rows)):
        expected = np.asarray(single.transform(one), np.float32).ravel()
        np.testing.assert_array_equal(_flat(space, rows, 6)[number], expected)


def test_actions_that_are_no_array_are_refused():
    class Odd(gym.Env):
        observation_space = spaces.Discrete(2)
        action_space = spaces.Tuple([spaces.Discrete(2)])

    with pytest.raises(ValueError, match="Tuple.* are no array; use Discrete"):
        GymArrays(SyncVectorEnv([Odd]))

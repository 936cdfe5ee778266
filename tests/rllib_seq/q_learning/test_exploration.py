"""What a stream explores with is drawn once and kept, in fragments and among other streams."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_seq.errors import UserError
from rllib_seq.q_learning.exploration import (
    EPSILON,
    NOISE_SEED,
    EpsilonLadder,
    StreamExploration,
    noise_of,
)


def _episode() -> SingleAgentEpisode:
    return SingleAgentEpisode(
        observations=[np.zeros(1)], observation_space=Box(0, 1, (1,)), action_space=Discrete(2)
    )


def _step(episode: SingleAgentEpisode) -> None:
    episode.add_env_step(np.zeros(1), 0, 0.0)


def _drawn(connector: StreamExploration, episodes: list[Any], column: str) -> list[Any]:
    batch = connector(
        batch={}, episodes=episodes, rl_module=None, explore=True, shared_data={}, metrics=None
    )[column]
    return [items[0].item() for items in batch.values()]


def test_the_ladder_is_that_of_ape_x() -> None:
    epsilons = EpsilonLadder(base=0.4, alpha=7.0, rungs=5).epsilons()
    assert epsilons[0] == pytest.approx(0.4)
    assert epsilons[2] == pytest.approx(0.4**4.5)
    assert epsilons[-1] == pytest.approx(0.4**8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base": 1.5}, "base .* is 1.5; give a number in"),
        ({"alpha": -1.0}, "alpha .* is -1.0; give at least 0"),
        ({"rungs": 1}, "rungs .* are 1; give at least 2"),
    ],
)
def test_bad_ladders_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        EpsilonLadder(**settings)


def test_epsilon_is_constant_along_a_journey() -> None:
    np.random.seed(0)
    ladder = EpsilonLadder()
    connector = StreamExploration(ladder)
    episodes = [_episode() for _ in range(64)]
    first = _drawn(connector, episodes, EPSILON)
    assert set(first) <= {float(np.float32(e)) for e in ladder.epsilons()}
    assert len(set(first)) == 8  # 64 streams hit every rung, unless chance is very odd
    for episode in episodes:
        _step(episode)
    cut = [episode.cut(len_lookback_buffer=1) for episode in episodes]
    assert _drawn(connector, cut, EPSILON) == first
    assert _drawn(connector, [_episode() for _ in range(64)], EPSILON) != first


def test_agents_that_do_not_act_keep_theirs() -> None:
    np.random.seed(0)
    connector = StreamExploration(EpsilonLadder())
    episode = MultiAgentEpisode(
        agent_module_ids={"a": "m", "b": "m"},
        agent_to_module_mapping_fn=lambda agent, *args, **kwargs: "m",
        observation_space=gym.spaces.Dict({"a": Box(0, 1, (1,)), "b": Box(0, 1, (1,))}),
        action_space=gym.spaces.Dict({"a": Discrete(2), "b": Discrete(2)}),
    )
    zero = np.zeros(1)
    episode.add_env_reset(observations={"a": zero, "b": zero}, infos={})
    both = set(_drawn(connector, [episode], EPSILON))
    episode.add_env_step({"b": zero}, {"a": 0, "b": 0}, {"b": 0.0}, {})
    of_b = set(_drawn(connector, [episode], EPSILON))
    episode.add_env_step({"a": zero}, {"b": 0}, {"a": 0.0}, {})
    of_a = set(_drawn(connector, [episode], EPSILON))
    assert len(both) == 2 and len(of_a) == len(of_b) == 1 and of_a | of_b == both


def test_noise_belongs_to_the_stream() -> None:
    connector = StreamExploration(None)
    episodes = [_episode(), _episode()]
    seeds = _drawn(connector, episodes, NOISE_SEED)
    assert _drawn(connector, episodes, EPSILON) == [0.0, 0.0]
    assert _drawn(connector, episodes, NOISE_SEED) == seeds and seeds[0] != seeds[1]
    noise = noise_of(torch.tensor([*seeds, seeds[0]]), 5_000)
    assert torch.equal(noise[0], noise[2]) and not torch.equal(noise[0], noise[1])
    assert abs(noise[0].mean()) < 0.06 and abs(noise[0].std() - 1) < 0.04  # four standard errors

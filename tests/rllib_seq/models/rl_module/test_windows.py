"""Windows of streams without episodes are those that RLlib's episodes give."""

import numpy as np
from gymnasium.spaces import Box, Discrete
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_seq.config import SequenceConfig
from rllib_seq.models.rl_module.windows import next_windows, no_windows, windows_of

OBS = Box(-np.inf, np.inf, (2,), np.float32)
ACTIONS = Discrete(5)


@settings(deadline=None, max_examples=25)
@given(
    turns=st.lists(st.sets(st.integers(0, 3), min_size=1), min_size=1, max_size=12),
    length=st.integers(1, 5),
    previous=st.booleans(),
    seed=st.integers(0, 99),
)
def test_windows_equal_those_of_the_episodes(turns, length, previous, seed):
    """Four streams that act at their own times."""
    config = SequenceConfig(window_length=length, prev_action=previous, prev_reward=previous)
    rng = np.random.default_rng(seed)
    past, before = no_windows(4, OBS, ACTIONS, config), np.zeros(4, int)
    for column in past.values():
        column[:] = 1  # of streams that were there before
    episodes = [SingleAgentEpisode(observation_space=OBS, action_space=ACTIONS) for _ in range(4)]
    for turn in turns:
        streams = np.array(sorted(turn))
        observations = rng.normal(size=(len(streams), 2)).astype(np.float32)
        actions, rewards = rng.integers(5, size=len(streams)), rng.normal(size=len(streams))
        for row, stream in enumerate(streams):
            episode = episodes[stream]
            if episode.is_reset:
                episode.add_env_step(observations[row], actions[row], rewards[row])
            else:
                episode.add_env_reset(observations[row])
        some = {name: column[streams] for name, column in past.items()}
        pushed = next_windows(some, before[streams], observations, actions, rewards)
        for name, column in past.items():
            column[streams] = pushed[name]
        before[streams] += 1
        for row, stream in enumerate(streams):
            steps = len(episodes[stream])
            wanted = windows_of(episodes[stream], steps, steps + 1, config)
            assert pushed.keys() == wanted.keys()
            for column, values in wanted.items():
                assert pushed[column].dtype == values.dtype
                np.testing.assert_array_equal(pushed[column][row], values[0])

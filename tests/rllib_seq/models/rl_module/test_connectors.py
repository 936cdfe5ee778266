"""What `EpisodeWindows` refuses; its windows themselves are tested with the module."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_seq.config import SequenceConfig
from rllib_seq.errors import NonFiniteInputError
from rllib_seq.models.rl_module.connectors import EpisodeWindows

OBS = Box(-np.inf, np.inf, (2,), np.float32)
ACTIONS = Discrete(5)
GOOD = np.zeros(2, np.float32)


@pytest.mark.parametrize(
    ("observation", "reward", "what"),
    [
        ([0.0, np.nan], 0.0, "observation feature 1 is nan"),
        ([-np.inf, np.nan], 0.0, "observation feature 0 is -inf"),
        ([0.0, 0.0], np.inf, "reward is inf"),
    ],
)
@pytest.mark.parametrize("done", [False, True])
def test_a_bad_step_is_named(observation, reward, what, done):
    """Also the last one, which no policy acts on and the value function sees all the same."""
    episode = SingleAgentEpisode(observation_space=OBS, action_space=ACTIONS)
    connector = EpisodeWindows(OBS, ACTIONS, config=SequenceConfig(prev_reward=False))
    episode.add_env_reset(GOOD)
    episode.add_env_step(GOOD, 1, 0.5)
    connector(batch={}, episodes=[episode])
    episode.add_env_step(np.array(observation, np.float32), 1, reward, terminated=done)
    with pytest.raises(NonFiniteInputError, match=f"^episode {episode.id_}, step 2: {what}; ") as e:
        connector(batch={}, episodes=[episode])
    assert "\n" not in str(e.value)


def test_a_bad_step_of_an_agent_is_named_by_its_own_steps():
    episode = MultiAgentEpisode(
        observation_space={"a": OBS, "b": OBS}, action_space={"a": ACTIONS, "b": ACTIONS}
    )
    connector = EpisodeWindows(
        episode.observation_space, episode.action_space, config=SequenceConfig()
    )
    episode.add_env_reset(observations={"a": GOOD})
    for agent, after in (("a", "b"), ("b", "a"), ("a", "a")):
        episode.add_env_step({after: GOOD}, {agent: 1}, {agent: 0.0})
        connector(batch={}, episodes=[episode])
    episode.add_env_step({"b": np.array([np.inf, 0], np.float32)}, {"a": 1}, {"a": 0.0})
    named = f"^agent 'b' of episode {episode.id_}, step 1: observation feature 0 is inf"
    with pytest.raises(NonFiniteInputError, match=named):
        connector(batch={}, episodes=[episode])

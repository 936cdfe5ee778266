"""The replay buffer as RLlib uses it: batches, importance weights, priorities, shares, state."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_seq.models.rl_module.windows import (
    PREVIOUS_ACTIONS,
    PREVIOUS_REWARDS,
    STEPS_BEFORE,
)
from rllib_seq.q_learning import SequenceEpisodeReplayBuffer
from rllib_seq.q_learning.replay import NEXT, SampledSteps, SampledStepsToBatch

OBS, ACTIONS = Box(-np.inf, np.inf, (2,), np.float32), Discrete(4)
SEQUENCE: dict[str, Any] = {"window_length": 3}


def _episode(steps: int, terminated: bool = True) -> SingleAgentEpisode:
    return SingleAgentEpisode(
        observations=[np.full(2, t, np.float32) for t in range(steps + 1)],
        actions=[t % 4 for t in range(steps)],
        rewards=[float(t) for t in range(steps)],
        observation_space=OBS,
        action_space=ACTIONS,
        terminated=terminated,
        len_lookback_buffer=0,
    )


def _buffer(**settings: Any) -> SequenceEpisodeReplayBuffer:
    return SequenceEpisodeReplayBuffer(100, **{"sequence_config": SEQUENCE, "seed": 0, **settings})


def test_a_sample_is_a_train_batch() -> None:
    buffer = _buffer()
    buffer.add([_episode(6).to_numpy()])
    (sampled,) = buffer.sample(200, n_step=2, gamma=0.5)
    step = sampled.columns["obs"][:, -1, 0].astype(int)
    assert set(step) == set(range(6))
    assert np.array_equal(sampled.columns["actions"], step % 4)
    taken = np.where(step == 5, 1, 2)
    assert np.array_equal(sampled.columns["n_step"], taken)
    expected = step + np.where(step == 5, 0, 0.5 * (step + 1))
    assert np.array_equal(sampled.columns["rewards"], expected.astype(np.float32))
    assert np.array_equal(sampled.columns["terminateds"], step >= 4)
    assert np.array_equal(sampled.columns[NEXT + "obs"][:, -1, 0], step + taken)
    assert np.array_equal(sampled.columns[STEPS_BEFORE], np.minimum(step, 3))
    row = int(np.flatnonzero(step == 4)[0])
    assert sampled.columns[PREVIOUS_ACTIONS][row].tolist() == [1, 2, 3]
    assert sampled.columns[PREVIOUS_REWARDS][row].tolist() == [1.0, 2.0, 3.0]


def test_what_is_no_input_is_not_sampled() -> None:
    buffer = _buffer(sequence_config={**SEQUENCE, "prev_action": False, "prev_reward": False})
    buffer.add(_episode(4))
    (sampled,) = buffer.sample(2)
    assert not {PREVIOUS_ACTIONS, PREVIOUS_REWARDS} & sampled.columns.keys()


def test_a_random_n_step_covers_its_range() -> None:
    buffer = _buffer()
    buffer.add(_episode(50))
    (sampled,) = buffer.sample(500, n_step=(1, 3))
    assert set(sampled.columns["n_step"].tolist()) == {1.0, 2.0, 3.0}


def test_priorities_follow_td_errors_and_weights_correct_for_them() -> None:
    buffer = _buffer(alpha=0.5)
    buffer.add(_episode(4))
    (sampled,) = buffer.sample(64)
    step = sampled.columns["obs"][:, -1, 0]
    buffer.update_priorities(np.where(step == 2, 9.0, 1.0))
    (sampled,) = buffer.sample(4_000, beta=0.5)
    step = sampled.columns["obs"][:, -1, 0]
    # Priorities 1, 1, 3, 1 after the square root.
    assert (step == 2).mean() == pytest.approx(0.5, abs=4 * (0.25 / 4_000) ** 0.5)
    expected = np.where(step == 2, 3**-0.5, 1.0)
    assert sampled.columns["weights"] == pytest.approx(expected, rel=1e-6)
    # What is new comes in with the highest priority so far.
    buffer.add(_episode(1))
    (sampled,) = buffer.sample(4_000)
    new = sampled.columns[NEXT + "terminateds"] if NEXT + "terminateds" in sampled.columns else None
    assert new is None
    share = (sampled.columns["obs"][:, -1, 0] == 0).mean()
    assert share == pytest.approx(4 / 9, abs=4 * (20 / 81 / 4_000) ** 0.5)


def test_uniform_replay_stays_uniform() -> None:
    buffer = _buffer(alpha=0.0)
    buffer.add(_episode(4))
    (sampled,) = buffer.sample(64, beta=1.0)
    assert (sampled.columns["weights"] == 1).all()
    buffer.update_priorities(np.linspace(0, 9, 64))
    (sampled,) = buffer.sample(4_000)
    counts = np.bincount(sampled.columns["obs"][:, -1, 0].astype(int))
    assert counts == pytest.approx(1_000, abs=4 * (4_000 * 3 / 16) ** 0.5)


def _two_agents() -> MultiAgentEpisode:
    """Agent a acts in every step, agent b in every other; they have policies of their own."""
    episode = MultiAgentEpisode(
        agent_to_module_mapping_fn=lambda agent, *args, **kwargs: f"policy_{agent}",
        observation_space=gym.spaces.Dict({"a": OBS, "b": OBS}),
        action_space=gym.spaces.Dict({"a": ACTIONS, "b": ACTIONS}),
    )
    episode.add_env_reset(observations={"a": np.zeros(2), "b": np.full(2, 10.0)}, infos={})
    for t in range(1, 7):
        acting = {"a": 1, "b": 2} if t % 2 else {"a": 1}
        seen = {"a": np.full(2, float(t))}
        if t % 2 == 0:
            seen["b"] = np.full(2, 10.0 + t // 2)
        rewards = {agent: float(t) for agent in seen}
        episode.add_env_step(seen, acting, rewards, {}, terminateds={"__all__": t == 6})
    return episode


def test_every_agent_is_a_stream_and_every_policy_has_its_memory() -> None:
    buffer = _buffer(num_learners=2)
    buffer.add([_two_agents().to_numpy()])
    sampled = buffer.sample(40)
    # Shares of the learners alternate, so that RLlib gives every learner some of every policy.
    assert [(s.module_id, len(s)) for s in sampled] == [
        ("policy_a", 20),
        ("policy_a", 20),
        ("policy_b", 20),
        ("policy_b", 20),
    ]
    for steps in sampled[2:]:
        last = steps.columns["obs"][:, -1, 0]
        assert set(last.tolist()) <= {10.0, 11.0, 12.0}
        before = steps.columns["obs"][:, -2, 0]
        assert np.array_equal(before, np.where(last == 10, 0, last - 1))
    batch = SampledStepsToBatch("cpu")(episodes=sampled)
    assert batch.keys() == {"policy_a", "policy_b"} and len(batch["policy_a"]["actions"]) == 40


def test_rllib_can_cut_samples_as_if_they_were_episodes() -> None:
    steps = SampledSteps("m", {"actions": np.arange(10), "obs": np.arange(20).reshape(10, 2)})
    parts = steps[:4], steps.slice(slice(4, None), len_lookback_buffer=1)
    assert [len(part) for part in parts] == [4, 6]
    assert parts[1].columns["obs"].tolist() == np.arange(8, 20).reshape(6, 2).tolist()


def test_a_restored_buffer_draws_what_the_first_would_have_drawn() -> None:
    first, second = _buffer(), _buffer(seed=9)
    episode = _episode(8, terminated=False)
    first.add(episode)
    first.sample(5)
    first.update_priorities(np.arange(5.0))
    second.set_state(first.get_state())
    goes_on = episode.cut(len_lookback_buffer=1)
    goes_on.add_env_step(np.full(2, 9, np.float32), 1, 8.0, terminated=True)
    for buffer in (first, second):
        buffer.add(goes_on)
    (a,), (b,) = first.sample(30), second.sample(30)
    assert all(np.array_equal(a.columns[name], b.columns[name]) for name in a.columns)
    assert a.columns["obs"][:, -1, 0].max() == 8  # the new step, with the old ones in its window
    assert (a.columns["obs"][a.columns["obs"][:, -1, 0] == 8][0, :, 0] == [6, 7, 8]).all()

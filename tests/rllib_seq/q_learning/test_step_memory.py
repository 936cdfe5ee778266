"""Windows from replay are those of the stream that was played, however it came in."""

from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_seq.errors import UserError
from rllib_seq.models.rl_module.windows import WindowLayout, windows_of
from rllib_seq.q_learning.step_memory import StepMemory

LENGTH = 3
LAYOUT = WindowLayout(LENGTH, prev_action=True, prev_reward=True)
GAMMA = 0.5


class Stream:
    """A stream played to its end, whose numbers tell stream and step."""

    def __init__(self, name: int, steps: int, terminated: bool) -> None:
        self.name, self.steps, self.terminated = name, steps, terminated
        self.observations = 100.0 * name + np.arange(steps + 1, dtype=np.float32)[:, None]
        self.actions = (name + np.arange(steps)) % 5
        self.rewards = np.arange(1, steps + 1, dtype=np.float32) * (name + 1)

    def append_to(self, memory: StepMemory, start: int, stop: int) -> None:
        memory.append(
            self.name,
            start,
            self.observations[start : stop + 1],
            self.actions[start:stop],
            self.rewards[start:stop],
            terminated=self.terminated and stop == self.steps,
            truncated=not self.terminated and stop == self.steps,
            priority=1.0,
        )

    def windows(self) -> dict[str, np.ndarray]:
        """What acting saw: of every step, and of the final observation."""
        episode = SingleAgentEpisode(
            observations=list(self.observations),
            actions=list(self.actions),
            rewards=list(self.rewards),
            observation_space=Box(-np.inf, np.inf, (1,), np.float32),
            action_space=Discrete(5),
            terminated=True,
            len_lookback_buffer=0,
        )
        return windows_of(episode.to_numpy(), 0, self.steps + 1, LAYOUT)


def _check(memory: StepMemory, streams: dict[int, Stream], steps: int) -> set[tuple[int, int]]:
    """Compare everything that can be drawn with what was played; return which steps those are."""
    rows = np.unique(memory.sample(2_000, np.random.default_rng(0))[0])
    windows = memory.windows(rows)
    returns = memory.returns(rows, np.full(len(rows), steps), GAMMA)
    later = memory.windows(returns.last)
    names = (windows["obs"][:, -1, 0] // 100).astype(int)
    seen = set()
    for i, name in enumerate(names):
        stream = streams[name]
        step = int(windows["obs"][i, -1, 0] - 100 * name)
        seen.add((int(name), step))
        played = stream.windows()
        for now, got in ((step, windows), (step + int(returns.steps[i]), later)):
            assert got.keys() == played.keys()
            assert all(np.array_equal(played[name][now], got[name][i]) for name in played)
        taken = int(returns.steps[i])
        assert 1 <= taken <= steps
        discounted = stream.rewards[step : step + taken] * GAMMA ** np.arange(taken)
        assert returns.rewards[i] == pytest.approx(discounted.sum())
        ended = step + taken == stream.steps
        assert returns.terminated[i] == (ended and stream.terminated)
        assert memory.actions(rows[i : i + 1])[0] == stream.actions[step]
    return seen


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_windows_and_returns_are_those_that_were_played(data: Any) -> None:
    """Streams that interleave piece by piece in a ring that forgets: never a wrong window."""
    count = data.draw(st.integers(1, 4))
    streams = {
        name: Stream(name, data.draw(st.integers(1, 12)), data.draw(st.booleans()))
        for name in range(count)
    }
    capacity = data.draw(st.integers(14, 40))
    memory = StepMemory(capacity, LAYOUT)
    done = dict.fromkeys(streams, 0)
    order: list[tuple[int, int]] = []
    while any(done[name] < stream.steps for name, stream in streams.items()):
        name = data.draw(st.sampled_from([n for n in streams if done[n] < streams[n].steps]))
        stop = data.draw(st.integers(done[name] + 1, streams[name].steps))
        streams[name].append_to(memory, done[name], stop)
        order += [(name, step) for step in range(done[name], stop)]
        done[name] = stop
    assert len(memory) <= capacity
    try:
        seen = _check(memory, streams, data.draw(st.integers(1, 4)))
    except UserError:  # one short piece may have pushed out what the others need
        seen = set()
    everything = sum(stream.steps + 1 for stream in streams.values())
    if everything <= capacity:
        assert seen == set(order)
    assert seen <= set(order)


def test_a_step_is_dropped_as_soon_as_its_window_is_not_whole() -> None:
    memory = StepMemory(10, LAYOUT)
    Stream(0, 8, True).append_to(memory, 0, 8)  # nine rows
    old, new = Stream(0, 8, True), Stream(1, 2, True)
    streams = {0: old, 1: new}
    assert _check(memory, streams, 1) == {(0, step) for step in range(8)}
    new.append_to(memory, 0, 2)  # three rows: one was free, the steps 0 and 1 are gone
    # Step 4 needs the steps 2, 3, 4 and the action of step 1.
    assert _check(memory, streams, 1) == {(0, 5), (0, 6), (0, 7), (1, 0), (1, 1)}


def test_each_step_is_stored_once() -> None:
    memory = StepMemory(1_000, LAYOUT._replace(window_length=100))
    Stream(0, 500, True).append_to(memory, 0, 500)
    assert len(memory) == 501
    # Observation, action, reward, flag, links and counts: what a step costs at any window length.
    per_step = memory.nbytes / 1_000
    assert per_step < 80


def test_a_restored_memory_goes_on_as_the_first_would_have() -> None:
    streams = {0: Stream(0, 12, True), 1: Stream(1, 6, False)}
    first = StepMemory(16, LAYOUT)
    streams[0].append_to(first, 0, 5)
    streams[1].append_to(first, 0, 3)
    second = StepMemory(16, LAYOUT)
    second.set_state(first.get_state())
    for memory in (first, second):
        streams[0].append_to(memory, 5, 12)
        streams[1].append_to(memory, 3, 6)
    draws = [memory.sample(50, np.random.default_rng(1)) for memory in (first, second)]
    assert np.array_equal(draws[0], draws[1])
    assert _check(second, streams, 2) == _check(first, streams, 2)
    with pytest.raises(UserError, match="capacity of 16 steps, this one 20"):
        StepMemory(20, LAYOUT).set_state(first.get_state())


def test_bad_sizes_are_named() -> None:
    memory = StepMemory(4, LAYOUT)
    with pytest.raises(UserError, match="capacity of 4 steps is less than one piece .* \\(6\\)"):
        Stream(0, 5, True).append_to(memory, 0, 5)
    with pytest.raises(UserError, match="no step whose window is whole"):
        memory.sample(1, np.random.default_rng(0))

"""Journeys played as arrays are those of the environment, however they are cut."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.rllib.evaluation.postprocessing import compute_advantages
from ray.rllib.policy.sample_batch import SampleBatch

from rllib_seq.envs.ad_auction.array_env import AuctionArrays
from rllib_seq.envs.ad_auction.multi_agent_env import MultiUserAdAuctionEnv
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig
from rllib_seq.rollouts.pieces import RolloutBatch, generalized_advantages
from rllib_seq.rollouts.sampler import ActionBatch, VectorSampler

WORLD = {"num_users": 9, "preset": "display"}


def _level(observation: np.ndarray) -> int:
    """A bid that depends on all that is seen, so that a wrong row would show."""
    return int(np.abs(np.floor(1e4 * observation.astype(np.float64))).sum() % 17)


def _bidder(rows: Any, new: Any, observations: np.ndarray, rewards: Any) -> ActionBatch:
    levels = np.array([_level(row) for row in observations])
    return ActionBatch(levels, {"values": observations.sum(1), "new": new})


def _played_by_the_environment(campaigns: int) -> list[tuple[Any, ...]]:
    """Of every journey of some campaigns: observations, actions and rewards."""
    env = MultiUserAdAuctionEnv(WORLD)
    journeys = []
    for campaign in range(campaigns):
        observations, _ = env.reset(seed=4 if campaign == 0 else None)
        steps: dict[str, list[Any]] = {}
        done = False
        while not done:
            actions = {}
            for name, row in observations.items():
                actions[name] = _level(row)
                steps.setdefault(name, []).append([row, actions[name], None])
            observations, rewards, terminateds, _, _ = env.step(actions)
            for name, reward in rewards.items():
                if name in steps:
                    steps[name][-1][2] = reward
            observations = {n: o for n, o in observations.items() if not terminateds.get(n)}
            done = terminateds["__all__"]
        for journey in steps.values():
            journeys.append(
                (
                    [row.tolist() for row, _, _ in journey],
                    [action for _, action, _ in journey],
                    [pytest.approx(reward, abs=1e-6) for _, _, reward in journey],
                )
            )
    return journeys


def _joined(batches: list[RolloutBatch]) -> list[tuple[Any, ...]]:
    """Whole journeys put together from pieces, those that ended."""
    going: dict[int, list[Any]] = {}
    done = []
    for batch in batches:
        ends = np.cumsum(batch.lengths)
        for piece, end in enumerate(ends):
            row, steps = int(batch.rows[piece]), slice(end - batch.lengths[piece], end)
            parts = going.setdefault(row, [[], [], []])
            assert batch.starts[piece] == len(parts[1])
            for part, name in zip(parts, ("obs", "actions", "rewards"), strict=True):
                part.extend(batch.columns[name][steps].tolist())
            new = batch.columns["new"][steps]
            assert not new[1:].any() and new[0] == (batch.starts[piece] == 0)
            if batch.terminated[piece]:
                assert batch.next_values[piece] == 0
                done.append(tuple(going.pop(row)))
    return done


@pytest.mark.parametrize("fragment", [1, 7, 500])
def test_pieces_join_to_what_the_environment_plays(fragment: int) -> None:
    sampler = VectorSampler(AuctionArrays(AuctionConfig.from_dict(WORLD), 1, seed=4))
    batches = []
    while len(sampler.campaigns) < 2:
        batches.append(sampler.sample(fragment, _bidder))
        assert batches[-1].lengths.sum() == len(batches[-1].columns["actions"]) >= fragment
    joined, played = _joined(batches), _played_by_the_environment(2)
    assert len(joined) >= len(played) > 9
    for journey in played:
        assert journey in joined
    returns = sum(campaign.profit for campaign in sampler.campaigns[:2])
    assert returns == pytest.approx(sum(sum(r.expected for r in j[2]) for j in played))


def test_campaigns_side_by_side_are_played_as_if_alone() -> None:
    """The first campaigns of two have the first two seeds."""
    pair = VectorSampler(AuctionArrays(AuctionConfig.from_dict(WORLD), 2, seed=4))
    batches = []
    while len(pair.campaigns) < 2:
        batches.append(pair.sample(20, _bidder))
    joined = _joined(batches)
    for journey in _played_by_the_environment(2):
        assert journey in joined


def test_the_value_after_a_piece_is_that_of_the_next_step() -> None:
    sampler = VectorSampler(AuctionArrays(AuctionConfig.from_dict(WORLD), 1, seed=4))
    first, second = sampler.sample(30, _bidder), sampler.sample(300, _bidder)
    goes_on = np.flatnonzero(~first.terminated)
    assert len(goes_on)
    begins = np.cumsum(second.lengths) - second.lengths
    for piece in goes_on:
        (next_piece,) = np.flatnonzero((second.rows == first.rows[piece]) & (second.starts > 0))[:1]
        value = second.columns["values"][begins[next_piece]]
        assert first.next_values[piece] == pytest.approx(value)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_advantages_are_those_of_rllib(data: Any) -> None:
    lengths = np.array(data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=6)))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    rewards, values = rng.normal(size=(2, lengths.sum()))
    next_values = rng.normal(size=len(lengths))
    gamma, lambda_ = data.draw(st.floats(0, 1)), data.draw(st.floats(0, 1))
    got = generalized_advantages(rewards, values, next_values, lengths, gamma, lambda_)
    ends = np.cumsum(lengths)
    for end, length, value in zip(ends, lengths, next_values, strict=True):
        piece = slice(end - length, end)
        batch = SampleBatch({"rewards": rewards[piece], "vf_preds": values[piece]})
        expected = compute_advantages(batch, value, gamma, lambda_)
        assert got[0][piece] == pytest.approx(expected["advantages"], abs=1e-5)
        assert got[1][piece] == pytest.approx(expected["value_targets"], abs=1e-5)


def test_shared_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="slots is 4, .* remove slots"):
        VectorSampler(AuctionArrays(AuctionConfig(num_users=9, slots=4), 1, seed=0))

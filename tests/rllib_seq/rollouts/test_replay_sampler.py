"""Episodes of a log played as arrays are those of the environment, however they are cut."""

from pathlib import Path

import numpy as np
import pytest

from rllib_seq.envs.ad_auction.log_replay.array_env import LogArrays
from rllib_seq.envs.ad_auction.log_replay.gym_env import AuctionLogEnv
from rllib_seq.envs.ad_auction.log_replay.multi_agent_env import AuctionLogUsersEnv
from rllib_seq.rollouts.sampler import ActionBatch, VectorSampler
from rllib_seq.training.config.auction_logs import replay_world

ROWS = Path(__file__).parents[2] / "data/ipinyou_discover/rows.txt"


def _level(observation):
    """A level that depends on all that is seen, so that a wrong row would show."""
    return int(np.abs(np.floor(1e3 * observation.astype(np.float64))).sum() % 10)


def _bidder(rows, new, observations, rewards):
    levels = np.array([_level(row) for row in observations])
    return ActionBatch(levels, {"values": observations.sum(1)})


@pytest.fixture
def world(monkeypatch, request):
    """All episodes begin at the same place."""
    replay = "rllib_seq.envs.ad_auction.log_replay"
    adapters = f"{replay}.gym_env", f"{replay}.multi_agent_env"
    for module in (*adapters, f"{replay}.array_env"):
        monkeypatch.setattr(f"{module}.training_episode", lambda *_: (slice(5, 35), 0.7))
    settings = {"log": [str(ROWS)], "episode_requests": 30, "stream": request.param}
    return replay_world({**settings, "budget_ratio": 0.25})


def _by_environment(world):
    steps, over = [], False
    if world.config.stream == "campaign":
        env = AuctionLogEnv(world)
        observation, _ = env.reset(seed=0)
        while not over:
            action = _level(observation)
            following, reward, over, _, _ = env.step(np.int64(action))
            steps.append((observation.tolist(), action, pytest.approx(reward, abs=1e-6)))
            observation = following
        return steps, env.replay
    env = AuctionLogUsersEnv(world)
    observations, _ = env.reset(seed=0)
    last = {}
    ended = set()
    while not over:
        ((agent, row),) = ((a, o) for a, o in observations.items() if a not in ended)
        last[agent] = (row.tolist(), _level(row))
        observations, rewards, ends, _, _ = env.step({agent: last[agent][1]})
        over = ends.pop("__all__")
        for name, reward in rewards.items():
            if name in last:
                steps.append((*last.pop(name), pytest.approx(reward, abs=1e-6)))
        ended |= ends.keys()
    return steps, env.replay


@pytest.mark.parametrize("world", ["campaign", "user"], indirect=True)
def test_arrays_play_what_the_environment_plays(world):
    expected, replay = _by_environment(world)
    sampler = VectorSampler(LogArrays(world, 2, seed=0))
    steps, starts = [], []
    while len(sampler.campaigns) < 6:  # the first of each is cut at random
        journeys = sampler.sample(17, _bidder)
        columns = journeys.columns
        steps += list(
            zip(
                columns["obs"].tolist(),
                columns["actions"].tolist(),
                columns["rewards"].tolist(),
                strict=True,
            )
        )
        starts += journeys.starts.tolist()
        assert (journeys.next_values[journeys.terminated] == 0).all()
    # Episodes were cut and went on; users of this log come once, so theirs were not.
    assert any(starts) == (world.config.stream == "campaign")
    whole = [campaign for campaign in sampler.campaigns if campaign.ticks == 30]
    assert len(whole) >= 4
    assert len({round(campaign.profit, 9) for campaign in whole}) == 1
    assert whole[0].profit == pytest.approx(sum(reward.expected for *_, reward in expected))
    # Every step of the environment occurs as often as whole episodes were played.
    for step in expected:
        found = sum(seen == step[0] and act == step[1] for seen, act, _ in steps)
        assert found >= len(whole)
        assert any((seen, act, reward) == step for seen, act, reward in steps)
    assert replay.done

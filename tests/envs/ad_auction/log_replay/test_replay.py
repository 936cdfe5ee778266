"""Replay: budgets hold, prices are paid, references stand in their order, adapters agree."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from log_market import make_log, make_world

import rllib_seq.envs.ad_auction  # noqa: F401, names AuctionLog-v0
from rllib_seq.envs.ad_auction.log_replay.baselines import (
    HindsightBids,
    LinearBids,
    PacedBids,
    play_replay,
)
from rllib_seq.envs.ad_auction.log_replay.multi_agent_env import AuctionLogUsersEnv
from rllib_seq.envs.ad_auction.log_replay.replay import LEVELS, Replay, fields, observation_space

WORLD = make_world()
HELD_OUT = WORLD.held_out_episodes()


class AnyLevel:
    name = "any"

    def __init__(self, seed):
        self._rng = np.random.default_rng(seed)

    def start(self, replay, episodes):
        self._replay = replay

    def bids(self, rows):
        return self._rng.choice(LEVELS, len(rows)) * self._replay.linear_bids(rows) * 3


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 9),
    ratio=st.sampled_from([1 / 64, 1 / 8, 2.0]),
    auction=st.sampled_from(["second_price", "first_price"]),
    stream=st.sampled_from(["campaign", "user"]),
)
def test_no_budget_is_exceeded(seed, ratio, auction, stream):
    world = make_world(budget_ratio=ratio, auction=auction, stream=stream)
    result = play_replay(world, world.held_out, HELD_OUT, AnyLevel(seed))
    assert (result.spend <= result.budget * (1 + 1e-12)).all()
    assert (result.requests.sum(), result.wins.sum() > 0) == (len(world.held_out), True)
    assert (result.clicks <= result.wins).all()


def test_references_stand_in_their_order():
    results = {
        policy.name: play_replay(WORLD, WORLD.held_out, HELD_OUT, policy)
        for policy in (LinearBids(), PacedBids(), HindsightBids(), HindsightBids(True), AnyLevel(0))
    }
    expected = {name: result.expected_clicks for name, result in results.items()}
    slack = WORLD.market.worth(WORLD.held_out).max() * WORLD.market.mean_probability
    for name, gained in expected.items():  # the greedy knapsack lacks less than one purchase
        assert (gained <= expected["hindsight"] + slack).all(), name
    assert expected["any"].sum() < expected["linear"].sum() < expected["hindsight"].sum()
    best = results["hindsight_clicks"].clicks
    assert all((result.clicks <= best).all() for result in results.values())
    assert best.sum() > results["hindsight"].clicks.sum()


@pytest.mark.parametrize("auction", ["second_price", "first_price"])
def test_the_winner_pays_price_or_bid(auction):
    world = make_world(auction=auction, budget_ratio=100.0)
    replay = Replay(world, world.train, 1)
    replay.reset([slice(0, 4)])
    price = world.train.price[:4]
    bids = price * [1.0, 0.99, 1.5, 0.0]
    outcomes = [replay.step(bid[None]) for bid in bids]
    assert [bool(o.won[0]) for o in outcomes] == [True, False, True, False]
    paid = price if auction == "second_price" else bids
    assert [float(o.paid[0]) for o in outcomes] == [paid[0], 0.0, paid[2], 0.0]
    assert replay.clicks[0] == world.train.clicked[[0, 2]].sum()


@pytest.mark.parametrize("stream", ["campaign", "user"])
def test_rewards_add_up(stream):
    for reward in ("clicks", "expected", "regret"):
        world = make_world(reward=reward, stream=stream)
        replay = Replay(world, world.train, 2)
        replay.reset([slice(0, 150), slice(200, 320)])
        bidder, total = AnyLevel(1), 0.0
        bidder.start(replay, [])
        while not replay.done:
            replay.step(bidder.bids(replay.pending))
        total = replay.take_rewards(np.arange(2 * replay.slots)).sum()
        if reward == "clicks":
            assert total == replay.clicks.sum()
        elif reward == "expected":
            assert total == pytest.approx(replay.worth.sum())
        else:
            assert total < 0  # three times the linear bid gives much away
        assert replay.ended.all()


def test_pacing_regrets_nothing():
    replay = Replay(WORLD, WORLD.train, 1)
    replay.reset([slice(0, 150)])
    bidder = PacedBids()
    bidder.start(replay, [])
    while not replay.done:
        rows = replay.pending
        replay.step(bidder.bids(rows))
        assert replay.take_rewards(rows)[0] == pytest.approx(0.0, abs=1e-9)


def test_side_by_side_as_alone():
    together = play_replay(WORLD, WORLD.held_out, HELD_OUT, PacedBids())
    for i, episode in enumerate(HELD_OUT):
        alone = play_replay(WORLD, WORLD.held_out, [episode], PacedBids())
        assert all(part[0] == whole[i] for part, whole in zip(alone, together, strict=True))
    lengths = [episode.stop - episode.start for episode in HELD_OUT]
    assert sum(lengths) == len(WORLD.held_out) and max(lengths) - min(lengths) <= 1


def test_the_gymnasium_adapter():
    env = gym.make("AuctionLog-v0", world=WORLD)
    check_env(env.unwrapped, skip_render_check=True)
    assert env.observation_space.shape == (len(fields(WORLD)),)
    env.reset(seed=3)
    total, steps, over = 0.0, 0, False
    while not over:
        observation, reward, over, _, info = env.step(env.action_space.sample())
        assert env.observation_space.contains(observation)
        total, steps = total + info["paid"], steps + 1
    assert steps == 150 and total == pytest.approx(env.unwrapped.replay.spend[0])
    with pytest.raises(ValueError, match="action is 99"):
        env.unwrapped.step(99)


def test_users_as_agents_pay_what_the_campaign_pays():
    log = make_log(users=400)  # many who come once, some who come back
    played = {}
    for stream in ("campaign", "user"):
        world = make_world(log, stream=stream, reward="expected")
        replay = Replay(world, world.train, 1)
        replay.reset([slice(10, 160)])
        while not replay.done:
            replay.step(replay.linear_bids(replay.pending))
        played[stream] = (replay.worth[0], replay.spend[0], replay.wins[0])
    assert played["campaign"] == played["user"]

    env = AuctionLogUsersEnv(world)
    observations, _ = env.reset(seed=1)
    rewards, reported, alive, over = 0.0, set(), set(observations), False
    while not over:
        (agent,) = observations.keys() - reported
        observations, brought, ends, _, _ = env.step({agent: 5})
        rewards += sum(brought.values())
        over = ends.pop("__all__")
        assert not (ends.keys() & reported), "reported twice"
        alive |= observations.keys()
        reported |= ends.keys()
        # RLlib would end an episode in which all agents that it met are done.
        assert over or alive - reported
        assert all(observation_space(world).contains(seen) for seen in observations.values())
    assert reported == alive and len(reported) > 50
    assert rewards == pytest.approx(env.replay.worth[0])
    with pytest.raises(ValueError, match="give one for"):
        env.reset(seed=1)
        env.step({})


def test_bad_bids_are_refused():
    replay = Replay(WORLD, WORLD.train, 1)
    replay.reset([slice(0, 5)])
    with pytest.raises(ValueError, match=r"bids are \[-1.0\]"):
        replay.step(np.array([-1.0]))


def test_an_episode_begins_anew():
    replay = Replay(WORLD, WORLD.train, 2)
    episodes = [slice(0, 150), slice(30, 180)]
    replay.reset(episodes)
    first = replay.observe(np.arange(2))
    for _ in range(20):
        replay.step(replay.linear_bids(replay.pending) * 2)
    replay.reset(episodes[1:], np.array([1]))
    assert (replay.observe(np.arange(2))[1] == first[1]).all()
    assert replay.position.tolist() == [20, 0] and replay.spend[1] == 0.0 < replay.spend[0]

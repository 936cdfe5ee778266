import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_seq.envs.ad_auction import AdCampaignEnv
from rllib_seq.envs.ad_auction.tick.campaign_env import fields
from rllib_seq.envs.ad_auction.tick.simulator import TickSimulator
from rllib_seq.envs.ad_auction.tick.worlds import TICK_WORLDS, TickConfig

PAGE = Path(__file__).parents[4] / "docs" / "environments" / "auctions.md"


def run(env, seed, actions):
    observation, _ = env.reset(seed=seed)
    steps = [(observation, 0.0, {})]
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        assert not truncated
        steps.append((observation, reward, info))
    assert terminated
    return steps


def actions_of(env, seed, ticks=48):
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(ticks)]


@pytest.mark.parametrize("world", TICK_WORLDS)
def test_gymnasium_checks_pass(world):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make("AdCampaign-v0", world=world, requests_per_tick=20)
        check_env(env.unwrapped, skip_render_check=True)


@settings(max_examples=20, deadline=None)
@given(
    world=st.sampled_from([*TICK_WORLDS]),
    seed=st.integers(0, 2**31),
    size=st.integers(1, 60),
    share=st.floats(0.001, 3),
)
def test_observations_stay_inside_and_spend_within_the_budget(world, seed, size, share):
    budget = share * TICK_WORLDS[world].budget * 48 * size
    env = AdCampaignEnv(world=world, requests_per_tick=size, budget=budget)
    steps = run(env, seed, actions_of(env, seed))
    for observation, _, info in steps:
        assert env.observation_space.contains(observation), observation
        assert info.get("spend", 0.0) <= budget * (1 + 1e-12)


@pytest.mark.parametrize("world", TICK_WORLDS)
def test_the_return_is_the_score_and_a_seed_is_an_episode(world):
    env = AdCampaignEnv(world=world, requests_per_tick=50)
    actions = actions_of(env, 1)
    one, two = (
        run(env, 9, actions),
        run(AdCampaignEnv(world=world, requests_per_tick=50), 9, actions),
    )
    for (a, reward_a, _), (b, reward_b, _) in zip(one, two, strict=True):
        assert (a == b).all() and reward_a == reward_b
    total = sum(reward for _, reward, _ in one)
    assert total == pytest.approx(one[-1][2]["score"]) == pytest.approx(env.simulator.score)
    observation, _ = env.reset()
    assert (observation != one[0][0]).any()  # the next episode is another


def test_a_seed_fixes_the_episodes_that_follow():
    env = AdCampaignEnv(requests_per_tick=30)
    starts = []
    for _ in range(2):
        first, _ = env.reset(seed=3)
        starts.append([first, env.reset()[0], env.reset()[0]])
    assert all((a == b).all() for a, b in zip(*starts, strict=True))


def test_observation_is_what_its_table_says():
    """Recomputed from a simulator that plays the same flight."""
    config = {"world": "slots", "requests_per_tick": 60, "conversions": "expected"}
    env, sim = AdCampaignEnv(**config), TickSimulator(TickConfig(**config))
    names = [name for name, _ in fields(("display", "video", "search"))]
    actions = actions_of(env, 4)
    env.reset(seed=8)
    sim.reset(env.simulator.seed)
    for tick, action in enumerate(actions):
        requests, left_before = sim.requests, sim.ledger.remaining
        bids = 8.0 ** action.astype(np.float64)[requests.channel] * requests.worth
        outcome = sim.step(bids)
        observation = dict(zip(names, env.step(action)[0], strict=True))
        ledger = sim.ledger
        assert observation["flight_left"] == pytest.approx(1 - (tick + 1) / 48, abs=1e-6)
        assert observation["traffic_left"] == pytest.approx(1 - sim.planned[tick + 1], abs=1e-6)
        assert observation["budget_left"] == pytest.approx(
            1 - ledger.spend / ledger.budget, abs=1e-6
        )
        share = (sim.planned[tick + 1] - sim.planned[tick]) / (1 - sim.planned[tick])
        pace = outcome.paid.sum() / (left_before * share)
        assert observation["pace"] == pytest.approx(pace / (1 + pace), abs=1e-6)
        if ledger.conversions > 0:
            price = ledger.spend / ledger.conversions / 20.0
            assert observation["price"] == pytest.approx(price / (1 + price), abs=1e-6)
        coming = len(sim.requests.worth) / 60
        assert observation["requests"] == pytest.approx(coming / (1 + coming), abs=1e-6)
        for c, channel in enumerate(("display", "video", "search")):
            at, now = requests.channel == c, sim.requests.channel == c
            assert observation[f"action_{channel}"] == pytest.approx((1 + action[c]) / 2, abs=1e-6)
            if at.any():
                assert observation[f"won_{channel}"] == pytest.approx(
                    outcome.won[at].mean(), abs=1e-6
                )
                to_win = outcome.to_win[at].sum() / requests.worth[at].sum()
                assert observation[f"to_win_{channel}"] == pytest.approx(
                    to_win / (1 + to_win), abs=1e-6
                )
            won = at & outcome.won
            if won.any():
                paid = outcome.paid[won].sum() / requests.worth[won].sum()
                assert observation[f"paid_{channel}"] == pytest.approx(paid / (1 + paid), abs=1e-6)
            if now.any():
                worth = sim.requests.worth[now].mean() / sim.world.typical_worth[c]
                assert observation[f"share_{channel}"] == pytest.approx(now.mean(), abs=1e-6)
                assert observation[f"worth_{channel}"] == pytest.approx(
                    worth / (1 + worth), abs=1e-6
                )


def test_a_vector_of_flights_is_the_flights():
    actions = np.stack([actions_of(AdCampaignEnv(), seed) for seed in (1, 2)], axis=1)
    vector = gym.make_vec("AdCampaign-v0", num_envs=2, requests_per_tick=20)
    observations = [vector.reset(seed=[5, 6])[0]]
    observations += [vector.step(action)[0] for action in actions[:-1]]
    for i, seed in enumerate((5, 6)):
        alone = run(AdCampaignEnv(requests_per_tick=20), seed, actions[:, i])
        for t in range(48):
            assert (observations[t][i] == alone[t][0]).all()
    vector.close()


def test_wrong_actions_are_refused():
    env = AdCampaignEnv(requests_per_tick=5)
    env.reset(seed=0)
    for bad in (
        np.full(3, -1.1, np.float32),
        np.full(3, np.nan, np.float32),
        np.ones(2, np.float32),
    ):
        with pytest.raises(ValueError, match="action is .*give one in"):
            env.step(bad)
    with pytest.raises(ValueError, match="unknown world 'x'"):
        gym.make("AdCampaign-v0", world="x")


def test_the_field_table_of_the_docs_is_up_to_date():
    rows = ["| field | meaning |", "| --- | --- |"]
    rows += [f"| `{name}` | {meaning} |" for name, meaning in fields(["CHANNEL"])]
    table = "\n".join(rows)
    text = PAGE.read_text()
    shown = text[text.index("<!-- fields -->") + 15 : text.index("<!-- end -->")].strip()
    assert shown == table, f"put this into {PAGE.name}:\n{table}"


def test_around_pacing_zero_is_the_pacing_rule_and_pays_nothing_over_it():
    changes = {"actions": "around_pacing", "requests_per_tick": 50, "conversions": "expected"}
    env = AdCampaignEnv(world="rivalry", reward="over_pacing", **changes)
    assert env.observation_space.shape == (25,)
    steps = run(env, 3, [np.zeros(3, np.float32)] * 48)
    assert [reward for _, reward, _ in steps] == pytest.approx([0.0] * 49, abs=1e-12)
    assert env.simulator.score > 0
    # What a flight is paid over pacing is the difference of two returns, in % of the budget.
    paid = {}
    for reward in ("over_pacing", "score"):
        env = AdCampaignEnv(world="rivalry", reward=reward, **changes)
        for action in (0.0, 0.3):
            steps = run(env, 3, [np.full(3, action, np.float32)] * 48)
            paid[reward, action] = sum(row[1] for row in steps)
    budget = env.simulator.ledger.budget
    more = 100 * (paid["score", 0.3] - paid["score", 0.0]) / budget
    assert paid["over_pacing", 0.3] == pytest.approx(more)

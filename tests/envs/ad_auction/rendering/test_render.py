import gymnasium as gym
import numpy as np
import pytest

from rllib_seq.envs.ad_auction.rendering import render
from rllib_seq.envs.ad_auction.rendering.canvas import Canvas


def count(picture, color):
    return int((picture == np.array(color, np.uint8)).all(axis=-1).sum())


@pytest.mark.parametrize("preset", ["journey", "display", "uniform"])
def test_a_campaign_is_drawn_as_it_goes(preset):
    config = {"preset": preset, "num_users": 40, "budget": 50.0}
    env = gym.make("AdAuction-v0", render_mode="rgb_array", **config)
    env.reset(seed=2)
    first = env.render()
    assert first.shape == (600, 720, 3)
    assert first.dtype == np.uint8
    assert count(first[32:172], render.BLUE) == 0  # nothing is spent yet
    done = False
    while not done:
        _, _, done, _, _ = env.step(env.action_space.n - 1)
    last = env.render()
    assert count(last[32:172], render.BLUE) > 100
    assert count(last[32:172], render.FAINT) > 100  # the plan
    assert count(last[212:352], render.GREEN) > 30  # won bids
    journeys = last[392:572]  # impressions, and conversions on top of them
    assert count(journeys, render.BLUE) + count(journeys, render.RED) > 30
    env.close()


def test_lost_bids_are_red_and_no_bid_is_not_drawn():
    env = gym.make("AdAuction-v0", render_mode="rgb_array", num_users=20)
    for action, drawn in ((0, False), (1, True)):
        env.reset(seed=0)
        for _ in range(100):
            env.step(action)
        assert (count(env.render()[212:352], render.RED) > 0) == drawn


@pytest.mark.parametrize("budget", [None, 9.0])
def test_without_a_budget_there_is_no_plan_and_late_requests_have_a_place_of_their_own(budget):
    env = gym.make("AdAuction-v0", render_mode="rgb_array", num_users=40, budget=budget)
    env.reset(seed=4)
    done = False
    while not done:
        _, _, done, _, _ = env.step(8)
    picture = env.render()
    simulator = env.unwrapped.simulator
    assert simulator.hour > simulator.flight_hours  # of an open flight that is a guess
    assert (count(picture[34:170, 61:699], render.FAINT) > 0) == (budget is not None)
    # Twelve requests are later; at the right edge stand the dots of the last hour alone.
    assert count(picture[212:352, render.RIGHT - 3 : render.RIGHT + 4], render.FAINT) < 20


def test_a_frame_of_no_mode_and_an_unknown_mode():
    assert gym.make("AdAuction-v0").unwrapped.render() is None
    with pytest.raises(ValueError, match="unknown render_mode 'ansi'; choose one of: rgb_array"):
        gym.make("AdAuction-v0").unwrapped.__class__(render_mode="ansi")


def test_without_a_screen_the_mode_to_use_is_named(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    env = gym.make("AdAuction-v0", render_mode="human")
    with pytest.raises(ValueError, match="needs a screen .* use render_mode='rgb_array'"):
        env.reset(seed=0)


def test_letters_are_legible_and_lines_stay_inside():
    canvas = Canvas(60, 20)
    canvas.text(0, 0, "L", (0, 0, 0), size=1)
    assert (canvas.pixels[:5, :3, 0] == 0).astype(int).tolist() == [
        [1, 0, 0],
        [1, 0, 0],
        [1, 0, 0],
        [1, 0, 0],
        [1, 1, 1],
    ]
    canvas.line([-10, 100], [-10, 100], (9, 9, 9))
    assert count(canvas.pixels, (9, 9, 9)) > 20


@pytest.mark.parametrize("reward", ["sampled", "expected", "regret"])
def test_a_render_mode_is_refused_where_nothing_can_be_drawn_and_not_before(reward):
    """Stable-Baselines3 asks for a render mode whenever it makes an environment."""
    env = gym.make("AdAuction-v0", render_mode="rgb_array", num_users=8, reward=reward)
    env.reset(seed=1)
    env.step(env.action_space.sample())
    if reward == "sampled":
        assert env.render().shape == (600, 720, 3)
    else:
        with pytest.raises(ValueError, match=f"reward is '{reward}', which has no events to draw"):
            env.render()


@pytest.mark.filterwarnings("ignore:.*not in the possible render_modes")
def test_a_campaign_of_ticks_is_made_with_a_render_mode_and_draws_nothing():
    env = gym.make("AdCampaign-v0", render_mode="rgb_array", requests_per_tick=20)
    env.reset(seed=1)
    with pytest.raises(ValueError, match="draws nothing"):
        env.unwrapped.render()

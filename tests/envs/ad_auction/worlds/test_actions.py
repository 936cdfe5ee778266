import gymnasium as gym
import numpy as np
import pytest

from rllib_seq.envs.ad_auction.multi_agent_env import MultiUserAdAuctionEnv
from rllib_seq.envs.ad_auction.worlds.actions import ACTIONS, Actions
from rllib_seq.envs.ad_auction.worlds.presets import PRESETS

DISPLAY = PRESETS["display"]
LEVELS = DISPLAY.bid_levels
ALL = np.zeros(51, np.int64)


def test_every_level_and_creative_has_one_action():
    joint = Actions(DISPLAY, "levels_and_creatives")
    bids, creatives = joint.decode(np.arange(51), ALL)
    assert joint.space == gym.spaces.Discrete(51)
    assert len(set(zip(bids.tolist(), creatives.tolist(), strict=True))) == 51
    pairs = np.stack([np.repeat(np.arange(17), 3), np.tile(np.arange(3), 17)], axis=1)
    same_bids, same_creatives = Actions(DISPLAY, "multi_discrete").decode(pairs, ALL)
    np.testing.assert_array_equal(same_bids, bids)
    np.testing.assert_array_equal(same_creatives, creatives)


def test_continuous_bids_span_the_levels_on_a_log_scale():
    actions = Actions(DISPLAY, "continuous")
    scores = np.tile([0.1, 0.9, 0.3], (17, 1))
    share = np.concatenate([[0.0], np.linspace(1e-9, 1, 16)])[:, None]
    bids, creatives = actions.decode(np.concatenate([share, scores], axis=1), ALL[:17])
    np.testing.assert_allclose(bids, LEVELS, rtol=1e-6)
    assert (creatives == 1).all()
    alone = Actions(PRESETS["journey"], "continuous")
    assert alone.space.shape == (1,)


def test_bids_can_be_multipliers_of_what_the_user_is_worth():
    segment = np.array([0, 1])
    bids, _ = Actions(DISPLAY, "levels", "user").decode(np.array([9, 9]), segment)
    np.testing.assert_allclose(bids, LEVELS[9] * DISPLAY.users.audience.value_factor)


@pytest.mark.parametrize("kind", ACTIONS)
def test_all_faces_take_them(kind):
    config = {"preset": "display", "num_users": 6, "actions": kind, "bid_unit": "user"}
    env = gym.make("AdAuction-v0", **config)
    env.reset(seed=0)
    env.action_space.seed(0)
    envs = gym.make_vec("AdAuction-v0", num_envs=1, **config)
    envs.reset(seed=0)
    done = False
    while not done:
        action = env.action_space.sample()
        _, reward, done, _, _ = env.step(action)
        _, rewards, *_ = envs.step(np.asarray(action)[None])
        assert rewards[0] == reward
    agents = MultiUserAdAuctionEnv(config)
    observations, _ = agents.reset(seed=0)
    for _ in range(3):
        spaces = agents.action_spaces
        acting = {agents.possible_agents[u] for u in agents.simulator.pending}
        observations, *_ = agents.step({name: spaces[name].sample() for name in acting})


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        ("levels", [17]),
        ("levels", [-1]),
        ("levels", [0.5]),
        ("levels_and_creatives", [51]),
        ("multi_discrete", [[16, 3]]),
        ("multi_discrete", [3]),
        ("continuous", [[1.1, 0, 0, 0]]),
        ("continuous", [[np.nan, 0, 0, 0]]),
    ],
)
def test_what_is_not_in_the_space_is_refused(kind, bad):
    with pytest.raises(ValueError, match="actions are .*; give actions in"):
        Actions(DISPLAY, kind).decode(np.array(bad), ALL[:1])
